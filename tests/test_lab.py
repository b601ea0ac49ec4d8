"""Opening the lesson: the student's copy is safe, the server is found, JupyterLab ends well."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil  # comes with ipykernel
import pytest
import requests
from opening import opened
from tiny_server import tiny_server, whole

from llamalab import cli, find, lab
from llamalab.errors import LlamalabError

# --- The student's copy ---------------------------------------------------------------------


@pytest.fixture
def lesson(tmp_path) -> Path:
    """A lesson of two files, as in an installed package."""
    source = tmp_path / "package" / "lesson"
    (source / "images").mkdir(parents=True)
    (source / lab.FIRST_PAGE).write_text("page one")
    (source / "images" / "tape.svg").write_text("<svg/>")
    return source


@pytest.fixture
def copy(tmp_path) -> Path:
    """Where the student keeps it, on a path that is not all ASCII and has spaces."""
    return tmp_path / "Mes leçons d'été" / "llama lesson"


NEW_PAGE = "00-start-here-new.ipynb"


def changed(lesson: Path, copy: Path) -> None:
    """The student has written into the first page, and then the lesson has a newer one."""
    lab.copy_lesson(lesson, copy)
    (copy / lab.FIRST_PAGE).write_text("my notes")
    (lesson / lab.FIRST_PAGE).write_text("a newer page")


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_the_lesson_is_copied_whole(lesson, copy):
    assert lab.copy_lesson(lesson, copy) == []
    assert files(copy) == files(lesson) | {lab.MANIFEST}
    assert (copy / lab.FIRST_PAGE).read_text() == "page one"


def test_what_running_the_lesson_leaves_behind_is_not_copied(lesson, copy):
    for name in ("my_answer.py", ".ipynb_checkpoints/x.ipynb", "__pycache__/generate.pyc"):
        (lesson / name).parent.mkdir(exist_ok=True)
        (lesson / name).write_text("")
    lab.copy_lesson(lesson, copy)
    assert files(copy) == {lab.FIRST_PAGE, "images/tape.svg", lab.MANIFEST}


def test_a_file_the_student_changed_is_kept(lesson, copy):
    lab.copy_lesson(lesson, copy)
    (copy / lab.FIRST_PAGE).write_text("my notes")
    (lesson / lab.FIRST_PAGE).write_text("a newer page")
    assert lab.copy_lesson(lesson, copy) == [NEW_PAGE]
    assert (copy / lab.FIRST_PAGE).read_text() == "my notes"
    assert (copy / NEW_PAGE).read_text() == "a newer page"


def test_the_newer_page_beside_the_student_s_is_spoken_of_once(lesson, copy):
    changed(lesson, copy)
    assert lab.copy_lesson(lesson, copy) == [NEW_PAGE]
    assert lab.copy_lesson(lesson, copy) == []


def test_a_newer_page_that_the_student_throws_away_stays_away(lesson, copy):
    changed(lesson, copy)
    lab.copy_lesson(lesson, copy)
    (copy / NEW_PAGE).unlink()
    assert lab.copy_lesson(lesson, copy) == []
    assert not (copy / NEW_PAGE).exists()


def test_a_newer_page_in_which_the_student_works_is_the_student_s_too(lesson, copy):
    changed(lesson, copy)
    lab.copy_lesson(lesson, copy)
    (copy / NEW_PAGE).write_text("my second notes")
    assert lab.copy_lesson(lesson, copy) == []
    (lesson / lab.FIRST_PAGE).write_text("the newest page")
    assert lab.copy_lesson(lesson, copy) == ["00-start-here-new-2.ipynb"]
    assert lab.copy_lesson(lesson, copy) == []
    pages = {path.name: path.read_text() for path in copy.glob("*.ipynb")}
    assert pages == {
        lab.FIRST_PAGE: "my notes",
        NEW_PAGE: "my second notes",
        "00-start-here-new-2.ipynb": "the newest page",
    }


def test_a_file_of_the_student_s_own_with_the_newer_page_s_name_is_kept(lesson, copy):
    changed(lesson, copy)
    (copy / NEW_PAGE).write_text("a name I liked")
    assert lab.copy_lesson(lesson, copy) == ["00-start-here-new-2.ipynb"]
    assert (copy / NEW_PAGE).read_text() == "a name I liked"


def test_the_student_may_take_the_newer_page_for_the_old_one(lesson, copy):
    changed(lesson, copy)
    lab.copy_lesson(lesson, copy)
    (copy / NEW_PAGE).replace(copy / lab.FIRST_PAGE)
    assert lab.copy_lesson(lesson, copy) == []
    (lesson / lab.FIRST_PAGE).write_text("the newest page")
    assert lab.copy_lesson(lesson, copy) == []
    assert files(copy) == files(lesson) | {lab.MANIFEST}
    assert (copy / lab.FIRST_PAGE).read_text() == "the newest page"


def test_a_script_and_a_picture_arrive_beside_the_student_s_too(lesson, copy):
    (lesson / "generate.py").write_text("one")
    lab.copy_lesson(lesson, copy)
    for name in ("generate.py", "images/tape.svg"):
        (copy / name).write_text("mine")
        (lesson / name).write_text("two")
    assert lab.copy_lesson(lesson, copy) == ["generate-new.py", "images/tape-new.svg"]


@pytest.mark.skipif(sys.platform == "win32", reason="there, a link is the administrator's")
def test_what_has_the_name_of_a_page_and_is_none_is_kept(lesson, copy, tmp_path):
    copy.mkdir(parents=True)
    (copy / lab.FIRST_PAGE).mkdir()
    (copy / "images").mkdir()
    (copy / "images" / "tape.svg").symlink_to(tmp_path / "nowhere")
    assert lab.copy_lesson(lesson, copy) == [NEW_PAGE, "images/tape-new.svg"]
    assert (copy / lab.FIRST_PAGE).is_dir()
    assert (copy / "images" / "tape.svg").is_symlink()


def test_nothing_is_said_of_a_change_while_the_lesson_is_the_same(lesson, copy):
    lab.copy_lesson(lesson, copy)
    (copy / lab.FIRST_PAGE).write_text("my notes")
    assert lab.copy_lesson(lesson, copy) == []
    assert (copy / lab.FIRST_PAGE).read_text() == "my notes"


def test_an_older_lesson_nobody_touched_is_updated(lesson, copy):
    lab.copy_lesson(lesson, copy)
    (lesson / lab.FIRST_PAGE).write_text("a newer page")
    assert lab.copy_lesson(lesson, copy) == []
    assert (copy / lab.FIRST_PAGE).read_text() == "a newer page"


def test_a_change_is_still_the_student_s_two_lessons_later(lesson, copy):
    lab.copy_lesson(lesson, copy)
    (copy / lab.FIRST_PAGE).write_text("my notes")
    for newer in ("second", "third"):
        (lesson / lab.FIRST_PAGE).write_text(newer)
        assert lab.copy_lesson(lesson, copy) == [NEW_PAGE]
        assert (copy / NEW_PAGE).read_text() == newer
    assert (copy / lab.FIRST_PAGE).read_text() == "my notes"


def test_a_file_that_was_there_before_the_lesson_is_kept(lesson, copy):
    copy.mkdir(parents=True)
    (copy / lab.FIRST_PAGE).write_text("not from here")
    assert lab.copy_lesson(lesson, copy) == [NEW_PAGE]
    assert (copy / lab.FIRST_PAGE).read_text() == "not from here"


def test_a_page_that_was_only_looked_at_counts_as_untouched(lesson, copy):
    page = {"cells": [{"source": "SERVER"}], "metadata": {}}
    (lesson / lab.FIRST_PAGE).write_text(json.dumps(page))
    lab.copy_lesson(lesson, copy)
    looked_at = page | {"metadata": {"language_info": {"version": "3.14.2"}}}
    (copy / lab.FIRST_PAGE).write_text(json.dumps(looked_at, indent=1))
    (lesson / lab.FIRST_PAGE).write_text("a newer page")
    assert lab.copy_lesson(lesson, copy) == []
    assert (copy / lab.FIRST_PAGE).read_text() == "a newer page"


def test_a_page_that_was_run_counts_as_the_student_s(lesson, copy):
    page = {"cells": [{"source": "SERVER", "outputs": []}]}
    (lesson / lab.FIRST_PAGE).write_text(json.dumps(page))
    lab.copy_lesson(lesson, copy)
    (copy / lab.FIRST_PAGE).write_text(json.dumps(page).replace("[]", '["an answer"]'))
    (lesson / lab.FIRST_PAGE).write_text("a newer page")
    assert lab.copy_lesson(lesson, copy) == [NEW_PAGE]


def test_a_page_the_student_deleted_comes_back(lesson, copy):
    lab.copy_lesson(lesson, copy)
    (copy / lab.FIRST_PAGE).unlink()
    lab.copy_lesson(lesson, copy)
    assert (copy / lab.FIRST_PAGE).read_text() == "page one"


@pytest.mark.parametrize("damaged", ["", "[1]", '{"00-st', "null", "\udce9"])
def test_without_a_readable_manifest_everything_is_the_student_s(lesson, copy, damaged):
    lab.copy_lesson(lesson, copy)
    (copy / lab.MANIFEST).write_bytes(damaged.encode(errors="surrogateescape"))
    (lesson / lab.FIRST_PAGE).write_text("a newer page")
    assert lab.copy_lesson(lesson, copy) == [NEW_PAGE]
    assert (copy / lab.FIRST_PAGE).read_text() == "page one"


def test_a_copy_that_fails_half_way_leaves_the_old_file(lesson, copy, monkeypatch):
    lab.copy_lesson(lesson, copy)
    (lesson / lab.FIRST_PAGE).write_text("a newer page")

    def full_disk(source, part):
        part.write_text("a ne")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lab.shutil, "copyfile", full_disk)
    with pytest.raises(OSError, match="No space"):
        lab.copy_lesson(lesson, copy)
    assert (copy / lab.FIRST_PAGE).read_text() == "page one"
    assert files(copy) == files(lesson) | {lab.MANIFEST}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_copy_that_is_killed_goes_on_the_next_time(lesson, copy, when):
    """The process ends between two files as if the current went: nothing of it runs any more."""
    (lesson / "a.ipynb").write_text("page a")
    code = (
        "import os, sys; from pathlib import Path; from llamalab import lab\n"
        "def put(source, target):\n"
        f"    {'whole(source, target)' if when == 'after' else 'half(target)'}\n"
        "    os._exit(9)\n"
        "def half(target):\n"
        "    target.with_name(lab.PART + '0').write_text('pa')\n"
        "whole, lab.put = lab.put, put\n"
        "lab.copy_lesson(*map(Path, sys.argv[1:]))"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(lesson), str(copy)])
    assert killed.returncode == 9
    assert lab.copy_lesson(lesson, copy) == []
    assert files(lesson) <= files(copy)
    (copy / (lab.PART + "1")).write_text("being written by another llamalab")
    long_ago = time.time() - 7200
    for left in copy.glob(lab.PART + "0"):
        os.utime(left, (long_ago, long_ago))
    lab.copy_lesson(lesson, copy)
    assert files(copy) == files(lesson) | {lab.MANIFEST, lab.PART + "1"}


def test_two_who_write_a_file_at_once_are_not_in_each_other_s_way(tmp_path):
    page = tmp_path / lab.FIRST_PAGE
    with lab.replacing(page) as one:
        one.write_text("one")
        with lab.replacing(page) as other:
            other.write_text("other")
        assert page.read_text() == "other"
    assert files(tmp_path) == {lab.FIRST_PAGE}
    assert page.read_text() == "one"


def test_two_who_copy_at_once_both_have_the_whole_lesson(copy):
    code = (
        "import sys; from pathlib import Path; from llamalab import lab\n"
        "sys.stdin.read()\n"
        "print(lab.copy_lesson(lab.CHECKOUT, Path(sys.argv[1])))"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", code, str(copy)], **pipes) for _ in range(2)]
    for process in both:
        process.stdin.close()
    assert [process.stdout.read() for process in both] == ["[]\n", "[]\n"]
    assert [process.wait() for process in both] == [0, 0]
    assert files(copy) == {*lab.lesson_files(lab.CHECKOUT), lab.MANIFEST}


def test_one_sentence_says_what_is_newer(lesson, copy, monkeypatch, capsys):
    monkeypatch.setattr(lab, "PACKAGED", lesson)
    lab.update_lesson(copy)
    assert capsys.readouterr().out == ""
    (copy / lab.FIRST_PAGE).write_text("my notes")
    (lesson / lab.FIRST_PAGE).write_text("a newer page")
    lab.update_lesson(copy)
    said = f"Newer:  {NEW_PAGE} (put beside yours; nothing of yours is changed)\n"
    assert capsys.readouterr().out == said


def test_without_a_server_nothing_is_copied_and_so_nothing_goes_unsaid(
    lesson, copy, monkeypatch, capsys, unused_address
):
    monkeypatch.setattr(lab, "PACKAGED", lesson)
    changed(lesson, copy)
    monkeypatch.setenv("OLLAMA_HOST", unused_address)
    assert cli.main(["lab", str(copy), "--no-browser"]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err.splitlines()[0]) == ("", f"No server answers at {unused_address}.")
    assert not (copy / NEW_PAGE).exists()


def test_an_installed_lesson_goes_to_llama_lesson(lesson, tmp_path, monkeypatch):
    monkeypatch.setattr(lab, "PACKAGED", lesson)
    monkeypatch.chdir(tmp_path)
    assert lab.lesson_folder() == (tmp_path / "llama-lesson").resolve()


def test_a_checkout_opens_its_own_notebooks():
    assert lab.lesson_folder() == lab.CHECKOUT
    assert lab.lesson_folder(str(lab.CHECKOUT)) == lab.CHECKOUT
    assert not (lab.CHECKOUT / lab.MANIFEST).exists()


def test_the_lesson_is_not_copied_into_itself():
    with pytest.raises(LlamalabError, match="copied into itself"):
        lab.lesson_folder(str(lab.CHECKOUT / "mine"))
    assert not (lab.CHECKOUT / "mine").exists()


def test_a_folder_that_cannot_be_is_said_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LlamalabError, match=r"cannot be kept in .*\n  Why: File exists"):
        lab.lesson_folder(str(tmp_path / "file"))
    with pytest.raises(LlamalabError, match=r"cannot be kept in ~nobody-here.*\n  Why: Could not"):
        lab.lesson_folder("~nobody-here/lesson")


def test_a_file_where_a_folder_has_to_be_is_named(lesson, copy, monkeypatch):
    monkeypatch.setattr(lab, "PACKAGED", lesson)
    copy.mkdir(parents=True)
    (copy / "images").write_text("not a folder")
    with pytest.raises(LlamalabError, match=r"cannot be copied .*\n  Why: .*images"):
        lab.update_lesson(copy)
    assert (copy / "images").read_text() == "not a folder"


def test_a_full_disk_is_said_with_its_cure(lesson, copy, monkeypatch):
    monkeypatch.setattr(lab, "PACKAGED", lesson)

    def full_disk(source, part):
        raise OSError(28, "No space left on device", str(part))

    monkeypatch.setattr(lab.shutil, "copyfile", full_disk)
    with pytest.raises(LlamalabError, match="Why: No space left on device\n  Do:  make room"):
        lab.update_lesson(copy)


def test_the_lesson_s_names_are_one_on_every_system():
    """No file system mistakes one for another, or refuses it; none is in a newer page's way."""
    names = lab.lesson_files(lab.CHECKOUT)
    assert len({name.lower() for name in names}) == len(names) > 5
    for name in names:
        assert re.fullmatch(r"(images/)?[a-z0-9][a-z0-9_-]*\.[a-z]+", name), name
        assert not re.search(r"-new(-\d+)?\.|^(con|prn|aux|nul)\.", name), name


# --- The server at its side -----------------------------------------------------------------


@pytest.fixture
def nothing_here(monkeypatch) -> str:
    """A machine without OLLAMA_HOST and Ollama: the address where it would be."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    monkeypatch.setattr(find, "DEFAULT", address)
    monkeypatch.setattr(find, "_builtin", None)
    return address


def test_the_built_in_server_takes_ollama_s_own_port(nothing_here):
    with lab.a_server() as address:
        assert address == nothing_here
        assert find.who_answers(address) == "llamalab's built-in server"


def test_the_built_in_server_ends_with_the_lesson(nothing_here):
    with lab.a_server() as address:
        pass
    with pytest.raises(LlamalabError):
        find.who_answers(address)


def test_a_second_lesson_finds_the_first_one_s_server(nothing_here):
    with lab.a_server() as first, lab.a_server() as second:
        assert first == second


def test_another_program_on_ollama_s_port_is_left_alone(nothing_here, monkeypatch):
    with tiny_server(whole("200 OK", b"<html>", "text/html")) as stranger:
        monkeypatch.setattr(find, "DEFAULT", stranger)
        with lab.a_server() as address:
            assert address != stranger
            assert find.who_answers(address) == "llamalab's built-in server"


def test_who_shares_another_one_s_server_goes_on_when_that_one_ends(nothing_here, capsys):
    with another_llamalab(nothing_here) as other:
        assert "started just now" in other.stdout.readline()
        with lab.a_server() as address:
            note = "llamalab's built-in server, shared with another llamalab"
            assert capsys.readouterr().out == f"Server: {nothing_here} ({note})\n"
            lab.go_on_alone()
            assert capsys.readouterr().out == ""
            other.kill()
            other.wait()
            lab.go_on_alone()
            assert "the other llamalab has ended" in capsys.readouterr().out
            assert find.who_answers(address) == "llamalab's built-in server"
            lab.go_on_alone()
            assert capsys.readouterr().out == ""
    with pytest.raises(LlamalabError):
        find.who_answers(address)


def test_the_port_of_an_ollama_that_ends_is_left_to_it(nothing_here, monkeypatch, capsys):
    with tiny_server(whole("200 OK", b'{"version":"0.33.0"}')) as ollama:
        monkeypatch.setattr(find, "DEFAULT", ollama)
        find.server()
    lab.go_on_alone()
    with pytest.raises(LlamalabError):
        find.who_answers(ollama)


def test_two_that_start_at_the_very_same_moment_both_have_a_server(nothing_here):
    with another_llamalab(nothing_here) as one, another_llamalab(nothing_here) as other:
        addresses = [process.stdout.readline().split()[1] for process in (one, other)]
        assert nothing_here in addresses
        for address in addresses:
            assert find.who_answers(address) == "llamalab's built-in server"


@contextlib.contextmanager
def another_llamalab(default: str):
    """Another process that finds or starts a server as `llamalab lab` does, and keeps it."""
    code = (
        "import sys; from llamalab import find, lab\n"
        "find.DEFAULT = sys.argv[1]\n"
        "with lab.a_server():\n"
        "    sys.stdout.flush(), sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code, default], **pipes) as process:
        yield process
        process.stdin.close()


# --- JupyterLab -----------------------------------------------------------------------------


@pytest.fixture
def pages(monkeypatch) -> list[str]:
    """The pages a browser was asked to open, on a machine with a screen."""
    opened_pages = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(lab.webbrowser, "open", lambda url: opened_pages.append(url) is None)
    return opened_pages


def test_the_page_is_opened_in_the_browser_and_shown(pages, capsys):
    lab.show("http://127.0.0.1:8888/?token=abc", browser=True)
    assert pages == ["http://127.0.0.1:8888/?token=abc"]
    assert "?token=abc\n" in capsys.readouterr().out


def test_without_a_browser_one_is_asked_to_open_the_page(pages, capsys):
    lab.show("http://127.0.0.1:8888/?token=abc", browser=False)
    assert pages == []
    assert "?token=abc   <- open this" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there always is a screen")
def test_no_browser_for_text_takes_the_terminal(pages, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    assert not lab.open_page("http://127.0.0.1:8888/")
    assert pages == []


def test_jupyterlab_gets_our_settings_before_the_student_s(monkeypatch):
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "theirs")
    path = lab.environment("http://127.0.0.1:1", "runtime")["JUPYTER_CONFIG_PATH"]
    assert path.split(os.pathsep) == [str(lab.HERE / "jupyter"), "theirs"]


def test_a_port_that_is_taken_is_said_before_anything_starts(capsys, copy):
    with tiny_server(b"") as url:
        port = url.rpartition(":")[2]
        assert cli.main(["lab", str(copy), "--port", port]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"JupyterLab cannot have port {port}.")
    assert not copy.exists()


def test_a_jupyterlab_that_does_not_start_is_said_below_its_own_words(capsys, copy, monkeypatch):
    fails = [sys.executable, "-c", "import sys; sys.exit('no such widget')"]
    monkeypatch.setattr(lab, "arguments", lambda *_: fails)
    assert cli.main(["lab", str(copy), "--no-browser"]) == 1
    own_words, what, *_ = capsys.readouterr().err.splitlines()
    assert own_words == "no such widget"
    assert what == "JupyterLab did not start (exit code 1)."


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signal")
@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM"])
def test_the_lesson_opens_and_ends_without_a_trace(copy, signal_name):
    session = requests.Session()
    session.trust_env = False
    with opened(copy) as lesson:
        answer = session.get(lesson.page)
        start_a_kernel(lesson.page)
        started = psutil.Process(lesson.process.pid).children(recursive=True)
        lesson.process.send_signal(getattr(signal, signal_name))
        _, said = lesson.process.communicate()
    assert answer.status_code == 200
    assert "<title>JupyterLab</title>" in answer.text
    shown = [line.split(":")[0] for line in lesson.lines]
    assert [word for word in shown if word != "Root"] == ["Server", "Lesson", "Page", "Stop"]
    assert str(copy) in lesson.lines[1]
    assert (lesson.process.returncode, said) == (0, "")
    assert len(started) >= 2  # JupyterLab and a kernel
    assert not [process for process in started if process.is_running()]


def start_a_kernel(page: str) -> None:
    root, token = page.split("?token=")
    key = {"Authorization": f"token {token}"}
    requests.post(f"{root}api/kernels", headers=key, json={"name": "python3"}).raise_for_status()
