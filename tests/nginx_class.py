"""A class as `llamalab share` makes it, behind a real nginx on this machine: for its tests."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import requests
from patience import PATIENCE
from requests import Response
from tiny_server import free_port

from llamalab.classroom.share import command, program, sheets, students
from llamalab.classroom.share.addresses import Place
from llamalab.classroom.share.students import Student

NGINX = ("nginx", "/usr/sbin/nginx")  # on Debian it is not on the PATH of an ordinary user
INSTALL = "apt-get install nginx, or brew install nginx"

RECORDED = {"model": "mistral", "prompt": "Are you listening?"}


@dataclass
class Class:
    """A class whose nginx runs."""

    folder: Path
    listen: Place

    @property
    def address(self) -> str:
        return f"http://{self.listen}"

    @property
    def students(self) -> list[Student]:
        return students.load(self.folder)

    def line(self, number: int = 0) -> str:
        """A student's address with the key, as `--server` and the helpers take it."""
        return sheets.line(self.students[number], self.address).split()[-1]

    def ask(self, path: str, number: int = 0, json: dict | None = None, **options) -> Response:
        """A request of a student's by `requests` alone: a POST, if there is something to post.

        The key goes along with it: where a netrc file has one, `requests` passes over the one in
        an address.
        """
        method = "GET" if json is None else "POST"
        auth = self.students[number][1:]
        url = self.address + path
        return requests.request(method, url, json=json, auth=auth, timeout=PATIENCE, **options)

    def asked(self, **options) -> command.Asked:
        return command.Asked(out=str(self.folder), **options)

    def settle(self) -> None:
        """Wait until nginx has done with the answers that have ended.

        Their lines in the log, and the end of its connections to a model server, come after the
        last byte. Its one worker does all of that before it looks at a new connection.
        """
        with socket.create_connection(self.listen, PATIENCE) as new:
            new.shutdown(socket.SHUT_WR)
            assert new.recv(1) == b""  # it was looked at; where nothing is asked, nothing is logged

    def log_lines(self) -> list[str]:
        self.settle()
        return (self.folder / "access.log").read_text(encoding="utf-8").splitlines()

    def log(self) -> list[dict]:
        return [json.loads(line) for line in self.log_lines()]


@contextlib.contextmanager
def nginx_class(folder: Path, *upstreams: str, count: int = 3, **options) -> Iterator[Class]:
    """Make a class of `count` students in front of these model servers, and run its nginx."""
    listen = Place("127.0.0.1", free_port())
    asked = command.Asked(
        str(folder), str(count), upstream=upstreams, listen=str(listen), **options
    )
    assert command.share(asked) == 0
    with program.Nginx(folder, listen):
        yield Class(folder, listen)


def raw(
    place: Place, method: str, path: str, headers: dict | None = None, body: bytes | None = None
) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body) of one request whose path is sent exactly as it is."""
    connection = HTTPConnection(*place, timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read()
    finally:
        connection.close()


def all_at_once(count: int, do: Callable[[int], object]) -> list[object]:
    """What `do(0)`, `do(1)`, ... return or raise, each in a thread, started together."""
    results: list[object] = [None] * count
    start = threading.Barrier(count)

    def one(number: int) -> None:
        start.wait(PATIENCE)
        try:
            results[number] = do(number)
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=one, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return results
