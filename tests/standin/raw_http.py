"""HTTP as bytes on a socket, for tests that care about framing; and one plain request."""

import contextlib
import http.client
import json
import socket
import threading
from urllib.parse import urlsplit

from patience import PATIENCE

TICK = 0.02  # seconds; the clock of Windows moves in steps of 0.016


def ask(url, method, path, body=None, headers=None):
    """(status, headers, body) of one request; a body that is no bytes is sent as JSON."""
    if body is not None and not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    headers = dict(headers or {})
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        content = body.encode() if isinstance(body, str) else body or b""
        if method not in ("GET", "HEAD", "OPTIONS"):
            headers["Content-Length"] = str(len(content))
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(content or None)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def post_bytes(path, document, version="1.1", more=""):
    """A POST as bytes."""
    body = json.dumps(document).encode()
    head = f"POST {path} HTTP/{version}\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{more}"
    return head.encode() + b"\r\n" + body


def connect(url):
    address = urlsplit(url)
    return socket.create_connection((address.hostname, address.port), timeout=PATIENCE)


def exchange(url, request):
    """Send bytes, then read whatever comes until the server closes."""
    with connect(url) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@contextlib.contextmanager
def held_up(server):
    """A server of this process stands still in the block, then finds all that came meanwhile."""
    stands, go_on = threading.Event(), threading.Event()

    def stand():
        stands.set()
        go_on.wait(PATIENCE)

    server._uvicorn.servers[0].get_loop().call_soon_threadsafe(stand)
    assert stands.wait(PATIENCE)
    try:
        yield
    finally:
        go_on.set()


def head_and_chunks(answer):
    """Take a chunked answer apart: the head's lines and the payload of each chunk."""
    head, rest = answer.split(b"\r\n\r\n", 1)
    chunks = []
    while True:
        size, rest = rest.split(b"\r\n", 1)
        payload, end, rest = (
            rest[: int(size, 16)],
            rest[int(size, 16) :][:2],
            rest[int(size, 16) + 2 :],
        )
        assert end == b"\r\n"
        if not payload:
            assert rest == b""
            return head.split(b"\r\n"), chunks
        chunks.append(payload)
