"""Requests to other machines, which the browser makes: here they come as they do on a desktop.

urllib3's part for Pyodide (`urllib3.contrib.emscripten`) does the asking. Where the browser can
wait for it (JSPI: `pyodide.ffi.can_run_sync`), an answer comes in pieces; elsewhere, all at once.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from urllib3.connectionpool import HTTPConnectionPool
from urllib3.util import Timeout

PIECE = 2**16  # bytes; one piece is what the browser has got, and this at most

_usual_timeout = HTTPConnectionPool._get_timeout


def prepare() -> None:
    """Let answers from other machines come piece by piece, and take their time to begin."""
    with contextlib.suppress(ImportError):  # on a desktop, where tests are
        from urllib3.contrib.emscripten.response import EmscriptenHttpResponseWrapper

        EmscriptenHttpResponseWrapper.stream = stream
        HTTPConnectionPool._get_timeout = one_timeout


def one_timeout(pool: HTTPConnectionPool, timeout: Any) -> Timeout:
    """A browser does not say when it is connected: the first byte, too, has the time to read.

    With `timeout=(5, 330)`, urllib3 would give up after 5 s without an answer.
    """
    read = _usual_timeout(pool, timeout).read_timeout
    return Timeout(connect=read, read=read)


def stream(response: Any, amt: int | None = None, decode_content: bool | None = None) -> Iterator:
    """The pieces of a body as they come; urllib3 waits for all, where no size is named."""
    while piece := response.read(amt or PIECE, decode_content):
        yield piece


def origin() -> tuple[str, int] | None:
    """Host and port of the web server that the page comes from; None on a desktop."""
    try:
        import js
    except ImportError:
        return None
    location = js.URL.new(js.location.origin)
    return location.hostname, int(location.port or (443 if location.protocol == "https:" else 80))
