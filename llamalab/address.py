"""A server's address: OLLAMA_HOST in all its forms, how it may be shown, the proxies on the way."""

import contextlib
import ipaddress
import os
import re
import urllib.request
from urllib.parse import urlsplit

import requests

_HOST = re.compile(  # scheme, user, host (an IPv6 address may stand bare), port, path
    r"(?:(.*?)://)?([^/]*@)?(\[[^]/]*\]|[^:/]*|[^/]*)(?::([^:/]*))?(/.*)?", re.DOTALL
)
LOOPBACK = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1")  # as NO_PROXY names it


def parse_host(text: str) -> str:
    """The address a client dials for a value of OLLAMA_HOST, in all the forms Ollama reads.

    Source: `envconfig.Host` of Ollama; like it, a bad port falls back to the default one. As
    a client's address `0.0.0.0` ("listen everywhere") means this machine.

    >>> parse_host("192.168.1.20"), parse_host(":1234"), parse_host("::1")
    ('http://192.168.1.20:11434', 'http://127.0.0.1:1234', 'http://[::1]:11434')
    >>> parse_host("https://llm.school.example/ollama"), parse_host(' "0.0.0.0" ')
    ('https://llm.school.example:443/ollama', 'http://127.0.0.1:11434')
    """
    scheme, user, host, port, path = _HOST.fullmatch(text.strip(" \t\r\n'\"")).groups("")
    usual = {"": 11434, "http": 80, "https": 443}.get(scheme, 11434)
    if (scheme, host) == ("", "ollama.com"):
        scheme, usual = "https", 443
    host = host.strip("[]")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    host = f"[{host}]" if ":" in host else host
    port = port if re.fullmatch("[0-9]{1,5}", port) and int(port) <= 65535 else usual
    return f"{scheme or 'http'}://{user}{host}:{port}{path}".rstrip("/")


def without_password(address: str) -> str:
    """The address as it may be shown in front of a class."""
    scheme, separator, rest = address.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def right_address(address: str) -> str:
    """The server's own address, where that of an endpoint was copied.

    >>> right_address("http://192.0.2.7:11434/api/generate")
    'http://192.0.2.7:11434'
    >>> right_address("https://llm.school.example/ollama/v1")
    'https://llm.school.example/ollama'
    """
    return re.sub(r"(?<=[^/])/(api|v1)(/.*)?$", "", address)


def is_here(address: str) -> bool:
    """Whether an address is one of this machine's own, for this machine alone.

    >>> is_here("http://127.0.0.5:11434"), is_here("http://192.0.2.7:11434")
    (True, False)
    """
    host = hostname(address)
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def hostname(address: str) -> str:
    """The host of an address; "" for what is not one."""
    with contextlib.suppress(ValueError):
        return urlsplit(address).hostname or ""
    return ""


def keep_proxies_off_loopback() -> None:
    """A school's proxy never gets what is meant for this machine: adds loopback to NO_PROXY.

    For the lesson's own `requests.post` as well, therefore in the environment. Where the proxy
    comes from the system's settings instead (Windows, macOS), it is written into the
    environment first: Python stops looking there as soon as NO_PROXY is set.
    """
    proxies = urllib.request.getproxies()
    if not {"http", "https", "all"} & proxies.keys():
        return
    if all(map(is_direct, ("http://localhost", "http://127.0.0.1", "http://127.0.0.5"))):
        return
    for scheme in {"http", "https"} & proxies.keys():
        os.environ.setdefault(f"{scheme}_proxy", proxies[scheme])
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, [known, *LOOPBACK]))


def is_direct(address: str) -> bool:
    """Whether no proxy gets what is meant for an address."""
    return requests.utils.should_bypass_proxies(address, no_proxy=None)
