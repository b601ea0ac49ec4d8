"""Opening the lesson: the student's copy is safe, the server is found, JupyterLab ends well."""

import json
import os
import signal
import socket
import sys
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
    assert lab.copy_lesson(lesson, copy) == [lab.FIRST_PAGE]
    assert (copy / lab.FIRST_PAGE).read_text() == "my notes"


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
        assert lab.copy_lesson(lesson, copy) == [lab.FIRST_PAGE]
    assert (copy / lab.FIRST_PAGE).read_text() == "my notes"


def test_a_file_that_was_there_before_the_lesson_is_kept(lesson, copy):
    copy.mkdir(parents=True)
    (copy / lab.FIRST_PAGE).write_text("not from here")
    assert lab.copy_lesson(lesson, copy) == [lab.FIRST_PAGE]
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
    assert lab.copy_lesson(lesson, copy) == [lab.FIRST_PAGE]


def test_a_page_the_student_deleted_comes_back(lesson, copy):
    lab.copy_lesson(lesson, copy)
    (copy / lab.FIRST_PAGE).unlink()
    lab.copy_lesson(lesson, copy)
    assert (copy / lab.FIRST_PAGE).read_text() == "page one"


@pytest.mark.parametrize("damaged", ["", "[1]", '{"00-st', "null"])
def test_without_a_readable_manifest_everything_is_the_student_s(lesson, copy, damaged):
    lab.copy_lesson(lesson, copy)
    (copy / lab.MANIFEST).write_text(damaged)
    (lesson / lab.FIRST_PAGE).write_text("a newer page")
    assert lab.copy_lesson(lesson, copy) == [lab.FIRST_PAGE]
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


def test_one_sentence_says_which_files_were_kept(lesson, copy, monkeypatch, capsys):
    monkeypatch.setattr(lab, "PACKAGED", lesson)
    lab.lesson_folder(str(copy))
    assert capsys.readouterr().out == ""
    (copy / lab.FIRST_PAGE).write_text("my notes")
    (lesson / lab.FIRST_PAGE).write_text("a newer page")
    lab.lesson_folder(str(copy))
    (said,) = capsys.readouterr().out.splitlines()
    assert lab.FIRST_PAGE in said


def test_an_installed_lesson_goes_to_llama_lesson(lesson, tmp_path, monkeypatch):
    monkeypatch.setattr(lab, "PACKAGED", lesson)
    monkeypatch.chdir(tmp_path)
    assert lab.lesson_folder() == (tmp_path / "llama-lesson").resolve()


def test_a_checkout_opens_its_own_notebooks():
    assert lab.lesson_folder() == lab.CHECKOUT
    assert lab.lesson_folder(str(lab.CHECKOUT)) == lab.CHECKOUT
    assert not (lab.CHECKOUT / lab.MANIFEST).exists()


def test_a_folder_that_cannot_be_is_said_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LlamalabError, match="cannot be copied"):
        lab.lesson_folder(str(tmp_path / "file"))


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
