"""How bodies come in and answers go out.

The status line goes out with the first record and not before; a reader who has gone away ends
the work that was done for them.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from llamalab.standin import limits
from llamalab.standin.ollama import gojson
from llamalab.standin.ollama.protocol import Refusal

JSON = "application/json; charset=utf-8"
BARE_JSON = "application/json"  # where Ollama's own code writes the header, not its framework


_parser = ThreadPoolExecutor(1, "llamalab-parser")  # one long body after the other


async def read_body(request: Request, parse: Callable[[bytes], Any]) -> Any:
    """What `parse` makes of the body. Raises `Refusal` 413 where it is too long.

    A long one is parsed in a thread, so that no other request waits.
    """
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > limits.MAX_BODY:  # the rest is read, and dropped, by `connection`
                what = f"the request is longer than {limits.MAX_BODY} bytes"
                raise Refusal(413, f"{what}, and llamalab's built-in server reads no more")
    except ClientDisconnect:
        raise Refusal(499, "the reader has gone") from None  # whom this does not reach
    if len(body) <= limits.PARSED_AT_ONCE:
        return parse(bytes(body))
    return await asyncio.get_running_loop().run_in_executor(_parser, parse, bytes(body))


def json_response(document: Any, status: int = 200, media_type: str = JSON) -> Response:
    return Response(gojson.dumps(document), status, media_type=media_type)


def error_response(
    status: int, text: str, media_type: str = JSON, headers: dict[str, str] | None = None
) -> Response:
    """An error as Ollama words it: `{"error": ...}`."""
    return Response(gojson.dumps({"error": text}), status, headers, media_type)


async def collect(pieces: AsyncGenerator) -> list:
    """All that a generator yields, once it is there."""
    async with aclosing(pieces):
        return [piece async for piece in pieces]


class Records:
    """The response that streams: one chunk a record, the status line with the first of them.

    An error before the first record has its own status; after it, it is the last record.
    """

    media_type = "application/x-ndjson"

    def __init__(self, lines: AsyncGenerator[bytes, None]):
        self.lines = lines

    def refused(self, refusal: Refusal) -> Response:
        return error_response(refusal.status, refusal.text, BARE_JSON)

    def broken(self, refusal: Refusal) -> bytes:
        return gojson.dumps({"error": refusal.text}) + b"\n"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await while_connected(receive, self.send_all(scope, receive, send))

    async def send_all(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        try:
            async with aclosing(self.lines) as lines:
                async for line in lines:
                    if not started:
                        await send(start(self.media_type))
                        started = True
                    await send(chunk(line))
                    await asyncio.sleep(0)  # a fast source does not keep others waiting
        except Refusal as refusal:
            if not started:
                return await self.refused(refusal)(scope, receive, send)
            await send(chunk(self.broken(refusal)))
        await send(chunk(b"", more=False))


def start(media_type: str) -> Message:
    """The status line; a new list of headers each time, since `Guard` adds to it."""
    headers = [(b"content-type", media_type.encode())]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def chunk(body: bytes, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def while_connected(receive: Receive, work: Coroutine[Any, Any, Any]) -> Any:
    """The result of `work`; None, and `work` cancelled, where the reader goes away before it."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(gone())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].result() if tasks[0].done() else None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
