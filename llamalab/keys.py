"""Keys for a class's server: taken out of its address, kept where `requests` looks by itself.

    http://ada:KEY@192.0.2.7:8080  ->  http://192.0.2.7:8080, and an entry in a private file

The file is a netrc file, named in `NETRC`: `requests` reads it in this process and in those that
it starts, so the lesson's own `requests.post(SERVER + ...)` needs no key. It has one key for each
host, whatever the port. What the user's own netrc file says of other hosts goes on working; that
file is never written to. A key is not shown on any screen, in errors neither.
"""

import atexit
import base64
import binascii
import contextlib
import netrc
import os
import re
import sys
import tempfile
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests

_PREFIX = "llamalab-netrc"
_SIMPLE = re.compile(r"[A-Za-z0-9._~+/=:@%-]+")  # what needs no quotes in a netrc file

_file: Path | None = None  # this process's own netrc file
_entries: dict[str, tuple[str, str]] = {}  # host -> user, key, as they are in it
_writing = threading.Lock()


def take_out(address: str) -> str:
    """The address without its user and key, which `requests` finds from now on by itself.

    >>> take_out("http://192.0.2.7:8080")
    'http://192.0.2.7:8080'
    """
    match = re.fullmatch(r"([^/]*://)([^/]*)@(.*)", address, re.DOTALL)
    if not match:
        return address
    clean = match[1] + match[3]
    user, _, key = (unquote(part) for part in match[2].partition(":"))
    try:
        host = urlsplit(clean).hostname
    except ValueError:  # it is not an address, as the first request will say
        return clean
    with _writing:
        if host and _SIMPLE.fullmatch(host) and user and key and _entries.get(host) != (user, key):
            _keep(host, user, key)
    return clean


def headers() -> dict[str, str]:
    """The key in OLLAMA_API_KEY as the package `ollama` sends it, as a Bearer token; {} without.

    An entry for the host in a netrc file wins: `requests` puts that in its place.
    """
    key = os.environ.get("OLLAMA_API_KEY", "").strip()
    return {"Authorization": f"Bearer {key}"} if key else {}


def known_for(address: str) -> tuple[str, str] | None:
    """User and key of a netrc file, for a request that does not look there by itself."""
    return requests.utils.get_netrc_auth(address)


def sent_with(request: requests.PreparedRequest) -> str:
    """In words, whose key a request has brought along; never the key itself."""
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind == "Basic":
        with contextlib.suppress(binascii.Error, ValueError):
            user = base64.b64decode(value).decode("latin-1").partition(":")[0]
            return f"the key of the user {user!r} was sent, and is not the right one"
    if kind:
        return "the key in OLLAMA_API_KEY was sent, and is not the right one"
    return "no key was sent"


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read; a reader sees the old one or the new one."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".llamalab-part-")  # mode 0600
    part = Path(name)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as opened:
            opened.write(text)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _keep(host: str, user: str, key: str) -> None:
    global _file
    if _file is None:
        _remove_old_ones(Path(tempfile.gettempdir()))
        descriptor, name = tempfile.mkstemp(prefix=f"{_PREFIX}-{os.getpid()}-")  # mode 0600
        with open(descriptor, "w", encoding="utf-8") as opened:
            opened.write(_user_s_own())
        _file = Path(name)
        atexit.register(_remove, _file, os.getpid())
    words = ("machine", host, "login", _token(user), "password", _token(key))
    with _file.open("a", encoding="utf-8") as opened:  # the last entry for a host wins
        opened.write("\n\n" + " ".join(words) + "\n")
    _entries[host] = user, key
    os.environ["NETRC"] = str(_file)


def _user_s_own() -> str:
    """The text of the netrc file that `requests` would read; "" for none, or a broken one."""
    named = os.environ.get("NETRC")
    for name in [named] if named else ["~/.netrc", "~/_netrc"]:
        file = Path(os.path.expanduser(name))
        with contextlib.suppress(OSError, ValueError, netrc.NetrcParseError):
            text = file.read_text(encoding="utf-8")
            netrc.netrc(str(file))
            return text
    return ""


def _token(text: str) -> str:
    if _SIMPLE.fullmatch(text) or sys.version_info < (3, 11):  # before, netrc knew no quotes
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _remove(file: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child ends before its parent
        with contextlib.suppress(OSError):
            file.unlink()


def _remove_old_ones(folder: Path) -> None:
    """Remove the files of processes that were killed and could not do it themselves."""
    import psutil

    for file in folder.glob(f"{_PREFIX}-*-*"):
        owner = file.name.split("-")[2]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            with contextlib.suppress(OSError):
                file.unlink()
