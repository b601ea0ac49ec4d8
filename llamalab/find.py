"""Where the server is: in OLLAMA_HOST, an Ollama on this machine, or the built-in one."""

import contextlib
import os
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import LocationParseError

from llamalab.address import keep_proxies_off_loopback, parse_host, without_password
from llamalab.errors import ServerNotFound, command

DEFAULT = "http://127.0.0.1:11434"
BUILTIN = "llamalab's built-in server"

# Whatever requests raises for an address where nothing answers, or that is none.
BAD_CONNECTION = (requests.RequestException, UnicodeError, LocationParseError)

_builtin = None  # the built-in server this process has started
_shared = False  # the one found is another process's: it may end before we do
_found: dict[str, str] = {}  # OLLAMA_HOST as it was -> the address found then
_looking = threading.RLock()  # a view asks from threads of its own; one server is enough


def server(
    quiet: bool = False,
    port: int = 0,
    prepare: Callable[[], None] = lambda: None,
    builtin: bool = False,
) -> str:
    """Find a model server, or start the built-in one, and say in one line which it is.

    Looks at `OLLAMA_HOST` (the instructor's address, as Ollama itself reads it), then for an
    Ollama on 127.0.0.1:11434, then starts the built-in server in this process, on a free port
    of this machine that no other machine can reach (`port`, if that is free). `prepare` is
    called before it is started: the command line fetches the model there. `builtin` asks for the
    built-in one even where another is there: only that one breaks on demand (chapter 09).

    Returns the address without a slash at its end, such as "http://127.0.0.1:11434".
    Raises `ServerNotFound` where OLLAMA_HOST is set and nothing answers there: to use another
    server than the one asked for would only confuse.
    """
    keep_proxies_off_loopback()
    asked = os.environ.get("OLLAMA_HOST", "")
    with _looking:
        if builtin:
            address, note = _builtin_one(asked, port, prepare)
        elif asked.strip():
            address = parse_host(asked)
            note = who_answers(address)
            if note != BUILTIN:  # that one `llamalab` has put there, not the instructor
                note += ", from OLLAMA_HOST"
        else:
            address, note = _here(port, prepare)
        _found[asked] = address
    if not quiet:
        print(f"Server: {without_password(address)} ({note})")
    return address


def address() -> str:
    """The server found last, or `server(quiet=True)` where nobody has looked yet."""
    with _looking:
        return _found.get(os.environ.get("OLLAMA_HOST", "")) or server(quiet=True)


def take_over() -> bool:
    """Take the place of the shared built-in server, if that has ended; whether it has.

    At the same address, so that whoever asks there (a kernel, a terminal) can go on.
    """
    global _builtin, _shared
    if not _shared:
        return False
    from llamalab.standin.answers.local_model import local_model
    from llamalab.standin.run import BuiltinServer, PortTaken, listen

    port = urlsplit(DEFAULT).port
    try:
        listen(port).close()  # quick, and in vain while the other one is there
        _builtin = BuiltinServer.start(port, engine=local_model())
    except (PortTaken, OSError):
        return False
    _shared = False
    return True


def stop() -> None:
    """Stop the built-in server, if this process has started one."""
    global _builtin, _shared
    _shared = False
    if _builtin is not None:
        _builtin.stop()
        _builtin = None
    forget()


def forget() -> None:
    """Look again next time: the server found has stopped answering."""
    _found.clear()


def who_answers(
    address: str, timeout: float = 5.0, get: Callable[..., requests.Response] = requests.get
) -> str:
    """What answers at an address: "Ollama 0.33.0", "llamalab's built-in server", ...

    Raises `ServerNotFound` where nothing answers within `timeout` seconds, or something that
    does not speak Ollama's API (`GET /api/version`; some servers only know `/api/tags`). `get`
    asks in the place of `requests.get`: `doctor` keeps off the proxies in its own way.
    """
    for path, key in (("/api/version", "version"), ("/api/tags", "models")):
        try:
            response = get(address + path, timeout=timeout)
        except BAD_CONNECTION as error:
            raise not_found(address, error) from None
        try:
            answer = response.json()
        except ValueError:
            continue
        if isinstance(answer, dict) and key in answer:
            version = str(answer.get("version", ""))
            if version.endswith("+llamalab"):
                return BUILTIN
            return f"Ollama {version}".strip() if version else "a server that speaks Ollama's API"
    raise ServerNotFound(
        f"Something answers at {without_password(address)}, but it is no model server.",
        why="it does not speak Ollama's API; another program or a proxy has this address",
        do=what_to_do(address),
    )


def not_found(address: str, error: Exception) -> ServerNotFound:
    """The error for an address where no server answers, with the command that mends it."""
    what = f"No server answers at {without_password(address)}."
    return ServerNotFound(what, why=_reason(error), do=what_to_do(address))


def what_to_do(address: str) -> str:
    """The command for a student whose server is not there."""
    asked = os.environ.get("OLLAMA_HOST", "").strip()
    if asked and parse_host(asked) == address:
        return command("unset OLLAMA_HOST", "Remove-Item Env:OLLAMA_HOST") + "; llamalab"
    return "llamalab serve"


def _here(port: int, prepare: Callable[[], None]) -> tuple[str, str]:
    """A server on this machine: Ollama, or ours, started if need be."""
    global _shared
    try:
        note = who_answers(DEFAULT, timeout=2.0)
    except ServerNotFound:
        return _started(port, prepare)
    _shared = note == BUILTIN and not (_builtin is not None and _builtin.url == DEFAULT)
    return DEFAULT, note + (", shared with another llamalab" if _shared else "")


def _builtin_one(asked: str, port: int, prepare: Callable[[], None]) -> tuple[str, str]:
    """The built-in server: the one that is there already, or one of our own."""
    for address in dict.fromkeys((parse_host(asked), DEFAULT)):
        with contextlib.suppress(ServerNotFound):
            if who_answers(address, timeout=2.0) == BUILTIN:
                return address, BUILTIN
    return _started(port, prepare)


def _started(port: int, prepare: Callable[[], None]) -> tuple[str, str]:
    """The built-in server of this process, started if need be."""
    global _builtin
    if _builtin is not None and _builtin.running:
        return _builtin.url, BUILTIN
    prepare()
    from llamalab.standin.answers.local_model import local_model  # heavy, so only when needed
    from llamalab.standin.run import BuiltinServer, PortTaken

    try:
        _builtin = BuiltinServer.start(port, engine=local_model())
    except PortTaken:
        _builtin = BuiltinServer.start(engine=local_model())
    return _builtin.url, f"{BUILTIN}, started just now"


def _reason(error: Exception) -> str:
    """One sentence instead of the chain of exceptions that requests wraps."""
    text = str(error)
    if isinstance(error, (requests.exceptions.InvalidSchema, ValueError, LocationParseError)):
        return "that is no address"
    if isinstance(error, requests.exceptions.ProxyError):
        return "a proxy stands in between and refuses (see HTTP_PROXY and NO_PROXY)"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted here (see REQUESTS_CA_BUNDLE)"
    if isinstance(error, requests.Timeout):
        return "it does not answer in time"
    if "getaddrinfo" in text or "NameResolution" in text or "resolve" in text:
        return "nobody knows that name"
    if "refused" in text or "10061" in text:
        return "nothing listens there (connection refused)"
    if "aborted" in text or "reset" in text or "10054" in text:
        return "it closes the connection without an answer"
    return "the connection fails"
