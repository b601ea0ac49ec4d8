"""Where the class's server listens, and the model servers that it passes requests on to."""

import contextlib
import errno
import ipaddress
import re
import socket
from typing import NamedTuple

import psutil

from llamalab.address import is_here, parse_host
from llamalab.errors import LlamalabError

PORT = 8080  # an ordinary user may have it


class Place(NamedTuple):
    """A host (a name or an address of this machine) and a port to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def machine_s() -> dict[str, str]:
    """The IPv4 addresses that other machines may know this one by -> the network card's name."""
    return {
        found.address: card
        for card, addresses in psutil.net_if_addrs().items()
        for found in addresses
        if found.family == socket.AF_INET and not is_here(f"http://{found.address}")
    }


def usual() -> str:
    """This machine's address towards the rest of the world; 127.0.0.1 where it has no network.

    Nothing is sent: to connect a UDP socket only asks the system which way it would take.
    """
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect(("192.0.2.1", 9))
        return way.getsockname()[0]
    return next(iter(machine_s()), "127.0.0.1")


def listening(text: str | None) -> Place:
    """The place that `--listen` names: ADDRESS, ADDRESS:PORT or :PORT.

    >>> str(listening("192.0.2.7")), str(listening("llm.school.example:443"))
    ('192.0.2.7:8080', 'llm.school.example:443')
    """
    match = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]*)(?::([0-9]{1,5}))?", text or "")
    if not match or not 0 < int(match[2] or PORT) < 65536:
        raise LlamalabError(f"{text!r} is not a place to listen at.", do=choices())
    host = match[1].strip("[]") or usual()
    if is_everywhere(host):
        raise LlamalabError(
            "The class's server listens at one address, not at all of them.",
            why="the sheets show this address to the students",
            do=choices(),
        )
    return Place(host, int(match[2] or PORT))


def is_everywhere(host: str) -> bool:
    """Whether a host means all addresses of this machine, in any way to write it ("0", "::")."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(ipaddress.ip_address(each[4][0]).is_unspecified for each in found)


def choices() -> str:
    """What to type after --listen on this machine."""
    known = [f"--listen {address}:{PORT}   ({card})" for address, card in machine_s().items()]
    return " or ".join(known) or f"--listen 127.0.0.1:{PORT}   (for this machine alone)"


def need_free(place: Place) -> None:
    """Raise, in a sentence, where nginx could not listen."""
    try:
        family, *_, address = socket.getaddrinfo(*place, type=socket.SOCK_STREAM)[0]
        socket.create_server(address, family=family).close()
    except OSError as error:
        raise LlamalabError(f"nginx cannot listen at {place}.", *_why(error)) from None


def _why(error: OSError) -> tuple[str, str]:
    """Why a place cannot be had, and what to do."""
    other = f"take a different port: --listen :{PORT + 1}"
    if error.errno == errno.EADDRINUSE:
        return "another program listens there", other
    if error.errno == errno.EACCES:
        return "ports below 1024 are for the administrator", f"take port {PORT}, or use sudo"
    return "it is not an address of this machine", choices()


def upstream(text: str) -> str:
    """A model server's HOST:PORT, as nginx wants it, from its address in any form.

    >>> upstream("http://127.0.0.1:11434/"), upstream("gpu2"), upstream("[::1]:11435")
    ('127.0.0.1:11434', 'gpu2:11434', '[::1]:11435')
    """
    form = r"http://([A-Za-z0-9._-]+:[0-9]+|\[[0-9a-fA-F:]+\]:[0-9]+)"
    if match := re.fullmatch(form, parse_host(text)):
        return match[1]
    raise LlamalabError(
        "A model server of a class has an address such as http://192.0.2.20:11434.",
        why="nginx speaks plain HTTP with it, without a key, and passes on the paths as they are",
        do="--upstream http://HOST:PORT",
    )
