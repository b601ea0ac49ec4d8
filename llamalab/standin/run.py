"""Starting and stopping the built-in server.

    with BuiltinServer.start() as server:      in a thread of this process, on any free port
        requests.get(server.url)
    serve(port=11434)                          in the foreground, until Ctrl-C

It listens on 127.0.0.1 and nowhere else: it knows no passwords and is there for one person.
"""

import contextlib
import errno
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette

from llamalab.errors import LlamalabError
from llamalab.standin import limits
from llamalab.standin.answers.recordings import FOLDER
from llamalab.standin.http.connection import Connection
from llamalab.standin.http.faults import FAULTS
from llamalab.standin.http.routes import create_app

if TYPE_CHECKING:  # it needs httpx, which a page does without
    from llamalab.standin.answers.live import LiveModel

HOST = "127.0.0.1"


class PortTaken(LlamalabError):
    """The port is not available."""


class BuiltinServer:
    """A server in a daemon thread; `url` is its address, such as "http://127.0.0.1:43211".

    The thread has its own event loop and touches no signal handlers, so it runs beside
    the kernel of a notebook and never keeps the interpreter from ending.
    """

    def __init__(self, app: Starlette, listener: socket.socket):
        self.url = address(listener)
        self.app = app
        self._uvicorn = Uvicorn(settings(app))
        self._thread = threading.Thread(
            target=self._uvicorn.run_to_the_end, args=(listener,), name="llamalab", daemon=True
        )

    @classmethod
    def start(
        cls,
        port: int = 0,
        speed: float = 1.0,
        recordings: Path | str | Sequence[Path] = FOLDER,
        engine: "LiveModel | None" = None,
        fault: str | None = None,
    ) -> "BuiltinServer":
        """Start a server; it accepts connections when this returns. Port 0 is any free one.

        `speed`, `recordings`, `engine` and `fault` are as in `routes.create_app`. Raises
        `PortTaken`, or `recordings.BadRecording`.
        """
        server = cls(create_app(recordings, speed, engine, fault), listen(port))
        server._thread.start()
        server._uvicorn.ready.wait()
        if not server._uvicorn.started:
            raise RuntimeError("the built-in server did not start, the error above says why")
        return server

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """End it at once, cutting off a stream that is open. Stopping twice is safe."""
        self._uvicorn.should_exit = True
        self._thread.join()

    def __enter__(self) -> "BuiltinServer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def serve(
    port: int = 11434,
    speed: float = 1.0,
    recordings: Path | str | None = None,
    engine: "LiveModel | None" = None,
    fault: str | None = None,
) -> None:
    """Serve in the foreground until Ctrl-C or SIGTERM. Arguments and errors as for `start`.

    Your own folder comes before llamalab's recordings, and does not replace them.
    With the fault "refuse" nothing listens: every connection is refused.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    try:
        with contextlib.suppress(KeyboardInterrupt):
            if fault == "refuse":
                keep_out(port)
            folders = [recordings, FOLDER] if recordings else FOLDER
            with BuiltinServer.start(port, speed, folders, engine, fault) as server:
                models = ", ".join(item["name"] for item in server.app.state.source.models())
                announce(server.url, fault)
                print(f"Models: {models or 'none'}. Stop it with Ctrl-C.", flush=True)
                while server.running:
                    time.sleep(1)  # interrupted by a signal on every system, as a lock is not
    finally:
        signal.signal(signal.SIGTERM, before)


def keep_out(port: int) -> None:
    """Take a port and never listen, until Ctrl-C. Raises `PortTaken`."""
    with listen(port, deaf=True) as taken:
        announce(address(taken), "refuse")
        print("Stop it with Ctrl-C.", flush=True)
        while True:
            time.sleep(1)


def announce(url: str, fault: str | None) -> None:
    print(f"Server: {url} (llamalab's built-in server)")
    if fault:
        print(f"Fault:  {fault} ({FAULTS[fault].about})")


def address(listener: socket.socket) -> str:
    return "http://{}:{}".format(*listener.getsockname())


def listen(port: int, deaf: bool = False) -> socket.socket:
    """A socket that listens on `port` of 127.0.0.1 and does not share it; not if `deaf`."""
    # The protocol is named: only then asyncio sends each record at once (TCP_NODELAY). Else the
    # first one of each answer on a kept connection would wait 41 ms for the client's kernel.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if sys.platform == "win32":  # there, SO_REUSEADDR would let two programs have one port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        if not deaf:
            listener.listen()
    except OSError as error:
        listener.close()
        why = {
            errno.EADDRINUSE: "is taken, perhaps by Ollama or by another llamalab",
            errno.EACCES: "is not for us, this system says",
        }.get(error.errno)
        if why is None:
            raise
        other = 11436 if port == 11435 else 11435
        do = f"use what is there; or llamalab serve --port {other}, and for who asks: "
        do += f"OLLAMA_HOST=127.0.0.1:{other}"
        raise PortTaken(f"Port {port} {why}.", do=do) from None
    return listener


def settings(app: Starlette) -> uvicorn.Config:
    """uvicorn as Ollama's transport: one chunk per record, no header but Date, no log."""
    return uvicorn.Config(
        app,
        http=Connection,
        loop="asyncio",
        interface="asgi3",
        ws="none",
        lifespan="on",
        server_header=False,
        proxy_headers=False,
        access_log=False,
        log_config=None,  # a notebook's logging is not ours to set up
        log_level="critical",  # what matters, `app.failed` logs
        h11_max_incomplete_event_size=limits.MAX_HEAD,
        timeout_keep_alive=limits.IDLE_TIME,
        timeout_graceful_shutdown=0,  # the end waits for no reader
    )


class Uvicorn(uvicorn.Server):
    """uvicorn in a thread, with an event that says it is there (or has failed)."""

    def __init__(self, config: uvicorn.Config):
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def on_tick(self, counter: int) -> bool:
        ends = await super().on_tick(counter)
        dated = self.server_state.default_headers  # uvicorn's own: "date"
        self.server_state.default_headers = [(name.title(), value) for name, value in dated]
        return ends

    def run_to_the_end(self, listener: socket.socket) -> None:
        try:
            self.run(sockets=[listener])
        finally:
            listener.close()
            self.ready.set()
