"""Opening the lesson: the server is found, JupyterLab starts, and ends well."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil  # comes with ipykernel
import pytest
import requests
from opening import need_ended, opened
from tiny_server import free_port, tiny_server, whole

from llamalab import cli, find
from llamalab.errors import LlamalabError
from llamalab.lesson import copying, jupyterlab, progress


@pytest.fixture
def nothing_here(monkeypatch) -> str:
    """A machine without OLLAMA_HOST and Ollama: the address where it would be."""
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    monkeypatch.setattr(find, "DEFAULT", address)
    monkeypatch.setattr(find, "_builtin", None)
    return address


def test_the_built_in_server_takes_ollama_s_own_port(nothing_here):
    with jupyterlab.a_server() as address:
        assert address == nothing_here
        assert find.who_answers(address) == "llamalab's built-in server"


def test_the_built_in_server_ends_with_the_lesson(nothing_here):
    with jupyterlab.a_server() as address:
        pass
    with pytest.raises(LlamalabError):
        find.who_answers(address)


def test_a_second_lesson_finds_the_first_one_s_server(nothing_here):
    with jupyterlab.a_server() as first, jupyterlab.a_server() as second:
        assert first == second


def test_another_program_on_ollama_s_port_is_left_alone(nothing_here, monkeypatch):
    with tiny_server(whole("200 OK", b"<html>", "text/html")) as stranger:
        monkeypatch.setattr(find, "DEFAULT", stranger)
        with jupyterlab.a_server() as address:
            assert address != stranger
            assert find.who_answers(address) == "llamalab's built-in server"


def test_who_shares_another_one_s_server_goes_on_when_that_one_ends(nothing_here, capsys):
    with another_llamalab(nothing_here) as other:
        assert "started just now" in other.stdout.readline()
        with jupyterlab.a_server() as address:
            note = "llamalab's built-in server, shared with another llamalab"
            assert capsys.readouterr().out == f"Server: {nothing_here} ({note})\n"
            jupyterlab.go_on_alone()
            assert capsys.readouterr().out == ""
            other.kill()
            other.wait()
            jupyterlab.go_on_alone()
            assert "the other llamalab has ended" in capsys.readouterr().out
            assert find.who_answers(address) == "llamalab's built-in server"
            jupyterlab.go_on_alone()
            assert capsys.readouterr().out == ""
    with pytest.raises(LlamalabError):
        find.who_answers(address)


def test_the_port_of_an_ollama_that_ends_is_left_to_it(nothing_here, monkeypatch, capsys):
    with tiny_server(whole("200 OK", b'{"version":"0.33.0"}')) as ollama:
        monkeypatch.setattr(find, "DEFAULT", ollama)
        find.server()
    jupyterlab.go_on_alone()
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
        "import sys; from llamalab import find; from llamalab.lesson import jupyterlab\n"
        "find.DEFAULT = sys.argv[1]\n"
        "with jupyterlab.a_server():\n"
        "    sys.stdout.flush(), sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code, default], **pipes) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def pages(monkeypatch) -> list[str]:
    """The pages a browser was asked to open, on a machine with a screen."""
    opened_pages = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(jupyterlab.webbrowser, "open", lambda url: opened_pages.append(url) is None)
    return opened_pages


def test_the_page_is_opened_in_the_browser_and_shown(pages, capsys):
    jupyterlab.show("http://127.0.0.1:8888/?token=abc", browser=True)
    assert pages == ["http://127.0.0.1:8888/?token=abc"]
    assert "?token=abc\n" in capsys.readouterr().out


def test_without_a_browser_one_is_asked_to_open_the_page(pages, capsys):
    jupyterlab.show("http://127.0.0.1:8888/?token=abc", browser=False)
    assert pages == []
    assert "?token=abc   <- open this" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there always is a screen")
def test_no_browser_for_text_takes_the_terminal(pages, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    assert not jupyterlab.open_page("http://127.0.0.1:8888/")
    assert pages == []


def test_jupyterlab_gets_our_settings_before_the_student_s(monkeypatch):
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "theirs")
    path = jupyterlab.environment(Path("."), "http://127.0.0.1:1", "runtime")["JUPYTER_CONFIG_PATH"]
    assert path.split(os.pathsep) == [str(jupyterlab.SETTINGS), "theirs"]


def test_jupyterlab_opens_the_chapter_at_which_to_continue(copy, monkeypatch):
    copy.mkdir(parents=True)
    assert "/tree/00-start-here.ipynb" in " ".join(jupyterlab.arguments(copy, None))
    (copy / copying.MANIFEST).write_text("{}")
    monkeypatch.chdir(copy)
    progress.remember("who_answered")
    assert "/tree/01-raw-bytes.ipynb" in " ".join(jupyterlab.arguments(copy, None))


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
    monkeypatch.setattr(jupyterlab, "arguments", lambda *_: fails)
    assert cli.main(["lab", str(copy), "--no-browser"]) == 1
    own_words, what, *_ = capsys.readouterr().err.splitlines()
    assert own_words == "no such widget"
    assert what == "JupyterLab did not start (exit code 1)."


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signal")
@pytest.mark.parametrize("signal_name", ["SIGINT", pytest.param("SIGTERM", marks=pytest.mark.long)])
def test_the_lesson_opens_and_ends_without_a_trace(copy, signal_name):
    session = requests.Session()
    session.trust_env = False
    with opened(copy) as lesson:
        answer = session.get(lesson.page)
        start(lesson.page, "api/kernels", {"name": "python3"})
        start(lesson.page, "api/terminals", {})
        started = psutil.Process(lesson.process.pid).children(recursive=True)
        lab = next(process for process in started if process.ppid() == lesson.process.pid)
        beside = [(process.cwd(), process.environ()["PATH"]) for process in lab.children()]
        lesson.process.send_signal(getattr(signal, signal_name))
        _, said = lesson.process.communicate()
    assert answer.status_code == 200
    assert "<title>JupyterLab</title>" in answer.text
    shown = [line.split(":")[0] for line in lesson.lines]
    assert [word for word in shown if word != "Root"] == ["Server", "Lesson", "Page", "Stop"]
    assert str(copy) in lesson.lines[1]
    assert (lesson.process.returncode, said) == (0, "")
    assert len(started) >= 3  # JupyterLab, a kernel and a terminal
    assert len(beside) >= 2
    for folder, path in beside:  # `python chat.py` finds the script, and requests
        assert folder == str(copy)
        assert path.split(os.pathsep)[0] == str(Path(sys.executable).parent)
    need_ended(started)


def start(page: str, endpoint: str, what: dict) -> None:
    root, token = page.split("?token=")
    key = {"Authorization": f"token {token}"}
    requests.post(root + endpoint, headers=key, json=what).raise_for_status()
