"""The runs that `check` makes of a student's script, in a page.

On a desktop, the script is a program and its server listens on a port. Here both are in this
interpreter; what the server says is the same (`exercises.script_judge.Desk`).
"""

import asyncio
import os
from pathlib import Path
from typing import Any, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llamalab.page import scripts
from llamalab.page.server import PORT, SERVERS, PageServer, Wire
from llamalab.standin.http.responses import chunk, start

TIMEOUT = 30  # seconds for one run
LONGEST = 1.0  # seconds; on a desktop, `exercises.hurry` does this
FIRST = b"Well"  # the first fragment of a chat's answer


class Desk(Protocol):
    """As much of the judge's desk as is used here."""

    fault: str
    recorded: bytes
    seen: Any

    def breaks(self, path: str, body: bytes) -> bool: ...

    def replies(self, path: str, body: bytes) -> Any: ...


def run(
    script: Path, arguments: tuple[str, ...], lines: tuple[str, ...], desk: Desk
) -> tuple[str, str, int | None]:
    """Both outputs of a script and its exit code; None where it did not end in its time."""
    printed, errors = bytearray(), bytearray()
    desk.seen = lambda: FIRST in printed
    server = PageServer(application(desk), max(SERVERS, default=PORT) + 1)
    SERVERS[server.port] = server
    before = os.environ.get("OLLAMA_HOST")
    os.environ["OLLAMA_HOST"] = server.url
    Wire.longest = LONGEST if desk.fault == "stall" else None
    try:
        typed = "".join(f"{line}\n" for line in lines)
        code = scripts.run(
            script, list(arguments), printed.extend, errors.extend, typed, seconds=TIMEOUT
        )
    finally:
        Wire.longest = None
        server.stop()
        os.environ.pop("OLLAMA_HOST")
        if before is not None:
            os.environ["OLLAMA_HOST"] = before
    return printed.decode("utf-8", "replace"), errors.decode("utf-8", "replace"), code


def application(desk: Desk) -> ASGIApp:
    """The judge's server, as an ASGI application."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        fault = desk.fault
        if desk.breaks(scope["path"], body):
            path = f"/fault/{fault}/api/chat"
            asked = asking(desk.recorded, receive)
            return await SERVERS[PORT].app({**scope, "path": path}, asked, send)
        replies = desk.replies(scope["path"], body)
        status = next(replies, None)
        if status is None:
            return scope["state"]["hang_up"]()
        await send({**start("application/x-ndjson"), "status": status})
        for line in replies:
            await send(chunk(line))
            await asyncio.sleep(0)  # the script may print it, before the next one is made
        await send(chunk(b"", more=False))
        return None

    return answer


def asking(body: bytes, receive: Receive) -> Receive:
    """A request with this body, and after it what really comes."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def ask() -> Message:
        return messages.pop() if messages else await receive()

    return ask
