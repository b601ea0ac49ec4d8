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
from requests import Response

from llamalab.classroom.share import command, program, sheets, students
from llamalab.classroom.share.addresses import Place
from llamalab.classroom.share.students import Student

NGINX = ("nginx", "/usr/sbin/nginx")  # on Debian it is not on the PATH of an ordinary user
INSTALL = "apt-get install nginx, or brew install nginx"
PATIENCE = 60  # seconds before a test that hangs fails instead

RECORDED = {"model": "mistral", "prompt": "Are you listening?"}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


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

    def log(self) -> list[dict]:
        lines = (self.folder / "access.log").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


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
