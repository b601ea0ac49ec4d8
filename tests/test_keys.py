"""Keys of a class's server: used by `requests` itself, by every helper, and on no screen."""

import base64
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
import requests
from tiny_server import head, tiny_server

import llamalab
from llamalab import cli, find, keys
from llamalab.checkup import network
from llamalab.lesson import jupyterlab

SECRET = "s3cret"
BASIC = b"Authorization: Basic " + base64.b64encode(f"ada:{SECRET}".encode())

LISTED = b'{"version":"0.33.0","models":[{"name":"mistral:latest"}]}'


def closing(status: str, body: bytes) -> bytes:
    """An answer after which the connection is closed, and not used again."""
    return head(status, f"Content-Length: {len(body)}", "Connection: close") + body


@pytest.fixture(autouse=True)
def no_keys_yet(monkeypatch, tmp_path):
    """No keys, no netrc file of the user's, and a place for temporary files."""
    for name in ("OLLAMA_HOST", "OLLAMA_API_KEY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(find, "_found", {})


@pytest.fixture
def guarded():
    """The address, with a key, of a server that answers only to it; and what it was asked."""
    seen = []

    def answer(connection: socket.socket) -> None:
        if BASIC not in seen[-1]:
            connection.sendall(closing("401 Unauthorized", b"<html>"))
        elif seen[-1].startswith(b"GET"):
            connection.sendall(closing("200 OK", LISTED))
        else:
            connection.sendall(closing("200 OK", b'{"response":"Yes","done":true}'))

    with tiny_server(answer, seen) as url:
        yield url.replace("//", f"//ada:{SECRET}@"), url


def test_server_takes_the_key_out_and_requests_sends_it(guarded, monkeypatch, capsys):
    monkeypatch.setenv("OLLAMA_HOST", guarded[0])
    assert llamalab.server() == guarded[1]
    assert SECRET not in capsys.readouterr().out + os.environ["OLLAMA_HOST"]
    assert requests.get(guarded[1]).status_code == 200
    assert llamalab.generate("?") == "Yes"
    assert llamalab.models() == ["mistral:latest"]


def test_the_key_s_file_is_private_and_the_children_have_it(guarded, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", guarded[0])
    address = find.server(quiet=True)
    file = Path(os.environ["NETRC"])
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    code = f"import requests; print(requests.get({address!r}).status_code)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "200\n"
    child = jupyterlab.environment(Path("."), address, "runtime")
    assert child["NETRC"] == str(file)
    assert not [value for value in child.values() if SECRET in value]


def test_the_key_s_file_is_removed_at_the_end_and_after_a_kill(tmp_path):
    code = (
        "import os, sys; from llamalab import keys\n"
        f"keys.take_out('http://ada:{SECRET}@192.0.2.7:8080')\n"
        "print(os.environ['NETRC'], flush=True)\n"
        "sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    files = []
    for end in (psutil.Process.kill, lambda process: None):
        with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
            files.append(Path(process.stdout.readline().strip()))
            assert files[-1].exists()
            end(psutil.Process(process.pid))
    assert [file.exists() for file in files] == [False, False]


def test_the_user_s_own_netrc_file_stays_and_goes_on_working(tmp_path):
    own = tmp_path / ".netrc"
    own.write_text("machine school.example login bob password old\n")
    keys.take_out(f"http://ada:{SECRET}@192.0.2.7:8080")
    keys.take_out("http://eve:other@192.0.2.8")
    assert own.read_text() == "machine school.example login bob password old\n"
    found = [keys.known_for(f"http://{h}") for h in ("school.example", "192.0.2.7", "192.0.2.8:1")]
    assert found == [("bob", "old"), ("ada", SECRET), ("eve", "other")]


def test_a_netrc_file_that_cannot_be_read_does_not_hide_the_key(tmp_path):
    (tmp_path / ".netrc").write_text("machine\nlogin")
    keys.take_out(f"http://ada:{SECRET}@192.0.2.7")
    assert keys.known_for("http://192.0.2.7") == ("ada", SECRET)


@pytest.mark.parametrize("key", ["a+/=", "k@y:1", "#1", pytest.param('a "\\b', id="quoted")])
def test_a_key_of_any_characters_arrives(key):
    if key.startswith("a ") and sys.version_info < (3, 11):
        pytest.skip("its netrc files know no quotes")
    assert keys.take_out(f"http://ada:{requests.utils.quote(key, safe='')}@h") == "http://h"
    assert keys.known_for("http://h") == ("ada", key)


def test_ollama_api_key_is_a_bearer_token_and_a_netrc_entry_wins(monkeypatch):
    monkeypatch.setenv("OLLAMA_API_KEY", SECRET)
    seen = []
    with tiny_server(closing("200 OK", LISTED), seen) as url:
        find.who_answers(url)
        llamalab.models(url)
        assert all(f"Authorization: Bearer {SECRET}".encode() in request for request in seen)
        llamalab.models(url.replace("//", f"//ada:{SECRET}@"))
    assert BASIC in seen[-1]


def test_the_doctor_finds_the_key_on_loopback_too(guarded, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", guarded[0])
    assert network.ollama_host() == ("OK", f"Ollama 0.33.0 at {guarded[1]}", "")
    find.server(quiet=True)
    assert network.ollama_host() == ("OK", f"Ollama 0.33.0 at {guarded[1]}", "")
    assert network.models().state == "OK"


@pytest.mark.parametrize(
    ("user", "says"),
    [("", "no key was sent"), ("ada:wr0ng@", "the key of the user 'ada' was sent, and is not")],
)
def test_a_missing_or_wrong_key_is_said_everywhere_and_not_shown(
    guarded, monkeypatch, capsys, user, says
):
    address = guarded[1].replace("//", f"//{user}")
    with pytest.raises(llamalab.BadAnswer) as asked:
        llamalab.generate("?", server=address)
    assert cli.main(["ask", "?", "--server", address]) == 1
    monkeypatch.setenv("OLLAMA_HOST", address)
    doctor = str(llamalab.doctor())
    with pytest.raises(llamalab.ServerNotFound) as found:
        llamalab.server()
    for said in (str(asked.value), str(found.value), capsys.readouterr().err):
        assert "wants a key (HTTP 401)" in said
        assert says in said
        assert "USER:KEY@" in said
        assert "wr0ng" not in said
    assert says in " ".join(doctor.split())
    assert "wr0ng" not in doctor
