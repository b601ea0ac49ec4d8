"""Where the server is: in OLLAMA_HOST, an Ollama on this machine, or the built-in one."""

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import ModuleType
from urllib.parse import urlsplit

import requests

from llamalab import keys, sharing
from llamalab.address import is_here, keep_proxies_off_loopback, parse_host, without_password
from llamalab.diagnosis import BAD_CONNECTION, base, explain, not_found, what_to_do
from llamalab.errors import ServerNotFound

DEFAULT = "http://127.0.0.1:11434"
BUILTIN = "llamalab's built-in server"

_builtin = None  # the built-in server this process has started
_shared = ""  # the address of one that another process has started: it may end before we do
_took_over = False  # since it was asked last
_found: dict[str, str] = {}  # OLLAMA_HOST as it was -> the address found then
_looking = threading.RLock()  # a view asks from its own threads; one server is enough


def server(
    quiet: bool = False,
    prepare: Callable[[], None] = lambda: None,
    builtin: bool = False,
    share: bool = True,
) -> str:
    """Find a model server, or start the built-in one, and say in one line which it is.

    Looks at `OLLAMA_HOST` (the instructor's address, as Ollama itself reads it), then for an
    Ollama on 127.0.0.1:11434, then for a built-in server that another notebook has started;
    starts one in this process if there is none. No other machine can reach that. `prepare` is
    called before it is started: the command line fetches the model there. `builtin` asks for the
    built-in server of this machine even where another is there: only that one breaks on demand
    (chapter 09). `share=False` is for a program that ends soon: no other program needs it.

    Returns the address without a slash at its end, such as "http://127.0.0.1:11434"; after a
    redirect (http to https) the one it led to. A key in OLLAMA_HOST (`http://ada:KEY@host`) is
    taken out of it and put where `requests` finds it, see `llamalab.keys`. A key in
    OLLAMA_API_KEY is sent as well, by this helper but not by `requests` alone; where a netrc
    file has one for the host, that one wins.

    Raises `ServerNotFound` where OLLAMA_HOST is set and nothing answers there: to use another
    server than the one asked for would only confuse.
    """
    keep_proxies_off_loopback()
    page()
    asked = _asked()
    with _looking:
        if builtin:
            address, note = _named_builtin(asked) or _here(prepare, share, builtin=True)
        elif asked.strip():
            address, note = look(parse_host(asked))
            if note != BUILTIN:  # that one `llamalab` has put there, not the instructor
                note += ", from OLLAMA_HOST"
        else:
            address, note = _here(prepare, share)
        _found[asked] = address
    if not quiet:
        print(f"Server: {address} ({note})")
    return address


def address() -> str:
    """The server found last, or `server(quiet=True)` where none has been found yet."""
    with _looking:
        return _found.get(_asked()) or server(quiet=True)


def take_over() -> bool:
    """Take the place of the shared built-in server, if that has ended; whether it has just now.

    At the same address, so that a kernel or a terminal that asks there can go on.
    """
    global _took_over
    with _looking:
        _replace()
        took, _took_over = _took_over, False
    return took


def goes_on(address: str) -> bool:
    """Whether a shared server that did not answer has been replaced, by us or by others."""
    if address != _shared:
        return False
    end = time.monotonic() + 5
    while time.monotonic() < end:
        _replace()
        with contextlib.suppress(ServerNotFound):
            return bool(who_answers(address))
        time.sleep(0.1)
    return False


def stop() -> None:
    """Stop the built-in server, if this process has started one."""
    global _builtin, _shared, _took_over
    with _looking:
        _shared, _took_over = "", False
        if _builtin is not None:
            sharing.forget(_port(), _builtin.url)
            _builtin.stop()
            _builtin = None
        forget()


def forget() -> None:
    """Look again next time: the server found has stopped answering."""
    _found.clear()


def look(
    address: str, timeout: float = 5.0, get: Callable[..., requests.Response] | None = None
) -> tuple[str, str]:
    """The address where a server answers, after redirects, and what answers: "Ollama 0.33.0", ...

    Raises `ServerNotFound` where nothing answers within `timeout` seconds, or something that
    does not speak Ollama's API (`GET /api/version`; some servers only know `/api/tags`). `get`
    asks in the place of `requests.get`: `doctor` keeps off the proxies in its own way.
    """
    trouble = None
    for path, key in (("/api/version", "version"), ("/api/tags", "models")):
        try:
            response = (get or _get)(address + path, timeout=timeout)
        except BAD_CONNECTION as error:
            raise not_found(address, error) from None
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if response.ok and isinstance(answer, dict) and key in answer:
            moved = response.history and parse_host(base(response.url))
            return moved or address, _name(answer.get("version"))
        trouble = trouble or explain(response)
    if trouble:
        raise ServerNotFound(trouble.what, trouble.why, trouble.do, status=trouble.status)
    raise ServerNotFound(
        f"Something answers at {without_password(address)}, but it is not a model server.",
        why="it does not speak Ollama's API; another program or a proxy has this address",
        do=what_to_do(address),
    )


def who_answers(
    address: str, timeout: float = 5.0, get: Callable[..., requests.Response] | None = None
) -> str:
    """What answers at an address, as `look` says it."""
    return look(address, timeout, get)[1]


def present() -> tuple[str, str] | None:
    """The server that would be asked and what it is, None where none is there; starts none."""
    keep_proxies_off_loopback()
    asked = _asked()
    with contextlib.suppress(ServerNotFound):
        return look(parse_host(asked) if asked.strip() else DEFAULT)
    return None


def page() -> ModuleType | None:
    """The room for a browser's Python (`llamalab.page`); None on a desktop, the only other place.

    In a page, the server is in this interpreter, unless OLLAMA_HOST names one: a class's page may
    set that, in `loadPyodideOptions.env` of its `jupyter-lite.json`.
    """
    if sys.platform != "emscripten":
        return None
    from llamalab.page import door

    door.enter()
    return door


def _get(url: str, timeout: float) -> requests.Response:
    return requests.get(url, timeout=timeout, headers=keys.headers())


def _name(version: object) -> str:
    if not version or not isinstance(version, str):
        return "a server that speaks Ollama's API"
    return BUILTIN if version.endswith("+llamalab") else f"Ollama {version}"


def _asked() -> str:
    """OLLAMA_HOST, from which a key is taken out, here and for the processes started from here."""
    asked = os.environ.get("OLLAMA_HOST", "")
    if "@" in asked:
        asked = os.environ["OLLAMA_HOST"] = keys.take_out(parse_host(asked))
    return asked


def _named_builtin(asked: str) -> tuple[str, str] | None:
    """The built-in server that OLLAMA_HOST names, if it runs on this machine.

    Not if it wants a key: then nginx is in front of it, which joins chunks and refuses faults. In a
    page, the browser has the key: there, what OLLAMA_HOST names is always elsewhere.
    """
    address = parse_host(asked)
    if page() or keys.known_for(address):
        return None
    with contextlib.suppress(ServerNotFound):
        if asked.strip() and is_here(address) and who_answers(address) == BUILTIN:
            return address, BUILTIN
    return None


def _port() -> int:
    return urlsplit(DEFAULT).port


def _here(prepare: Callable[[], None], share: bool, builtin: bool = False) -> tuple[str, str]:
    """A server on this machine: Ollama (unless `builtin`), or ours, started if need be."""
    global _builtin
    if inside := page():
        _builtin = _builtin or inside.start()
        return _builtin.url, f"{BUILTIN}, in this page"
    if there := _there(share, builtin):
        return there
    if _builtin is not None and _builtin.running:
        return _builtin.url, BUILTIN
    prepare()
    with sharing.one_at_a_time() if share else contextlib.nullcontext():
        if there := _there(share, builtin):
            return there  # another process was quicker
        from llamalab.standin.answers.local_model import local_model
        from llamalab.standin.run import BuiltinServer, PortTaken  # heavy: only when needed

        try:
            _builtin = BuiltinServer.start(_port() if share else 0, engine=local_model())
        except PortTaken:
            _builtin = BuiltinServer.start(engine=local_model())
            sharing.note(_port(), _builtin.url)
    return _builtin.url, f"{BUILTIN}, started just now"


def _there(share: bool, builtin: bool) -> tuple[str, str] | None:
    """The server that is on this machine already."""
    for address in filter(None, (DEFAULT, sharing.noted(_port()))):
        with contextlib.suppress(ServerNotFound):
            note = who_answers(address)
            if note == BUILTIN:
                return address, note + _shared_with_others(address, share)
            if address == DEFAULT and not builtin:
                return address, note
    return None


def _shared_with_others(address: str, share: bool) -> str:
    """Be ready to take the place of another process's server; what to say of it."""
    global _shared
    if not share or (_builtin is not None and _builtin.url == address):
        return ""
    if _shared != address:
        _shared = address
        sharing.watch(lambda: _shared == address, _replace)
    return ", shared with another llamalab"


def _replace() -> None:
    """Start our server in the place of the shared one, if that has ended."""
    global _builtin, _took_over
    with _looking:
        if not _shared or (_builtin is not None and _builtin.running and _builtin.url == _shared):
            return
        at = urlsplit(_shared)
        with contextlib.suppress(OSError):
            socket.create_connection((at.hostname, at.port), timeout=2).close()
            return
        from llamalab.standin.answers.local_model import local_model
        from llamalab.standin.run import BuiltinServer, PortTaken

        with contextlib.suppress(PortTaken, OSError):  # another process was quicker
            _builtin = BuiltinServer.start(at.port, engine=local_model())
            _took_over = True
