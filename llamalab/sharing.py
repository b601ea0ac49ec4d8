"""One built-in server for all of a user's notebooks, also without `llamalab lab`.

The first one that needs a server starts it, on Ollama's own port if that is free. Where that
belongs to another program, a small file says where it is: the address, which is asked before
it is believed. A process that shares the server takes its place, at the same address, as soon
as it has ended, however it ended (`find.take_over`). So the last one's end is the server's end.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from llamalab.address import is_here

PAUSE = 0.5  # seconds between two looks whether the server is still there
PATIENCE = 60  # seconds for another process to start one


def noted(port: int) -> str:
    """Where the built-in server is that has not got its port; "" if none was noted."""
    with contextlib.suppress(OSError, ValueError):
        address = _file(port).read_text("ascii").strip()
        return address if is_here(address) else ""
    return ""


def note(port: int, address: str) -> None:
    """Write down for the others where the built-in server is."""
    with contextlib.suppress(OSError):
        _folder().mkdir(parents=True, exist_ok=True)
        _file(port).write_text(address, "ascii")


def forget(port: int, address: str) -> None:
    """Remove the note, unless it is about another server."""
    with contextlib.suppress(OSError):
        if noted(port) == address:
            _file(port).unlink()


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two that start at the same moment: the second one waits, and finds the first one's server."""
    from filelock import FileLock, Timeout

    lock = FileLock(_folder() / "server.lock")
    with contextlib.suppress(Timeout, OSError, NotImplementedError):  # then without it
        _folder().mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=PATIENCE)
    try:
        yield
    finally:
        lock.release()


def watch(shared: Callable[[], bool], replace: Callable[[], None]) -> None:
    """Replace the server if it has ended, now and then, in the background, while it is shared."""

    def look() -> None:
        while shared():
            replace()
            time.sleep(PAUSE)

    threading.Thread(target=look, name="llamalab-sharing", daemon=True).start()


def _file(port: int) -> Path:
    return _folder() / f"server-{port}.txt"


def _folder() -> Path:
    import platformdirs  # only when used: `import llamalab` stays quick

    return platformdirs.user_cache_path("llamalab", appauthor=False)
