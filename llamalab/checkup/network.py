"""Checks of the servers, and of the way to them."""

import contextlib
import ipaddress
import os
import platform
import socket
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import requests

from llamalab import diagnosis, find, keys
from llamalab.address import hostname, is_direct, is_here, parse_host, without_password
from llamalab.checkup.report import Finding, export, fail, note, ok
from llamalab.client import MODEL
from llamalab.errors import ServerNotFound, command


def ollama_host() -> Finding:
    """The address that OLLAMA_HOST names; where it is dead, no other one is taken."""
    asked = os.environ.get("OLLAMA_HOST", "")
    if not asked.strip():
        return ok("not set: an Ollama on this machine is taken, else the built-in server")
    address = parse_host(asked)
    shown = without_password(address)
    try:
        who = find.who_answers(address, get=ask)
    except ServerNotFound as error:
        unknown = error.do == find.what_to_do(address)  # else it has said what it is
        why = (unknown and port_owner(address)) or error.why
        return fail(f"{error.what} Why: {why}", around_proxy(address) or error.do)
    if "0.0.0.0" in asked:
        said = f"{who} at {shown}; 0.0.0.0 is an address to listen on, not one to ask"
        return note(said, export("OLLAMA_HOST", shown))
    return ok(f"{who} at {shown}")


def port_11434() -> Finding:
    """Ollama's own port: where a server is looked for, and where ours would like to be."""
    matters = not os.environ.get("OLLAMA_HOST", "").strip()
    if who := answers(find.DEFAULT):
        return ok(who)
    if not (taken := port_owner(find.DEFAULT)):
        return note("no Ollama; the built-in server starts") if matters else ok("free")
    so = "the built-in server takes a different one" if matters else "OLLAMA_HOST decides"
    port = urlsplit(find.DEFAULT).port
    look = command(f"lsof -i :{port}", f"netstat -ano | findstr :{port}")
    said = f"{taken}, which is not a model server; {so}"
    return note(said, f"stop it if you want Ollama there; to see it: {look}")


def models() -> Finding:
    """The models of the server that the lesson will ask; it asks for MODEL."""
    asked = os.environ.get("OLLAMA_HOST", "").strip()
    address = parse_host(asked) if asked else find.DEFAULT
    who = answers(address, timeout=5.0 if asked else 2.0)
    if asked and not who:
        return note("not known: see OLLAMA_HOST")
    if not who:
        return ok(f"{MODEL}, as recordings, from the built-in server")
    try:
        response = ask(f"{address}/api/tags", timeout=5.0)
        if response.status_code != 200:
            refused = diagnosis.refusal(response)
            return note(f"{refused.what} Why: {refused.why}", refused.do)
        names = [item["name"].removesuffix(":latest") for item in response.json()["models"]]
    except (*find.BAD_CONNECTION, ValueError, LookupError, TypeError, AttributeError):
        return note("the server's list of models makes no sense", "update the server")
    some = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    if MODEL in names:
        return ok(some)
    has = f"only: {some}" if some else "and no other model"
    said = f"{who} at {without_password(address)} does not have {MODEL}, {has}"
    return fail(said, f"llamalab pull {MODEL}   (lets that server fetch it)")


def proxies() -> Finding:
    """A proxy for the world must not get what is meant for this machine."""
    known = urllib.request.getproxies()
    ways = {shown(known[scheme]) for scheme in ("http", "https", "all") if known.get(scheme)}
    if not ways:
        return ok("none")
    through = ", ".join(sorted(ways))
    caught = [host for host in ("127.0.0.1", "localhost") if not is_direct(f"http://{host}")]
    if not caught:
        return ok(f"{through}, but not for this machine's own addresses")
    return note(
        f"{through} gets what is for {' and '.join(caught)}; llamalab itself goes around it",
        no_proxy(*caught),
    )


def localhost() -> Finding:
    hosts = command("/etc/hosts", r"C:\Windows\System32\drivers\etc\hosts")
    do = f"write 127.0.0.1 instead, or add the line `127.0.0.1 localhost` to {hosts}"
    try:
        found = socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)
    except OSError:
        return note("that name is not known", do)
    seen = sorted({address for *_, (address, *_) in found})
    if not all(ipaddress.ip_address(address).is_loopback for address in seen):
        return note(f"{', '.join(seen)}: that is not this machine", do)
    if "127.0.0.1" not in seen:
        return note(f"{', '.join(seen)} only; model servers listen on 127.0.0.1", do)
    return ok(", ".join(seen))


def system() -> Finding:
    """The operating system; in WSL, 127.0.0.1 is not that of Windows."""
    release = platform.release()  # Linux's names a kernel, which tells a reader nothing
    name = platform.system() if platform.system() == "Linux" else f"{platform.system()} {release}"
    here = f"{name}, {platform.machine()}"
    if "microsoft" not in release.lower():
        return ok(here)
    if answers(find.DEFAULT):
        return ok(f"{here} (WSL)")
    windows = f"{gateway()}:{urlsplit(find.DEFAULT).port}"
    if who := answers(f"http://{windows}"):
        return note(f"WSL: {who} is in Windows, not at 127.0.0.1", f"export OLLAMA_HOST={windows}")
    return note(
        "WSL: 127.0.0.1 is Linux's own; an Ollama in Windows has another address",
        "if there is one: networkingMode=mirrored below [wsl2] in Windows' .wslconfig",
    )


# --- What they look with ----------------------------------------------------------------------


def ask(address: str, timeout: float) -> requests.Response:
    """`requests.get` as the lesson will do it: around the proxies for this machine's addresses.

    A session that does not trust the environment does not look for keys there either.
    """
    in_it = requests.utils.get_auth_from_url(address)
    with requests.Session() as session:
        session.trust_env = not is_here(address)
        auth = in_it if any(in_it) else keys.known_for(address)
        return session.get(address, timeout=timeout, headers=keys.headers(), auth=auth)


def answers(address: str, timeout: float = 2.0) -> str:
    """Which model server answers at an address; "" where none does. As long as `find` waits."""
    try:
        return find.who_answers(address, timeout, ask)
    except ServerNotFound:
        return ""


def port_owner(address: str) -> str:
    """Who has an address of this machine, as in "python3 (process 4711) has it"; "" if none has."""
    import psutil

    if not is_here(address):
        return ""
    port = urlsplit(address).port
    try:
        socket.create_connection((hostname(address), port), timeout=2.0).close()
    except OSError:
        return ""
    with contextlib.suppress(psutil.Error):  # macOS tells only the administrator
        for connection in psutil.net_connections("tcp"):
            here = connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            if here and connection.pid:
                name = psutil.Process(connection.pid).name()
                return f"{name} (process {connection.pid}) has it"
    return "another program has it"


def gateway(routes: Path = Path("/proc/net/route")) -> str:
    """Where Linux sends what it cannot deliver; in WSL, that is Windows. "" if unknown."""
    for route in routes.read_text("ascii").splitlines():
        _, destination, hexadecimal, *_ = route.split()
        if destination == "00000000":
            return str(ipaddress.ip_address(bytes.fromhex(hexadecimal)[::-1]))  # little-endian
    return ""


def around_proxy(address: str) -> str:
    """The command that lets a server be asked without the proxy in between; "" if none is."""
    with contextlib.suppress(ValueError):  # that is not an address
        known = requests.utils.get_environ_proxies(address)
        if not is_here(address) and requests.utils.select_proxy(address, known):
            return no_proxy(hostname(address))
    return ""


def no_proxy(*hosts: str) -> str:
    """The command that keeps hosts off the proxy, besides those that are kept off it already."""
    name = "no_proxy" if os.environ.get("no_proxy") else "NO_PROXY"  # the first one wins
    known = os.environ.get(name, "")
    return export(name, ",".join(filter(None, [known, *hosts])))


def shown(proxy: str) -> str:
    """A proxy's address without its password, which may have no scheme."""
    return without_password(proxy if "://" in proxy else f"http://{proxy}")
