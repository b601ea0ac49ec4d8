"""The student's copy of the lesson is safe, whatever is written where."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import nbformat
import pytest

from llamalab import cli
from llamalab.errors import LlamalabError
from llamalab.lesson import copying, pages

NEW_PAGE = "00-start-here-new.ipynb"


def changed(lesson: Path, copy: Path) -> None:
    """The student has written into the first page, and then the lesson has a newer one."""
    copying.copy_lesson(lesson, copy)
    (copy / copying.FIRST_PAGE).write_text("my notes")
    (lesson / copying.FIRST_PAGE).write_text("a newer page")


def cells(page: Path) -> list[dict]:
    return json.loads(page.read_text(encoding="utf-8"))["cells"]


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_what_running_the_lesson_leaves_behind_is_not_copied(lesson, copy):
    for name in (
        "my_answer.py",
        "ask_1.py",
        ".ipynb_checkpoints/x.ipynb",
        "__pycache__/generate.pyc",
    ):
        (lesson / name).parent.mkdir(exist_ok=True)
        (lesson / name).write_text("")
    copying.copy_lesson(lesson, copy)
    assert files(copy) == {copying.FIRST_PAGE, "images/tape.svg", copying.MANIFEST}


def test_what_is_for_instructors_is_not_in_the_student_s_copy(copy):
    assert (copying.CHECKOUT / copying.FOR_INSTRUCTORS).is_file()
    copying.copy_lesson(copying.CHECKOUT, copy)
    assert not (copy / copying.FOR_INSTRUCTORS).exists()


def test_the_newer_page_beside_the_student_s_is_spoken_of_once(lesson, copy):
    changed(lesson, copy)
    assert copying.copy_lesson(lesson, copy) == [NEW_PAGE]
    assert copying.copy_lesson(lesson, copy) == []


def test_a_newer_page_that_the_student_throws_away_stays_away(lesson, copy):
    changed(lesson, copy)
    copying.copy_lesson(lesson, copy)
    (copy / NEW_PAGE).unlink()
    assert copying.copy_lesson(lesson, copy) == []
    assert not (copy / NEW_PAGE).exists()


def test_a_newer_page_in_which_the_student_works_is_the_student_s_too(lesson, copy):
    changed(lesson, copy)
    copying.copy_lesson(lesson, copy)
    (copy / NEW_PAGE).write_text("my second notes")
    assert copying.copy_lesson(lesson, copy) == []
    (lesson / copying.FIRST_PAGE).write_text("the newest page")
    assert copying.copy_lesson(lesson, copy) == ["00-start-here-new-2.ipynb"]
    assert copying.copy_lesson(lesson, copy) == []
    pages = {path.name: path.read_text() for path in copy.glob("*.ipynb")}
    assert pages == {
        copying.FIRST_PAGE: "my notes",
        NEW_PAGE: "my second notes",
        "00-start-here-new-2.ipynb": "the newest page",
    }


def test_a_file_of_the_student_s_own_with_the_newer_page_s_name_is_kept(lesson, copy):
    changed(lesson, copy)
    (copy / NEW_PAGE).write_text("a name I liked")
    assert copying.copy_lesson(lesson, copy) == ["00-start-here-new-2.ipynb"]
    assert (copy / NEW_PAGE).read_text() == "a name I liked"


def test_the_student_may_take_the_newer_page_for_the_old_one(lesson, copy):
    changed(lesson, copy)
    copying.copy_lesson(lesson, copy)
    (copy / NEW_PAGE).replace(copy / copying.FIRST_PAGE)
    assert copying.copy_lesson(lesson, copy) == []
    (lesson / copying.FIRST_PAGE).write_text("the newest page")
    assert copying.copy_lesson(lesson, copy) == []
    assert files(copy) == files(lesson) | {copying.MANIFEST}
    assert (copy / copying.FIRST_PAGE).read_text() == "the newest page"


def test_a_script_and_a_picture_arrive_beside_the_student_s_too(lesson, copy):
    (lesson / "generate.py").write_text("one")
    copying.copy_lesson(lesson, copy)
    for name in ("generate.py", "images/tape.svg"):
        (copy / name).write_text("mine")
        (lesson / name).write_text("two")
    assert copying.copy_lesson(lesson, copy) == ["generate-new.py", "images/tape-new.svg"]


@pytest.mark.skipif(sys.platform == "win32", reason="there, a link is the administrator's")
def test_what_has_the_name_of_a_page_and_is_none_is_kept(lesson, copy, tmp_path):
    copy.mkdir(parents=True)
    (copy / copying.FIRST_PAGE).mkdir()
    (copy / "images").mkdir()
    (copy / "images" / "tape.svg").symlink_to(tmp_path / "nowhere")
    assert copying.copy_lesson(lesson, copy) == [NEW_PAGE, "images/tape-new.svg"]
    assert (copy / copying.FIRST_PAGE).is_dir()
    assert (copy / "images" / "tape.svg").is_symlink()


def test_nothing_is_said_of_a_change_while_the_lesson_is_the_same(lesson, copy):
    copying.copy_lesson(lesson, copy)
    (copy / copying.FIRST_PAGE).write_text("my notes")
    assert copying.copy_lesson(lesson, copy) == []
    assert (copy / copying.FIRST_PAGE).read_text() == "my notes"


def test_an_older_lesson_nobody_touched_is_updated(lesson, copy):
    copying.copy_lesson(lesson, copy)
    (lesson / copying.FIRST_PAGE).write_text("a newer page")
    assert copying.copy_lesson(lesson, copy) == []
    assert (copy / copying.FIRST_PAGE).read_text() == "a newer page"


def test_a_change_is_still_the_student_s_two_lessons_later(lesson, copy):
    copying.copy_lesson(lesson, copy)
    (copy / copying.FIRST_PAGE).write_text("my notes")
    for newer in ("second", "third"):
        (lesson / copying.FIRST_PAGE).write_text(newer)
        assert copying.copy_lesson(lesson, copy) == [NEW_PAGE]
        assert (copy / NEW_PAGE).read_text() == newer
    assert (copy / copying.FIRST_PAGE).read_text() == "my notes"


def test_a_file_that_was_there_before_the_lesson_is_kept(lesson, copy):
    copy.mkdir(parents=True)
    (copy / copying.FIRST_PAGE).write_text("not from here")
    assert copying.copy_lesson(lesson, copy) == [NEW_PAGE]
    assert (copy / copying.FIRST_PAGE).read_text() == "not from here"


def test_a_page_arrives_without_outputs_and_counts(lesson, copy, page):
    (lesson / copying.FIRST_PAGE).write_text(page(ran="2"))
    copying.copy_lesson(lesson, copy)
    cell = cells(copy / copying.FIRST_PAGE)[1]
    assert (cell["source"], cell["outputs"], cell["execution_count"]) == ("1 + 1", [], None)


def test_text_cells_arrive_locked_and_code_cells_do_not(lesson, copy, page):
    (lesson / copying.FIRST_PAGE).write_text(page())
    copying.copy_lesson(lesson, copy)
    text, code = cells(copy / copying.FIRST_PAGE)
    assert text["metadata"] == {"editable": False, "deletable": False}
    assert code["metadata"] == {}


@pytest.mark.parametrize("chapter", sorted(copying.CHECKOUT.glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_copied_chapter_is_a_valid_notebook_with_the_same_text(chapter):
    copied = nbformat.reads(pages.for_student(chapter), as_version=4)
    nbformat.validate(copied)
    stored = nbformat.read(chapter, as_version=4)
    assert [cell.source for cell in copied.cells] == [cell.source for cell in stored.cells]


def test_scripts_and_pictures_are_copied_byte_for_byte(copy):
    copying.copy_lesson(copying.CHECKOUT, copy)
    names = [name for name in copying.lesson_files(copying.CHECKOUT) if ".ipynb" not in name]
    assert "generate.py" in names
    for name in names:
        assert (copy / name).read_bytes() == (copying.CHECKOUT / name).read_bytes()


def test_a_page_that_was_only_opened_counts_as_untouched(lesson, copy, page):
    (lesson / copying.FIRST_PAGE).write_text(page())
    copying.copy_lesson(lesson, copy)
    opened = json.loads((copy / copying.FIRST_PAGE).read_text())
    opened["metadata"]["language_info"] = {"version": "3.14.2"}  # as JupyterLab does by itself
    opened["cells"][1]["metadata"]["trusted"] = True
    (copy / copying.FIRST_PAGE).write_text(json.dumps(opened, indent=2))
    (lesson / copying.FIRST_PAGE).write_text(page("2 + 2"))
    assert copying.copy_lesson(lesson, copy) == []
    assert cells(copy / copying.FIRST_PAGE)[1]["source"] == "2 + 2"


def test_a_page_that_was_run_keeps_its_outputs_and_the_newer_one_goes_beside(lesson, copy, page):
    (lesson / copying.FIRST_PAGE).write_text(page())
    copying.copy_lesson(lesson, copy)
    (copy / copying.FIRST_PAGE).write_text(page(ran="mine"))
    (lesson / copying.FIRST_PAGE).write_text(page("2 + 2"))
    assert copying.copy_lesson(lesson, copy) == [NEW_PAGE]
    assert cells(copy / copying.FIRST_PAGE)[1]["outputs"][0]["text"] == "mine"
    assert cells(copy / NEW_PAGE)[1]["source"] == "2 + 2"


def test_a_page_that_was_run_is_left_alone_while_the_lesson_is_the_same(lesson, copy, page):
    (lesson / copying.FIRST_PAGE).write_text(page())
    copying.copy_lesson(lesson, copy)
    (copy / copying.FIRST_PAGE).write_text(page(ran="mine"))
    (lesson / copying.FIRST_PAGE).write_text(page(ran="run again by its author"))
    assert copying.copy_lesson(lesson, copy) == []
    assert (copy / copying.FIRST_PAGE).read_text() == page(ran="mine")


def test_a_newer_tag_reaches_a_page_that_was_not_run(lesson, copy, page):
    (lesson / copying.FIRST_PAGE).write_text(page())
    copying.copy_lesson(lesson, copy)
    tagged = json.loads(page())
    tagged["cells"][1]["metadata"]["tags"] = ["raises-exception"]
    (lesson / copying.FIRST_PAGE).write_text(json.dumps(tagged))
    copying.copy_lesson(lesson, copy)
    assert cells(copy / copying.FIRST_PAGE)[1]["metadata"]["tags"] == ["raises-exception"]


def copied_with_outputs(lesson: Path, copy: Path) -> None:
    """A copy as it was made when copies had outputs, with the manifest of that time."""
    shutil.copytree(lesson, copy)
    fingerprints = {}
    for name in copying.lesson_files(lesson):
        content = (lesson / name).read_bytes()
        if name.endswith(".ipynb"):
            content = json.dumps(json.loads(content)["cells"], sort_keys=True).encode()
        fingerprints[name] = hashlib.sha256(content).hexdigest()
    (copy / copying.MANIFEST).write_text(json.dumps(fingerprints, indent=1))


def test_an_untouched_page_of_an_old_copy_loses_the_outputs_of_the_lesson(lesson, copy, page):
    (lesson / copying.FIRST_PAGE).write_text(page(ran="2"))
    copied_with_outputs(lesson, copy)
    assert copying.copy_lesson(lesson, copy) == []
    assert cells(copy / copying.FIRST_PAGE)[1]["outputs"] == []
    assert files(copy) == files(lesson) | {copying.MANIFEST}


def test_an_untouched_page_of_an_old_copy_is_updated(lesson, copy, page):
    (lesson / copying.FIRST_PAGE).write_text(page(ran="2"))
    copied_with_outputs(lesson, copy)
    (lesson / copying.FIRST_PAGE).write_text(page("2 + 2", ran="4"))
    assert copying.copy_lesson(lesson, copy) == []
    assert cells(copy / copying.FIRST_PAGE)[1]["source"] == "2 + 2"


@pytest.mark.parametrize("mine", [{"ran": "mine"}, {"code": "1 + 2", "ran": "3"}])
def test_what_a_student_did_in_an_old_copy_is_kept(lesson, copy, page, mine):
    (lesson / copying.FIRST_PAGE).write_text(page(ran="2"))
    copied_with_outputs(lesson, copy)
    (copy / copying.FIRST_PAGE).write_text(page(**mine))
    (lesson / copying.FIRST_PAGE).write_text(page("2 + 2"))
    assert copying.copy_lesson(lesson, copy) == [NEW_PAGE]
    assert (copy / copying.FIRST_PAGE).read_text() == page(**mine)


def test_the_day_a_copy_was_made_stays_when_it_is_updated(lesson, copy):
    copying.copy_lesson(lesson, copy)
    assert copying.made_on(copy) == date.today()
    manifest = json.loads((copy / copying.MANIFEST).read_text()) | {"made": "2026-03-01"}
    (copy / copying.MANIFEST).write_text(json.dumps(manifest))
    (lesson / copying.FIRST_PAGE).write_text("a newer page")
    copying.copy_lesson(lesson, copy)
    assert (copy / copying.FIRST_PAGE).read_text() == "a newer page"
    assert copying.made_on(copy) == date(2026, 3, 1)


def test_a_page_the_student_deleted_comes_back(lesson, copy):
    copying.copy_lesson(lesson, copy)
    (copy / copying.FIRST_PAGE).unlink()
    copying.copy_lesson(lesson, copy)
    assert (copy / copying.FIRST_PAGE).read_text() == "page one"


@pytest.mark.parametrize("damaged", ["", "[1]", '{"00-st', "null", "\udce9"])
def test_without_a_readable_manifest_everything_is_the_student_s(lesson, copy, damaged):
    copying.copy_lesson(lesson, copy)
    (copy / copying.MANIFEST).write_bytes(damaged.encode(errors="surrogateescape"))
    (lesson / copying.FIRST_PAGE).write_text("a newer page")
    assert copying.copy_lesson(lesson, copy) == [NEW_PAGE]
    assert (copy / copying.FIRST_PAGE).read_text() == "page one"


def test_a_copy_that_fails_half_way_leaves_the_old_file(lesson, copy, monkeypatch):
    copying.copy_lesson(lesson, copy)
    (lesson / copying.FIRST_PAGE).write_text("a newer page")

    def full_disk(part, content):
        part.write_text("a ne")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space"):
        copying.copy_lesson(lesson, copy)
    assert (copy / copying.FIRST_PAGE).read_text() == "page one"
    assert files(copy) == files(lesson) | {copying.MANIFEST}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_copy_that_is_killed_goes_on_the_next_time(lesson, copy, when):
    """The process ends between two files as if the current went: nothing of it runs any more."""
    (lesson / "a.ipynb").write_text("page a")
    code = (
        "import os, sys; from pathlib import Path; from llamalab.lesson import copying\n"
        "def put(content, target):\n"
        f"    {'whole(content, target)' if when == 'after' else 'half(target)'}\n"
        "    os._exit(9)\n"
        "def half(target):\n"
        "    target.with_name(copying.PART + '0').write_text('pa')\n"
        "whole, copying.put = copying.put, put\n"
        "copying.copy_lesson(*map(Path, sys.argv[1:]))"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(lesson), str(copy)])
    assert killed.returncode == 9
    assert copying.copy_lesson(lesson, copy) == []
    assert files(lesson) <= files(copy)
    (copy / (copying.PART + "1")).write_text("being written by another llamalab")
    long_ago = time.time() - 7200
    for left in copy.glob(copying.PART + "0"):
        os.utime(left, (long_ago, long_ago))
    copying.copy_lesson(lesson, copy)
    assert files(copy) == files(lesson) | {copying.MANIFEST, copying.PART + "1"}


def test_two_who_write_a_file_at_once_are_not_in_each_other_s_way(tmp_path):
    page = tmp_path / copying.FIRST_PAGE
    with copying.replacing(page) as one:
        one.write_text("one")
        with copying.replacing(page) as other:
            other.write_text("other")
        assert page.read_text() == "other"
    assert files(tmp_path) == {copying.FIRST_PAGE}
    assert page.read_text() == "one"


def test_two_who_copy_at_once_both_have_the_whole_lesson(copy):
    code = (
        "import sys; from pathlib import Path; from llamalab.lesson import copying\n"
        "sys.stdin.read()\n"
        "print(copying.copy_lesson(copying.CHECKOUT, Path(sys.argv[1])))"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", code, str(copy)], **pipes) for _ in range(2)]
    for process in both:
        process.stdin.close()
    assert [process.stdout.read() for process in both] == ["[]\n", "[]\n"]
    assert [process.wait() for process in both] == [0, 0]
    assert files(copy) == {*copying.lesson_files(copying.CHECKOUT), copying.MANIFEST}


def test_one_sentence_says_what_is_newer(lesson, copy, monkeypatch, capsys):
    monkeypatch.setattr(copying, "PACKAGED", lesson)
    copying.update_lesson(copy)
    assert capsys.readouterr().out == ""
    (copy / copying.FIRST_PAGE).write_text("my notes")
    (lesson / copying.FIRST_PAGE).write_text("a newer page")
    copying.update_lesson(copy)
    said = f"Newer:  {NEW_PAGE} (put beside yours; nothing of yours is changed)\n"
    assert capsys.readouterr().out == said


def test_without_a_server_nothing_is_copied_and_so_nothing_goes_unsaid(
    lesson, copy, monkeypatch, capsys, unused_address
):
    monkeypatch.setattr(copying, "PACKAGED", lesson)
    changed(lesson, copy)
    monkeypatch.setenv("OLLAMA_HOST", unused_address)
    assert cli.main(["lab", str(copy), "--no-browser"]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err.splitlines()[0]) == ("", f"No server answers at {unused_address}.")
    assert not (copy / NEW_PAGE).exists()


def test_an_installed_lesson_goes_to_llama_lesson(lesson, tmp_path, monkeypatch):
    monkeypatch.setattr(copying, "PACKAGED", lesson)
    monkeypatch.chdir(tmp_path)
    assert copying.lesson_folder() == (tmp_path / "llama-lesson").resolve()


def test_in_a_checkout_the_copy_is_at_its_top_where_git_ignores_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    top = copying.CHECKOUT.parent
    assert copying.find_folder() == top / "llama-lesson"
    assert "/llama-lesson/" in (top / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_a_checkout_s_own_notebooks_are_opened_as_they_are_by_their_name():
    lesson = copying.lesson_folder(str(copying.CHECKOUT))
    assert lesson == copying.CHECKOUT
    copying.update_lesson(lesson)
    assert not copying.is_copy(lesson)


def test_inside_a_copy_the_same_copy_is_found(lesson, copy, monkeypatch):
    copying.copy_lesson(lesson, copy)
    monkeypatch.chdir(copy)
    assert copying.lesson_folder() == copy.resolve()


def test_the_lesson_is_not_copied_into_itself():
    with pytest.raises(LlamalabError, match="copied into itself"):
        copying.lesson_folder(str(copying.CHECKOUT / "mine"))
    assert not (copying.CHECKOUT / "mine").exists()


def test_a_folder_that_cannot_be_is_said_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LlamalabError, match=r"cannot be kept in .*\n  Why: File exists"):
        copying.lesson_folder(str(tmp_path / "file"))
    with pytest.raises(LlamalabError, match=r"cannot be kept in ~nobody-here.*\n  Why: Could not"):
        copying.lesson_folder("~nobody-here/lesson")


def test_a_file_where_a_folder_has_to_be_is_named(lesson, copy, monkeypatch):
    monkeypatch.setattr(copying, "PACKAGED", lesson)
    copy.mkdir(parents=True)
    (copy / "images").write_text("not a folder")
    with pytest.raises(LlamalabError, match=r"cannot be copied .*\n  Why: .*images"):
        copying.update_lesson(copy)
    assert (copy / "images").read_text() == "not a folder"


def test_a_full_disk_is_said_with_its_cure(lesson, copy, monkeypatch):
    monkeypatch.setattr(copying, "PACKAGED", lesson)

    def full_disk(part, content):
        raise OSError(28, "No space left on device", str(part))

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(LlamalabError, match="Why: No space left on device\n  Do:  make room"):
        copying.update_lesson(copy)


def test_the_lesson_s_names_are_one_on_every_system():
    """No file system mistakes one for another, or refuses it; none is in a newer page's way."""
    names = copying.lesson_files(copying.CHECKOUT)
    assert len({name.lower() for name in names}) == len(names) > 5
    for name in names:
        assert re.fullmatch(r"(images/)?[a-z0-9][a-z0-9_-]*\.[a-z]+", name), name
        assert not re.search(r"-(new|old)(-\d+)?\.|^(con|prn|aux|nul)\.", name), name
