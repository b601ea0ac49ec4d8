"""Plain kernels, without `llamalab lab`: one built-in server for all, until the last one ends.

Each is a real process; they end by being killed, as a kernel may.
"""

import contextlib
import os
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
import requests
from patience import PATIENCE, eventually
from tiny_server import free_port, tiny_server, whole

from llamalab import find, sharing
from llamalab.errors import ServerNotFound

# A server that is there may take its time to say so, where four processes start at once.
KERNEL = f"""
import sys
import llamalab
from llamalab import find
look, find.DEFAULT = find.look, sys.argv[1]
find.look = lambda address, timeout=0, get=None: look(address, {PATIENCE}, get)
for line in sys.stdin:
    print(eval(line), flush=True)
"""
SERVER = "llamalab.server(quiet=True)"
ASK = "llamalab.models()[0]"
OWNS = "find._builtin is not None"


class Kernel(subprocess.Popen):
    """A process in which one line after another is evaluated, as cells are."""

    def __init__(self, default: str):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        environment = {name: os.environ[name] for name in os.environ if name != "OLLAMA_HOST"}
        super().__init__([sys.executable, "-c", KERNEL, default], env=environment, **pipes)

    def run(self, cell: str) -> str:
        self.begin(cell)
        return self.stdout.readline().strip()

    def begin(self, cell: str) -> None:
        self.stdin.write(cell + "\n")
        self.stdin.flush()


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    """`kernels(default, 3)` starts so many; those that live are killed at the test's end."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    started = contextlib.ExitStack()

    def start(default: str, count: int) -> list[Kernel]:
        new = [started.enter_context(Kernel(default)) for _ in range(count)]
        for kernel in new:
            started.callback(kernel.kill)
        return new

    with started:
        yield start


@pytest.fixture(params=["Ollama's port is free", "another program has it"])
def default(request, unused_address):
    """Where an Ollama would be, and is not."""
    if request.param == "another program has it":
        with tiny_server(whole("200 OK", b"<html>", "text/html")) as stranger:
            yield stranger
    else:
        yield f"http://127.0.0.1:{free_port()}"


def is_there(address: str) -> bool:
    with contextlib.suppress(ServerNotFound):
        return bool(find.who_answers(address))
    return False


def test_kernels_share_one_server_which_ends_with_the_last_of_them(kernels, default):
    four = kernels(default, 4)
    for kernel in four:  # all at once
        kernel.begin(SERVER)
    (address,) = {kernel.stdout.readline().strip() for kernel in four}
    for left in (3, 2, 1):
        (owner,) = [kernel for kernel in four if kernel.run(OWNS) == "True"]
        four.remove(owner)
        owner.kill()
        owner.wait()
        assert [kernel.run(ASK) for kernel in four] == ["mistral:latest"] * left
        assert [kernel.run("find.address()") for kernel in four] == [address] * left
    (late,) = kernels(default, 1)
    assert late.run(SERVER) == address
    for kernel in (*four, late):
        kernel.kill()
        kernel.wait()
    assert not is_there(address)


def test_the_lesson_s_own_requests_go_on_as_well(kernels, default):
    owner, other = kernels(default, 2)
    address = owner.run(SERVER)
    assert other.run(SERVER) == address
    owner.kill()
    owner.wait()
    eventually(lambda: is_there(address))
    assert requests.get(f"{address}/api/version").status_code == 200


def test_a_note_that_is_out_of_date_is_not_believed(kernels, default, unused_address):
    sharing.note(urlsplit(default).port, unused_address)
    (kernel,) = kernels(default, 1)
    assert kernel.run(SERVER) != unused_address


def test_a_command_that_ends_soon_is_not_shared(kernels, default):
    command, kernel = kernels(default, 2)
    own = command.run("llamalab.server(quiet=True, share=False)")
    assert kernel.run(SERVER) != own


@pytest.fixture
def class_server():
    """A class's server that is a llamalab, too, and not on this machine's loopback."""
    with tiny_server(whole("200 OK", b'{"version":"0.33.0+llamalab"}')) as url:
        yield url


def test_builtin_is_a_server_of_this_machine(monkeypatch, class_server, unused_address, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("OLLAMA_HOST", class_server)
    monkeypatch.setattr(find, "is_here", lambda address: address != class_server)
    monkeypatch.setattr(find, "DEFAULT", unused_address)
    monkeypatch.setattr(find, "_builtin", None)
    monkeypatch.setattr(find, "_found", {})
    assert find.server(quiet=True) == class_server
    ours = find.server(quiet=True, builtin=True)
    assert ours != class_server
    assert requests.get(f"{ours}/fault/nosuch/api/version").status_code == 404
    find.stop()
