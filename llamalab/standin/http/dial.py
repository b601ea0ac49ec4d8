"""The fault dial: which of the `faults` a request meets, by its address or for the whole server."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from llamalab.standin.answers.source import Source
from llamalab.standin.http.faults import FAULTS, Broken, Wire
from llamalab.standin.http.responses import error_response

PREFIX = re.compile(r"(/fault(?:/([^/]*))?)(/.*)?", re.DOTALL)
BREAKS = ("/api/generate", "/api/chat", "/v1/chat/completions")  # the other endpoints do not


class Dial:
    """ASGI middleware, after the guard: finds out which fault a request should meet."""

    def __init__(self, app: ASGIApp, fault: str | None = None):
        self.app, self.fault = app, fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        name = self.fault
        if prefixed := PREFIX.fullmatch(scope["path"]):
            prefix, name, path = prefixed.groups("")
            if name not in FAULTS:
                return await error_response(404, no_such_fault(name))(scope, receive, send)
            scope = {**scope, "path": path or "/", "root_path": prefix}
        if name is None:
            return await self.app(scope, receive, send)
        fault = FAULTS[name]
        wire = Wire(fault, scope, receive, send)
        if fault.instead:
            return await fault.instead(wire)
        if scope["method"] == "POST" and scope["path"] in BREAKS:
            scope = {**scope, "fault": fault}
            send = wire.break_answer if fault.wire else send
        await self.app(scope, receive, send)


def source_of(scope: Scope) -> Source:
    """The source that answers a request: the server's own, or a `Broken` one."""
    source, fault = scope["app"].state.source, scope.get("fault")
    return Broken(source, fault) if fault and fault.answer else source


def check_name(name: str | None) -> None:
    """Raise ValueError where no fault has this name."""
    if name is not None and name not in FAULTS:
        raise ValueError(no_such_fault(name))


def no_such_fault(name: str) -> str:
    return f"no fault {name!r}; there are: {', '.join(FAULTS)}"
