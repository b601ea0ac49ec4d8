"""Where the server is: the address in OLLAMA_HOST, an Ollama on this machine, or the built-in one.

The upper floor's door to `llamalab.server`: the only helper module that may start one.
"""

import os
import urllib.request
from urllib.parse import urlsplit

import requests

from llamalab.errors import ServerNotFound, command

DEFAULT = "http://127.0.0.1:11434"
LOOPBACK = ("127.0.0.1", "localhost", "::1")

_builtin = None  # the built-in server this process has started
_found: dict[str, str] = {}  # OLLAMA_HOST as it was -> the address found then


def server(quiet: bool = False) -> str:
    """Find a model server, or start the built-in one, and say in one line which it is.

    Looks at `OLLAMA_HOST` (the instructor's address, as Ollama itself reads it), then for an
    Ollama on 127.0.0.1:11434, then starts the built-in server in this process, on a free port
    of this machine that no other machine can reach.

    Returns the address without a slash at its end, such as "http://127.0.0.1:11434".
    Raises `ServerNotFound` where OLLAMA_HOST is set and nothing answers there: to use another
    server than the one asked for would only confuse.
    """
    keep_proxies_off_loopback()
    asked = os.environ.get("OLLAMA_HOST", "")
    if asked.strip():
        address = parse_host(asked)
        note = f"{who_answers(address)}, from OLLAMA_HOST"
    else:
        address, note = _here()
    _found[asked] = address
    if not quiet:
        print(f"Server: {without_password(address)} ({note})")
    return address


def address() -> str:
    """The server found last, or `server(quiet=True)` where nobody has looked yet."""
    return _found.get(os.environ.get("OLLAMA_HOST", "")) or server(quiet=True)


def forget() -> None:
    """Look again next time: the server found has stopped answering."""
    _found.clear()


def who_answers(address: str, timeout: float = 5.0) -> str:
    """What answers at an address: "Ollama 0.33.0", "llamalab's built-in server", ...

    Raises `ServerNotFound` where nothing answers within `timeout` seconds, or something that
    does not speak Ollama's API (`GET /api/version`; some servers only know `/api/tags`).
    """
    for path, key in (("/api/version", "version"), ("/api/tags", "models")):
        try:
            answer = requests.get(address + path, timeout=timeout).json()
        except ValueError:  # the body is not JSON; requests' JSONDecodeError is one of these
            continue
        except (requests.RequestException, OSError) as error:
            raise not_found(address, error) from None
        if isinstance(answer, dict) and key in answer:
            version = str(answer.get("version", ""))
            if version.endswith("+llamalab"):
                return "llamalab's built-in server"
            return f"Ollama {version}".strip() if version else "a server that speaks Ollama's API"
    raise ServerNotFound(
        f"Something answers at {without_password(address)}, but it is no model server.",
        why="it does not speak Ollama's API; another program or a proxy has this address",
        do=elsewhere(),
    )


def parse_host(text: str) -> str:
    """The address a client dials for a value of OLLAMA_HOST, in all the forms Ollama reads.

    Source: `envconfig.Host` of Ollama; like it, a bad port falls back to the default one. As
    a client's address `0.0.0.0` ("listen everywhere") means this machine.

    >>> parse_host("192.168.1.20"), parse_host(":1234"), parse_host("::1")
    ('http://192.168.1.20:11434', 'http://127.0.0.1:1234', 'http://[::1]:11434')
    >>> parse_host("https://llm.school.example/ollama"), parse_host(' "0.0.0.0" ')
    ('https://llm.school.example:443/ollama', 'http://127.0.0.1:11434')
    """
    text = text.strip(" \t\r\n'\"")
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = ("https", text) if text == "ollama.com" else ("http", text)
    default_port = 443 if scheme == "https" else 80 if separator else 11434
    netloc, _, path = rest.partition("/")
    user, at, hostport = netloc.rpartition("@")
    if hostport.startswith("[") or hostport.count(":") <= 1:
        host, _, port = hostport.rpartition(":") if _has_port(hostport) else (hostport, "", "")
    else:
        host, port = hostport, ""  # a bare IPv6 address
    host = host.strip("[]")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    host = f"[{host}]" if ":" in host else host
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        port = str(default_port)
    return f"{scheme}://{user}{at}{host}:{port}/{path}".rstrip("/")


def keep_proxies_off_loopback() -> None:
    """A school's proxy never gets what is meant for this machine: adds loopback to NO_PROXY.

    For the lesson's own `requests.post` as well, therefore in the environment. Where the proxy
    comes from the system's settings instead (Windows, macOS), it is written into the
    environment first: Python stops looking there as soon as NO_PROXY is set.
    """
    proxies = urllib.request.getproxies()
    if not {"http", "https", "all"} & proxies.keys():
        return
    if all(requests.utils.should_bypass_proxies(f"http://{host}", None) for host in LOOPBACK[:2]):
        return
    for scheme in {"http", "https"} & proxies.keys():
        os.environ.setdefault(f"{scheme}_proxy", proxies[scheme])
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, [known, *LOOPBACK]))


def not_found(address: str, error: Exception) -> ServerNotFound:
    """The error for an address where no server answers, with the command that mends it."""
    return ServerNotFound(
        f"No server answers at {without_password(address)}.", why=_reason(error), do=elsewhere()
    )


def elsewhere() -> str:
    """The command for a student whose server is not there."""
    if os.environ.get("OLLAMA_HOST", "").strip():
        unset = command("unset OLLAMA_HOST", "set OLLAMA_HOST=")
        return f"ask for the right address, or use the built-in server: {unset}, then start again"
    return "start the built-in server: llamalab serve"


def without_password(address: str) -> str:
    """The address as it may be shown in front of a class."""
    scheme, separator, rest = address.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own, out of reach for others."""
    host = urlsplit(address).hostname or ""
    return host in LOOPBACK or host.startswith("127.")


def _here() -> tuple[str, str]:
    """A server on this machine: Ollama, or ours, started if need be."""
    global _builtin
    try:
        return DEFAULT, who_answers(DEFAULT, timeout=2.0)
    except ServerNotFound:
        pass
    if _builtin is not None:
        return _builtin.url, "llamalab's built-in server"
    from llamalab.server.run import BuiltinServer  # Starlette and uvicorn, only when needed

    _builtin = BuiltinServer.start()
    return _builtin.url, "llamalab's built-in server, started just now"


def _has_port(hostport: str) -> bool:
    return ":" in hostport.rpartition("]")[2]


def _reason(error: Exception) -> str:
    """One sentence instead of the chain of exceptions that requests wraps."""
    text = str(error)
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
