"""Routes and status codes: Ollama's HTTP, answered from a `Source`. Only `run` enters.

Decided here and nowhere else: which paths and methods there are, in which order a request is
checked, and when the status line goes out, which is with the first record and not before.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Message, Receive, Scope, Send

from llamalab.server import gojson, protocol
from llamalab.server.guard import Guard, allow, find_route
from llamalab.server.protocol import Refusal
from llamalab.server.recordings import FOLDER, read_folder
from llamalab.server.sources import Replay

MAX_BODY = 16 * 2**20  # bytes; Ollama has no limit, but a loop in a notebook can post anything

JSON = "application/json; charset=utf-8"
BARE_JSON = "application/json"  # where Ollama's own code writes the header, not its framework

# What Ollama has and this server has not.
ABSENT = {
    "/api/status": ["GET"],
    "/api/embed": ["POST"],
    "/api/embeddings": ["POST"],
    "/api/create": ["POST"],
    "/api/copy": ["POST"],
    "/api/push": ["POST"],
    "/api/delete": ["DELETE"],
    "/api/blobs/{digest}": ["HEAD", "POST"],
    "/api/me": ["POST"],
    "/api/signout": ["POST"],
    "/api/user/keys/{key}": ["DELETE"],
    "/api/experimental/web_search": ["POST"],
    "/api/experimental/web_fetch": ["POST"],
    "/api/experimental/model-recommendations": ["GET"],
    "/v1/chat/completions": ["POST"],
    "/v1/completions": ["POST"],
    "/v1/embeddings": ["POST"],
    "/v1/responses": ["POST"],
    "/v1/audio/transcriptions": ["POST"],
    "/v1/messages": ["POST"],
    "/v1/models": ["GET"],
    "/v1/models/{model}": ["GET"],
}


def create_app(recordings: Path | str | None = None, speed: float = 1.0) -> Starlette:
    """The server as an ASGI application.

    `recordings` is a folder of `*.ndjson` (None: those of llamalab), `speed` a multiple of
    their pace, 0 for no pauses. Raises `recordings.BadRecording` for one that is broken.
    """
    running = Route("/api/ps", ps)
    running.methods = {"GET"}  # no HEAD here, which Starlette adds to every GET
    routes = [
        Route("/", root),
        Route("/api/version", version),
        Route("/api/tags", tags),
        running,
        Route("/api/generate", answer, methods=["POST"]),
        Route("/api/chat", answer, methods=["POST"]),
        Route("/api/show", show, methods=["POST"]),
        Route("/api/pull", pull, methods=["POST"]),
        *(Route(path, absent, methods=methods) for path, methods in ABSENT.items()),
    ]
    handlers = {404: no_such_path, 405: wrong_method, Refusal: refused, Exception: failed}
    app = Starlette(routes=routes, middleware=[Middleware(Guard)], exception_handlers=handlers)
    app.router.redirect_slashes = False  # `no_such_path` does it Ollama's way
    app.state.source = Replay(read_folder(Path(recordings or FOLDER)), speed)
    return app


# ---- endpoints


async def root(request: Request) -> Response:
    return Response("Ollama is running", media_type="text/plain; charset=utf-8")


async def version(request: Request) -> Response:
    return json_response({"version": protocol.VERSION})


async def tags(request: Request) -> Response:
    return json_response({"models": request.app.state.source.models()})


async def ps(request: Request) -> Response:
    return json_response({"models": request.app.state.source.running()})


async def answer(request: Request) -> Response:
    """/api/generate and /api/chat, streamed or whole; the checks in Ollama's order."""
    path, source = request.url.path, request.app.state.source
    asked = protocol.read_request(path, await read_body(request))
    model = asked.get("model", "")
    protocol.check_model_name(path, model)
    if not source.has(model):
        raise protocol.not_found(model)
    protocol.check_raw(asked)
    protocol.check_options(asked.get("options", {}))
    if protocol.is_empty(path, asked):
        return json_response(await source.load(path, asked))
    lines = source.answer(path, asked)
    if asked.get("stream", True):
        return Records(lines)
    records = await while_connected(request.receive, collect(lines))
    whole = protocol.whole(records or [{"error": "the reader has gone"}])
    return json_response(whole, 500 if "error" in whole else 200)


async def show(request: Request) -> Response:
    asked = protocol.read_request("/api/show", await read_body(request))
    model = asked.get("model") or asked.get("name", "")
    protocol.check_model_name("/api/show", model)
    if not request.app.state.source.has(model):
        raise protocol.not_found(protocol.short_name(model))
    return json_response(request.app.state.source.show(model))


async def pull(request: Request) -> Response:
    asked = protocol.read_request("/api/pull", await read_body(request))
    model = asked.get("model") or asked.get("name", "")
    protocol.check_model_name("/api/pull", model)
    lines = request.app.state.source.pull(model)
    if asked.get("stream", True):
        return Records(lines)
    last = (await collect(lines))[-1]
    return json_response(last, 500 if "error" in last else 200, BARE_JSON)


async def absent(request: Request) -> Response:
    what = f"llamalab's built-in server does not do {request.url.path}; a real Ollama does"
    raise Refusal(501, what)


# ---- requests and responses


async def read_body(request: Request) -> bytes:
    """The body, read to its end even where it is too long: who still sends does not listen."""
    body, size = bytearray(), 0
    async for piece in request.stream():
        size += len(piece)
        if size <= MAX_BODY:
            body += piece
    if size > MAX_BODY:
        raise Refusal(413, f"the request is {size} bytes long, the limit is {MAX_BODY}")
    return bytes(body)


def json_response(document: Any, status: int = 200, media_type: str = JSON) -> Response:
    return Response(gojson.dumps(document), status, media_type=media_type)


async def collect(lines: AsyncGenerator[bytes, None]) -> list[dict]:
    """The records of an answer, once they are all there."""
    async with aclosing(lines):
        return [gojson.decode(line) async for line in lines]


class Records:
    """The response that streams: one chunk a record, the status line with the first of them.

    An error before the first record has a status of its own; after it, it is the last record.
    """

    def __init__(self, lines: AsyncGenerator[bytes, None]):
        self.lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await while_connected(receive, self.send_all(scope, receive, send))

    async def send_all(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        try:
            async with aclosing(self.lines) as lines:
                async for line in lines:
                    if not started:
                        await send(start())
                        started = True
                    await send(chunk(line))
                    await asyncio.sleep(0)  # a source in full flow keeps nobody waiting
        except Refusal as refusal:
            error = {"error": refusal.text}
            if not started:
                response = json_response(error, refusal.status, BARE_JSON)
                return await response(scope, receive, send)
            await send(chunk(gojson.dumps(error) + b"\n"))
        await send(chunk(b"", more=False))


def start() -> Message:
    """The status line; a new list of headers each time, since `Guard` adds to it."""
    headers = [(b"content-type", b"application/x-ndjson")]
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


# ---- refusals


async def refused(request: Request, refusal: Refusal) -> Response:
    return json_response({"error": refusal.text}, refusal.status)


async def no_such_path(request: Request, error: Exception) -> Response:
    """404; but where the path has one slash too many, the way to the right one."""
    path = request.scope["path"]
    right = path[:-1]
    if not path.endswith("/") or find_route({**request.scope, "path": right})[0] is not Match.FULL:
        return plain_text("404 page not found", 404)
    query = f"?{request.url.query}" if request.url.query else ""
    location = {"Location": quote(right) + query}
    if request.method not in ("GET", "HEAD"):
        return Response(status_code=307, headers=location)
    link = f'<a href="{location["Location"]}">Moved Permanently</a>.\n\n'.replace("&", "&amp;")
    return Response(link, 301, headers=location, media_type="text/html; charset=utf-8")


async def wrong_method(request: Request, error: Exception) -> Response:
    return plain_text("405 method not allowed", 405, allow(request.scope))


async def failed(request: Request, error: Exception) -> Response:
    """What nobody foresaw: said to the client, and kept in the log."""
    logging.getLogger(__name__).error("%s failed", request.url.path, exc_info=error)
    return json_response({"error": f"llamalab's built-in server failed: {error!r}"}, 500)


def plain_text(text: str, status: int, headers: dict[str, str] | None = None) -> Response:
    """Without `charset`, which Starlette would add to a media type of text."""
    return Response(text, status, headers={"Content-Type": "text/plain", **(headers or {})})
