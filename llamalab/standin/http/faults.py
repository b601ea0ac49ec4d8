"""The faults: answers that break as those of real models and networks do.

    SERVER/fault/cut                the address of a server whose answers are cut
    llamalab serve --fault cut      ... or of the whole server

What breaks is the real answer, on its way out: either its records, as where the model is in
trouble (`answer`), or its bytes, as where the network is (`wire`). Only two faults put somebody
else in the server's place (`instead`). A refusal (no such model, no JSON) goes out unbroken, and
so does whatever is not a question: /api/tags, /api/version. Where a fault has to invent a
record, its `model` says so: "fault:huge-line".

Nothing heavy is imported here: `llamalab serve --help` lists the faults.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from llamalab.standin.ollama import gojson, protocol
from llamalab.standin.ollama.protocol import Refusal

AFTER = 5  # this many records arrive before the trouble; "Yes, I am listening."
SLOW_START = 8.0  # seconds
HUGE = 8 * 2**20  # bytes of text in one line

NO_JSON = b"upstream timed out\n"  # so say proxies
LOGIN_PAGE = b"""\
<!DOCTYPE html>
<html><head><title>Welcome to the Wi-Fi</title></head>
<body><h1>Welcome to the Wi-Fi</h1>
<form action="/login" method="post">
<p>Please log in to go on: <input name="user"> <input name="password" type="password">
<button>Log in</button></p></form></body></html>
"""

LAST = re.compile(rb'"done": ?true|"finish_reason":"')

Message = dict[str, Any]  # of ASGI, as are the two below
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Lines = AsyncGenerator[bytes, None]  # a record each


@dataclass(frozen=True)
class Fault:
    """One way to break: `about` says it to people, one of the other three does it."""

    about: str
    answer: Callable[[Lines, str, dict], Lines] | None = None
    wire: Callable[["Wire", bytes], Awaitable[None]] | None = None
    instead: Callable[["Wire"], Awaitable[None]] | None = None


class Wire:
    """The way back to one reader: what the faults of the network do to it."""

    def __init__(self, fault: Fault, scope: dict, receive: Receive, send: Send):
        self.fault, self.scope, self.receive, self.send = fault, scope, receive, send
        self.whole = False  # whether the answer goes out unbroken
        self.sent = 0  # pieces so far

    async def break_answer(self, message: Message) -> None:
        """`send`, but for an answer: the fault has each piece of it. A refusal passes."""
        if message["type"] == "http.response.start":
            self.whole = message["status"] != 200
            if not self.whole and self.fault.wire is not cut:  # it may get another length
                headers = [item for item in message["headers"] if item[0] != b"content-length"]
                message = {**message, "headers": headers}
        if self.whole or message["type"] != "http.response.body":
            return await self.send(message)
        if message["body"]:
            await self.fault.wire(self, message["body"])
            self.sent += 1
        if not message.get("more_body"):
            await self.send_piece(b"", more=False)

    async def send_piece(self, body: bytes, more: bool = True) -> None:
        if body or not more:
            await self.send({"type": "http.response.body", "body": body, "more_body": more})

    async def send_in_two(self, body: bytes, at: int) -> None:
        await self.send_piece(body[:at])
        await self.send_piece(body[at:])

    async def hang_up(self) -> None:
        """Close the connection, after what was sent and with nothing more."""
        self.scope["state"]["hang_up"]()  # from `connection.Connection`
        while (await self.receive())["type"] != "http.disconnect":
            pass


class Broken:
    """A source (`sources.Source`) whose answers break the way of a fault."""

    def __init__(self, source: Any, fault: Fault):
        self.source, self.fault = source, fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)  # what is not an answer does not break

    def answer(self, path: str, request: dict) -> Lines:
        lines = self.source.answer(path, request)
        return closing(lines, self.fault.answer(lines, path, request))


async def closing(lines: Lines, broken: Lines) -> Lines:
    """The broken lines; when their reader leaves, the model they come from is stopped too."""
    async with aclosing(lines), aclosing(broken):
        async for line in broken:
            yield line


def is_last(piece: bytes) -> bool:
    r"""Whether a record or a chunk ends an answer; inside of a text its quotes would be `\"`."""
    return LAST.search(piece) is not None


# ---- faults of the model: what becomes of the records


async def slow_start(lines: Lines, path: str, request: dict) -> Lines:
    await asyncio.sleep(SLOW_START)  # the status line waits, too: it goes with the first record
    async for line in lines:
        yield line


def busy(lines: Lines, path: str, request: dict) -> Lines:
    raise Refusal(503, protocol.BUSY)


def no_model(lines: Lines, path: str, request: dict) -> Lines:
    raise protocol.not_found(request["model"])


async def first_few(lines: Lines) -> Lines:
    """`AFTER` lines, or as many as there are before the last one."""
    count = 0
    async for line in lines:
        if count == AFTER or is_last(line):
            break
        yield line
        count += 1


async def error_midway(lines: Lines, path: str, request: dict) -> Lines:
    async for line in first_few(lines):
        yield line
    raise Refusal(500, protocol.DIED)


async def stall(lines: Lines, path: str, request: dict) -> Lines:
    async for line in first_few(lines):
        yield line
    await asyncio.Event().wait()  # until the reader has had enough


async def no_done(lines: Lines, path: str, request: dict) -> Lines:
    async for line in lines:
        if is_last(line):
            break
        yield line


async def split_char(lines: Lines, path: str, request: dict) -> Lines:
    for text in ("Ça va", " ?", " 你好", ", ", "Ōsaka", " 🦙"):  # 2 to 4 bytes a character
        yield invented("split-char", path, text)
    yield invented("split-char", path, "", done_reason="stop")


async def huge_line(lines: Lines, path: str, request: dict) -> Lines:
    text = "a very long line, "
    yield invented("huge-line", path, text * (HUGE // len(text)))
    yield invented("huge-line", path, "", done_reason="stop")


async def thinking_only(lines: Lines, path: str, request: dict) -> Lines:
    for thought in ("They", " ask", " me", " something", "."):
        yield invented("thinking-only", path, "", thinking=thought)
    yield invented("thinking-only", path, "", done_reason="stop")


def invented(name: str, path: str, text: str, **more: str) -> bytes:
    """A record's line that no model has said, and that says so."""
    return gojson.dumps(protocol.record(path, f"fault:{name}", text, **more)) + b"\n"


# ---- faults of the network: what becomes of the bytes


def in_the_middle(wire: Wire, body: bytes) -> bool:
    """Whether now is the time: once, and before the answer's end, however short it is."""
    return wire.sent == AFTER or (wire.sent < AFTER and is_last(body))


async def cut(wire: Wire, body: bytes) -> None:
    if in_the_middle(wire, body):
        await wire.send_piece(body[: len(body) // 2])
        await wire.hang_up()
    else:
        await wire.send_piece(body)


async def split_lines(wire: Wire, body: bytes) -> None:
    await wire.send_in_two(body, len(body) // 2)


async def split_characters(wire: Wire, body: bytes) -> None:
    first = next((i for i, byte in enumerate(body) if byte > 127), -1)
    await wire.send_in_two(body, first + 1)  # after the first of its bytes


async def garbage(wire: Wire, body: bytes) -> None:
    if in_the_middle(wire, body):
        await wire.send_piece(NO_JSON)
    await wire.send_piece(body)


async def empty(wire: Wire, body: bytes) -> None:
    pass


async def html(wire: Wire) -> None:
    head = [(b"content-type", b"text/html"), (b"content-length", b"%d" % len(LOGIN_PAGE))]
    await wire.send({"type": "http.response.start", "status": 200, "headers": head})
    await wire.send_piece(LOGIN_PAGE, more=False)


async def refuse(wire: Wire) -> None:
    while (await wire.receive()).get("more_body"):  # to close on what is unread would reset
        pass
    await wire.hang_up()


FAULTS = {
    "refuse": Fault("no server is there: no connection, or it is closed at once", instead=refuse),
    "slow-start": Fault(
        f"nothing comes for {SLOW_START:g} s, as while a model loads; then the right answer",
        answer=slow_start,
    ),
    "busy": Fault("503: too many others wait", answer=busy),
    "no-model": Fault("404: this server has no such model", answer=no_model),
    "cut": Fault("the connection is closed in the middle of a record", wire=cut),
    "split-line": Fault("each record comes in two chunks; the answer is right", wire=split_lines),
    "split-char": Fault(
        "chunks end inside a character; the answer is right", split_char, split_characters
    ),
    "error-midway": Fault("the model fails: an error is the last record", answer=error_midway),
    "stall": Fault("a few records, then nothing more, and no end either", answer=stall),
    "garbage": Fault("a line in the middle is not JSON", wire=garbage),
    "html": Fault("every path is the login page of a Wi-Fi, status 200", instead=html),
    "empty": Fault("status 200, and no body at all", wire=empty),
    "no-done": Fault("all fragments, but no last record", answer=no_done),
    "huge-line": Fault("one record of 8 MiB; the answer is right", answer=huge_line),
    "thinking-only": Fault("the model thinks, and says nothing", answer=thinking_only),
}
