"""The built-in server in the interpreter that asks it, and how `requests` reaches it.

The bytes are those of the wire: `http.client` (under urllib3, under `requests`) on one side, the
server's own `Connection` on the other, and a list of chunks between them in place of a socket.
Who reads drives the server: while no bytes are there, the server's event loop turns.
"""

import asyncio
import errno
import io
import os
import time
from collections import deque
from email.utils import formatdate
from typing import Any

from starlette.types import ASGIApp
from urllib3.connectionpool import HTTPConnection, HTTPConnectionPool
from urllib3.exceptions import NewConnectionError
from uvicorn.server import ServerState

from llamalab.page import elsewhere
from llamalab.page.loop import PageLoop
from llamalab.page.scripts import TooLong
from llamalab.standin.http.routes import create_app
from llamalab.standin.run import HOST, settings

LOOPBACK = (HOST, "localhost")
PORT = 11434


class PageServer:
    """A server in this interpreter, with the face of `run.BuiltinServer`."""

    running = True

    def __init__(self, app: ASGIApp, port: int):
        self.app, self.port, self.url = app, port, f"http://{HOST}:{port}"
        self.loop, self.state = PageLoop(), ServerState()
        self.config = settings(app)
        self.config.load()

    @classmethod
    def start(cls, port: int = PORT, speed: float = 1.0) -> "PageServer":
        """The lesson's server. It has the recordings and no model, which says so itself."""
        server = cls(create_app(speed=speed), port)
        SERVERS[port] = server
        return server

    def stop(self) -> None:
        self.running = False
        SERVERS.pop(self.port, None)


SERVERS: dict[int, PageServer] = {}  # by their ports


def connect() -> None:
    """Let urllib3, and so `requests`, find these servers; other machines are asked as before."""
    if HTTPConnectionPool.ConnectionCls is not AnyConnection:
        AnyConnection.elsewhere = HTTPConnectionPool.ConnectionCls
        HTTPConnectionPool.ConnectionCls = AnyConnection
        AnyConnection.origin = elsewhere.origin()
        elsewhere.prepare()


class AnyConnection:
    """A connection to a server of this interpreter, or to another machine.

    At any other port of this machine, nothing listens: a page must not ask there. Only a page that
    comes from this machine may ask its own web server.
    """

    elsewhere: Any = HTTPConnection
    origin: tuple[str, int] | None = None

    def __new__(cls, host: str, port: int | None = None, **more: Any) -> Any:
        inside = host in LOOPBACK and (host, port) != cls.origin
        kind = PageConnection if inside else cls.elsewhere
        return kind(host, port, **more)


class PageConnection(HTTPConnection):
    """urllib3's own connection, over a `Wire` in place of a socket."""

    def connect(self) -> None:
        server = SERVERS.get(self.port)
        if server is None:
            refused = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
            what = f"Failed to establish a new connection: {refused}"
            raise NewConnectionError(self, what) from refused
        self.sock = Wire(server)

    @property
    def is_connected(self) -> bool:
        return self.sock is not None and not self.sock.transport.closing


class Wire:
    """The reader's end: as much of a socket as `http.client` and urllib3 use.

    Where no byte will ever come, a reader without a timeout gets the end; in a page it could not
    be interrupted. While `judging` looks for a timeout, `longest` seconds are the most it waits.
    """

    longest: float | None = None

    def __init__(self, server: PageServer):
        self.loop, self.timeout = server.loop, None
        self.transport = Transport(server.port)
        self._rest = b""
        server.state.default_headers = [(b"Date", formatdate(usegmt=True).encode())]
        with self.loop.in_charge():
            self.protocol = server.config.http_protocol_class(
                server.config, server.state, {}, _loop=self.loop
            )
            self.protocol.connection_made(self.transport)

    def sendall(self, data: bytes) -> None:
        with self.loop.in_charge():
            self.protocol.data_received(bytes(data))

    def settimeout(self, seconds: float | None) -> None:
        self.timeout = seconds

    def setsockopt(self, *_: Any) -> None: ...

    def shutdown(self, how: int) -> None: ...

    def makefile(self, mode: str = "rb", *_: Any, **__: Any) -> io.BufferedReader:
        return io.BufferedReader(Reader(self))

    def receive(self, size: int) -> bytes:
        """The next bytes, of one chunk at most, as soon as they are there; b"" at the end."""
        patience = self.timeout
        if patience is not None and self.longest is not None:
            patience = min(patience, self.longest)
        end = None if patience is None else time.monotonic() + patience
        while not self._rest and not self.transport.chunks:
            if self.transport.closing:
                return b""
            if end is not None and time.monotonic() >= end:
                raise TimeoutError("timed out")
            if not self.loop.turn(end):
                if self.longest is not None:
                    raise TooLong
                return b""
        data = self._rest or self.transport.chunks.popleft()
        self._rest = data[size:]
        return data[:size]

    def close(self) -> None:
        """The server sees that the reader has gone, and stops what it did for them."""
        if self.protocol:
            self.transport.closing = True
            with self.loop.in_charge():
                self.protocol.connection_lost(None)
            self.protocol = None
            self.loop.settle()


class Reader(io.RawIOBase):
    """A wire as a file, which `http.client` reads."""

    def __init__(self, wire: Wire):
        super().__init__()
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._wire.receive(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class Transport(asyncio.Transport):
    """The server's end of a wire."""

    def __init__(self, port: int):
        super().__init__({"peername": (HOST, 0), "sockname": (HOST, port)})
        self.chunks: deque[bytes] = deque()
        self.closing = False

    def write(self, data: bytes) -> None:
        if data and not self.closing:  # an empty chunk would be read as the end
            self.chunks.append(bytes(data))

    def close(self) -> None:
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        return self.closing

    def write_eof(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...
