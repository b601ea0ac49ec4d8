"""Who may ask: no page from the web reaches a server that is there for this machine.

Two checks, as in Ollama: the Host header (a page whose name was rebound to 127.0.0.1) and the
Origin header (a page from elsewhere that posts here). Neither is a password: any program on
this machine may ask. Source: `allowedHostsMiddleware` and `AllowedOrigins` of Ollama.
"""

import ipaddress
import re
import socket

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llamalab.standin import limits
from llamalab.standin.http.responses import error_response

LOCAL_NETS = [
    ipaddress.ip_network(net)
    for net in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "0.0.0.0", "::1")
]
LOCAL_NAMES = (".localhost", ".internal")  # not ".local": a neighbour in the Wi-Fi may have one
NAME = re.compile(r"[a-z0-9._-]*")
ORIGIN = re.compile(
    r"https?://(?:localhost|127\.0\.0\.1|0\.0\.0\.0)(?::[0-9]+)?"
    r"|(?:app|file|tauri|vscode-webview|vscode-file)://.*"
)
ALLOWED_HEADERS = (
    "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,OpenAI-Beta,"
    "x-stainless-arch,x-stainless-async,x-stainless-custom-poll-interval,"
    "x-stainless-helper-method,x-stainless-lang,x-stainless-os,x-stainless-package-version,"
    "x-stainless-poll-helper,x-stainless-retry-count,x-stainless-runtime,"
    "x-stainless-runtime-version,x-stainless-timeout"
)
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS",
    "Access-Control-Allow-Headers": ALLOWED_HEADERS,
    "Access-Control-Max-Age": "43200",
}


class Guard:
    """ASGI middleware in front of every path: 403 without a body for anyone who may not ask."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if size_of_head(scope) > limits.MAX_HEAD:  # h11 sees only those that come in pieces
            return await error_response(431, limits.HEAD_TOO_LONG)(scope, receive, send)
        headers = Headers(scope=scope)
        if "content-length" in headers and "transfer-encoding" in headers:
            two = "the request is not HTTP: it has two lengths"  # RFC 9112, section 6.1
            refused = error_response(400, two, headers={"Connection": "close"})
            return await refused(scope, receive, send)
        host, origin = headers.get("host", ""), headers.get("origin", "")
        foreign = origin not in ("", f"http://{host}", f"https://{host}")
        if not is_local(host) or (foreign and not ORIGIN.fullmatch(origin)):
            return await Response(status_code=403, headers=allow(scope))(scope, receive, send)
        if not foreign:
            return await self.app(scope, receive, send)

        async def send_with_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                answered["Access-Control-Allow-Origin"] = origin
                answered["Vary"] = "Origin"
            await send(message)

        if scope["method"] == "OPTIONS":
            preflight = Response(status_code=204, headers={**allow(scope), **PREFLIGHT})
            return await preflight(scope, receive, send_with_cors)
        await self.app(scope, receive, send_with_cors)


def size_of_head(scope: Scope) -> int:
    """The bytes of the target and the headers."""
    size = len(scope["raw_path"]) + len(scope["query_string"])
    return size + sum(len(name) + len(value) for name, value in scope["headers"])


def is_local(host: str) -> bool:
    """Whether a Host header names this machine, or one on the same network.

    >>> is_local("localhost:11434"), is_local("evil.example:11434"), is_local("8.8.8.8")
    (True, False, False)
    """
    with_port = re.fullmatch(r"(?:\[([^\]]*)\]|([^:]*)):[0-9]*", host)
    name = (with_port[1] or with_port[2] or "" if with_port else host).lower()
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        this = socket.gethostname().lower()
        own = ("", "localhost", this, f"{this}.local")
        return name in own or (name.endswith(LOCAL_NAMES) and bool(NAME.fullmatch(name)))
    return any(address in net for net in LOCAL_NETS)


def find_route(scope: Scope) -> tuple[Match, Route | None]:
    """The route of a request's path, and whether the method fits too (`Match.FULL`)."""
    for route in scope["app"].routes:
        match, _ = route.matches(scope)
        if match is not Match.NONE:
            return match, route
    return Match.NONE, None


def allow(scope: Scope) -> dict[str, str]:
    """The Allow header where the path exists and the method does not fit; else nothing."""
    match, route = find_route(scope)
    if match is not Match.PARTIAL:
        return {}
    return {"Allow": ", ".join(sorted(route.methods, reverse=True))}
