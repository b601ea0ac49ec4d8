"""The students' names from files as spreadsheets write them, and the keys they get."""

import os
import re
import stat

import pytest

from llamalab.classroom.share import addresses, names, students
from llamalab.classroom.share.command import Asked, share
from llamalab.errors import LlamalabError


def read(tmp_path, content: bytes | str) -> list[str]:
    file = tmp_path / "names.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return names.read(str(file))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("Ada\nBen\n", ["Ada", "Ben"]),
        ("Ada Lovelace\r\n\r\n  \r\nZoë  Ångström\r\n", ["Ada Lovelace", "Zoë Ångström"]),
        ("\ufeffName\nAda\n", ["Ada"]),
        (
            "\ufeffNachname;Vorname;Klasse\nMüller;Zoë;3b\n;;\n李;小龙;3b\n",
            ["Müller Zoë", "李 小龙"],
        ),
        ("id,full name,mail\n1,Ada,a@b.example\n", ["Ada"]),
        ('name\n"Lovelace, Ada"\n', ["Lovelace, Ada"]),
        ("Ada\tLovelace\nBen\tÅl\n", ["Ada Lovelace", "Ben Ål"]),
        ("name;group\nAda;1\nBen;\n;2\n", ["Ada", "Ben"]),
        ("name\nZoe\u0301\n", ["Zoé"]),
        ("A\u202eda\nO'Neil\n<b>Bob</b>\n", ["A da", "O'Neil", "<b>Bob</b>"]),
        ("Name\nAda\n".encode("utf-16"), ["Ada"]),
    ],
)
def test_names_are_read_as_people_and_spreadsheets_write_them(tmp_path, content, found):
    assert read(tmp_path, content) == found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "There are no names in names.csv"),
        ("Name\n\n", "There are 0 names in names.csv"),
        ("Ada\nBen\n\nada \n", "the name 'ada' twice, in the lines 1 and 4"),
        (b"Name\nZo\xeb\n", "not in UTF-8 (line 2)"),
        ("1,Ada,3b\n2,Ben,3b\n", "It is not clear where the names are"),
        ("Ada\n=cmd|' /c calc'!A1\n", "The name in line 2 of names.csv begins with '='"),
        ("x" * 200, "The name in line 1 of names.csv has 200 characters"),
        ("\n".join(map(str, range(501))), "There are 501 names"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, content, said):
    with pytest.raises(LlamalabError, match=re.escape(said)):
        read(tmp_path, content)


@pytest.mark.parametrize("count", ["0", "501", "no-such-file.csv", "-3", "."])
def test_what_is_neither_a_file_nor_a_number_of_students_is_said(count):
    with pytest.raises(LlamalabError):
        names.read(count)


def test_numbers_stand_for_names():
    assert names.read("30")[::29] == ["Student 1", "Student 30"]
    assert students.with_new([], names.read("30"))[29].login == "student30"


def test_logins_are_plain_and_different():
    asked = [
        "Zoë A",
        "Zoe B",
        "zoe c",
        "zoe-c",
        "李小龙",
        "王",
        "Anne-Marie O'Neil",
        "🦙",
        "x" * 60,
    ]
    logins = [student.login for student in students.with_new([], asked)]
    assert logins == [
        *("zoe", "zoe-b", "zoe-c", "zoe2", "student", "student2", "anne", "student3", "x" * 20)
    ]


def test_keys_are_easy_to_type_and_all_different():
    keys = {students.new_key() for _ in range(500)}
    assert len(keys) == 500
    assert all(re.fullmatch("[a-z2-9]{4}(-[a-z2-9]{4}){2}", key) for key in keys)
    assert not set("".join(keys)) & set("aeiou01l")


@pytest.fixture
def folder(tmp_path, unused_address):
    """A class's folder, and how `share` is called for it: no server is looked for."""

    def call(**options) -> list[students.Student]:
        asked = {"upstream": [unused_address], "listen": "127.0.0.1", **options}
        assert share(Asked(str(tmp_path / "c"), **asked)) == 0
        return students.load(tmp_path / "c")

    return call


def test_keys_that_exist_stay_and_new_names_are_added(folder, tmp_path, capsys):
    first = folder(students="3")
    assert folder() == first
    (tmp_path / "names.csv").write_text("student 2\nAda\n")
    assert folder(students=str(tmp_path / "names.csv"))[:3] == first
    assert [student.name for student in folder()] == ["Student 1", "Student 2", "Student 3", "Ada"]
    assert "Added:    Ada" in capsys.readouterr().out


def test_a_key_that_was_taken_back_does_not_come_back_by_itself(folder, capsys):
    first = folder(students="2")
    gone = folder(withdraw=["student1"])
    assert gone == [first[0]._replace(key=""), first[1]]
    assert "Key taken back: Student 1" in capsys.readouterr().out
    assert folder(students="2") == gone
    assert "No key:   Student 1" in capsys.readouterr().out
    back = folder(add=["Student 1"])
    assert back[0].key not in ("", first[0].key)
    with pytest.raises(LlamalabError, match="There is no student 'Eve'"):
        folder(withdraw=["Eve"])


def test_a_name_counts_more_than_another_one_s_login(folder, tmp_path):
    (tmp_path / "names.csv").write_text("Ada Lovelace\nAda\n")
    lovelace, ada = folder(students=str(tmp_path / "names.csv"))
    assert (lovelace.login, ada.login) == ("ada", "ada2")
    assert folder(withdraw=["Ada"]) == [lovelace, ada._replace(key="")]


@pytest.mark.skipif(os.name != "posix", reason="modes of files are for POSIX")
def test_a_folder_with_keys_is_for_its_owner_alone_and_no_link_leads_out_of_it(folder, tmp_path):
    (tmp_path / "c").mkdir(mode=0o777)
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "c" / ".gitignore").symlink_to(tmp_path / "mine")
    folder(students="1")
    assert stat.S_IMODE((tmp_path / "c").stat().st_mode) == 0o700
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_spreadsheet_may_save_the_keys_with_semicolons(folder, tmp_path):
    first = folder(students="2")
    file = tmp_path / "c" / students.FILE
    file.write_text("\ufeff" + file.read_text().replace(",", ";"), encoding="utf-8")
    assert folder() == first


@pytest.mark.parametrize("line", ["Eve,,", "Eve,EVE;,abc", 'Eve,eve,a"b', "Eve,student1,abc"])
def test_keys_that_were_changed_by_hand_are_not_guessed_at(folder, tmp_path, line):
    folder(students="1")
    file = tmp_path / "c" / students.FILE
    changed = file.read_text() + line + "\n"
    file.write_text(changed)
    with pytest.raises(LlamalabError):
        folder(students="2")
    assert file.read_text() == changed


def test_two_students_with_one_key_are_said_before_nginx_is(folder, tmp_path):
    (first,) = folder(students="1")
    file = tmp_path / "c" / students.FILE
    file.write_text(file.read_text() + f"Eve,eve,{first.key.upper()}\n")
    with pytest.raises(LlamalabError, match="Two students have the same key"):
        folder()


@pytest.mark.parametrize("place", ["0.0.0.0", "0", "0x0:8085", "[::]:80"])
def test_all_addresses_of_a_machine_are_no_address_for_students(place):
    with pytest.raises(LlamalabError, match="listens at one address"):
        addresses.listening(place)


def test_without_students_there_is_no_class(folder):
    with pytest.raises(LlamalabError, match="There are no students yet"):
        folder()
    with pytest.raises(LlamalabError, match="belong together"):
        folder(students="1", cert="cert.pem")
    with pytest.raises(LlamalabError, match="would ask itself"):
        folder(students="1", upstream=["http://127.0.0.1:8080"])
    for wrong in ("https://gpu", "http://a:b@gpu", "http://gpu/ollama", "http://g;pu", "gpu {"):
        with pytest.raises(LlamalabError, match="address such as"):
            folder(students="1", upstream=[wrong])
    for wrong in ("0.0.0.0", "127.0.0.1:99999", "127.0.0.1:", "a;b", "http://127.0.0.1"):
        with pytest.raises(LlamalabError, match="listen"):
            folder(students="1", listen=wrong)
