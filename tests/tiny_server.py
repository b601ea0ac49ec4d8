"""A server that says exactly these bytes: for tests of whoever reads an answer."""

import contextlib
import random
import socket
import threading
from collections.abc import Callable, Iterator


def head(status: str = "200 OK", *headers: str) -> bytes:
    """A status line and headers; chunked NDJSON unless told otherwise."""
    lines = headers or ("Content-Type: application/x-ndjson", "Transfer-Encoding: chunked")
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    """One HTTP chunk (RFC 9112, section 7.1); `chunk(b"")` is the last one."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def whole(status: str, body: bytes, content_type: str = "application/json") -> bytes:
    """A complete answer with its length."""
    return head(status, f"Content-Type: {content_type}", f"Content-Length: {len(body)}") + body


@contextlib.contextmanager
def tiny_server(
    answer: bytes | Callable[[socket.socket], None],
    seen: list[bytes] | None = None,
    port: int = 0,
) -> Iterator[str]:
    """Serve every request with the same bytes, or let `answer(connection)` do it; yields the URL.

    The connection is closed after each answer; requests are noted in `seen`.
    """
    listener = socket.create_server(("127.0.0.1", port))

    def talk(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            request = read_request(connection)
            if seen is not None:
                seen.append(request)
            if callable(answer):
                answer(connection)
            else:
                connection.sendall(answer)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    def listen() -> None:
        with contextlib.suppress(OSError):  # the listener is closed: the test is over
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=listen, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def read_request(connection: socket.socket) -> bytes:
    """Read one whole request, its body included, so that closing does not reset the client."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece
    headers, _, body = data.partition(b"\r\n\r\n")
    for line in headers.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            while len(body) < int(value) and (piece := connection.recv(65536)):
                body += piece
    return headers + b"\r\n\r\n" + body


def free_port() -> int:
    """A port that is free, and that no other program gets by chance until it is used.

    Programs that ask for any port get one above these: from 32768 on, on Linux.
    """
    while True:
        port = random.randrange(20_000, 32_768)
        with socket.socket() as taken, contextlib.suppress(OSError):
            taken.bind(("127.0.0.1", port))
            return port
