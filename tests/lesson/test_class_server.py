"""`llamalab --server LINE`: the class's server is found tomorrow, and no screen shows the key."""

import os
import stat

import pytest
from opening import opened
from tiny_server import head, tiny_server

from llamalab import cli, find, keys
from llamalab.errors import ServerNotFound
from llamalab.lesson import class_server, jupyterlab

KEY = "k7mq-x3vb-p9dt"
VERSION = b'{"version":"0.33.0","models":[]}'


@pytest.fixture
def seen():
    return []


@pytest.fixture
def line(seen):
    """A student's address, with the key, of a server that answers."""
    length = f"Content-Length: {len(VERSION)}"
    with tiny_server(head("200 OK", length, "Connection: close") + VERSION, seen) as url:
        yield url.replace("//", f"//ada:{KEY}@")


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "")
    monkeypatch.setattr(find, "_found", {})


class NoLab:
    """In place of JupyterLab: it is opened and closed at once, and knows what it was given."""

    url, servers = "http://127.0.0.1:8888/", []

    def __init__(self, lesson, server, port):
        self.servers.append((server, jupyterlab.environment(lesson, server, "runtime")))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def wait(self, meanwhile):
        return 0


def test_the_address_is_kept_and_found_the_next_time(line, seen, tmp_path, monkeypatch, capsys):
    clean = line.replace(f"ada:{KEY}@", "")
    monkeypatch.setattr(jupyterlab, "JupyterLab", NoLab)
    monkeypatch.setattr(jupyterlab, "end_like_ctrl_c", lambda: None)
    for more in (["--server", line], []):
        monkeypatch.setenv("OLLAMA_HOST", "")
        assert cli.main(["lab", str(tmp_path), "--no-browser", *more]) == 0
        server, environment = NoLab.servers[-1]
        assert (server, environment["OLLAMA_HOST"]) == (clean, clean)
        assert not [value for value in environment.values() if KEY in value]
        assert b"Authorization: Basic " in seen[-1]
        said = "".join(capsys.readouterr())
        assert ("is kept for next time" in said) == bool(more)
        assert KEY not in said


@pytest.mark.long
def test_the_lesson_in_jupyterlab_finds_it_the_next_time(line, seen, tmp_path):
    clean = line.replace(f"ada:{KEY}@", "")
    folder = tmp_path / "lesson"
    for more in (["--server", line], []):
        with opened(folder, more=more, OLLAMA_HOST=None) as lesson:
            printed = "\n".join(lesson.lines)
            assert f"Server: {clean} (Ollama 0.33.0" in printed
            assert KEY not in printed
            assert ("is kept for next time" in printed) == bool(more)
        assert b"Authorization: Basic " in seen[-1]
    kept = folder / class_server.FILE
    if os.name == "posix":
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert [file.name for file in folder.rglob("*") if file.is_file() and KEY.encode() in
            file.read_bytes()] == [class_server.FILE]  # fmt: skip


def test_a_server_that_is_off_is_named_and_the_lesson_goes_on(tmp_path, unused_address, capsys):
    class_server.keep(tmp_path, unused_address.replace("//", f"//ada:{KEY}@"))
    class_server.use(tmp_path, None)
    assert not os.environ["OLLAMA_HOST"]
    said = capsys.readouterr()
    assert f"No server answers at {unused_address}" in said.err
    assert "Going on without it" in said.err
    assert KEY not in said.err + said.out


def test_a_server_that_refuses_the_key_is_asked_all_the_same_and_says_so(tmp_path, capsys):
    """Else a student whose key was taken back would go on with recordings, and not notice."""
    body = b'{"error":"the class server does not know this key"}'
    refused = head("401 Unauthorized", f"Content-Length: {len(body)}", "Connection: close") + body
    with tiny_server(refused) as url:
        class_server.keep(tmp_path, url.replace("//", f"//ada:{KEY}@"))
        class_server.use(tmp_path, None)
        assert os.environ["OLLAMA_HOST"] == url
        with pytest.raises(ServerNotFound, match="wants a key"):
            find.server(quiet=True)
    assert KEY not in "".join(capsys.readouterr())


def test_ollama_host_counts_more_than_what_was_kept(line, tmp_path, monkeypatch):
    class_server.keep(tmp_path, line)
    monkeypatch.setenv("OLLAMA_HOST", "192.0.2.1")
    class_server.use(tmp_path, None)
    assert os.environ["OLLAMA_HOST"] == "192.0.2.1"
    class_server.use(tmp_path, line)  # but not more than what is said now
    assert os.environ["OLLAMA_HOST"] == line


def test_none_forgets_it(line, tmp_path):
    class_server.keep(tmp_path, line)
    class_server.use(tmp_path, "none")
    assert class_server.kept(tmp_path) == ""
    class_server.keep(tmp_path, "none")
    class_server.use(tmp_path, "none")
    assert not [*tmp_path.iterdir()]


def test_a_file_that_makes_no_sense_is_no_address(tmp_path, capsys):
    (tmp_path / class_server.FILE).write_bytes(b"\xff\xfe\x00")
    class_server.use(tmp_path, None)
    (tmp_path / class_server.FILE).write_text("http://[:1")
    class_server.use(tmp_path, None)
    assert not os.environ["OLLAMA_HOST"]


def test_a_server_is_kept_only_when_it_has_answered(unused_address, tmp_path, capsys):
    assert cli.main(["lab", str(tmp_path), "--no-browser", "--server", unused_address]) == 1
    assert "No server answers" in capsys.readouterr().err
    assert class_server.kept(tmp_path) == ""


def test_ask_in_a_terminal_finds_it_too(line, seen, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("llamalab.lesson.copying.find_folder", lambda: tmp_path)
    class_server.keep(tmp_path, line)
    cli.main(["ask", "Are you listening?"])
    assert b"POST /api/generate" in seen[-1]
    assert b"Authorization: Basic " in seen[-1]
    assert KEY not in "".join(capsys.readouterr())


def test_the_class_s_server_is_not_the_built_in_one(monkeypatch):
    """06 and 09 need the exact chunks and the fault dial: nginx in front of it has neither."""
    builtin = b'{"version":"0.33.0+llamalab"}'
    answer = head("200 OK", f"Content-Length: {len(builtin)}", "Connection: close") + builtin
    with tiny_server(answer) as url:
        assert find._named_builtin(url) == (url, find.BUILTIN)
        clean = keys.take_out(url.replace("//", f"//ada:{KEY}@"))
        assert clean == url
        assert find._named_builtin(url) is None
