"""Routes and statuses: Ollama's HTTP, answered by a `Source`.

Decided here and nowhere else: which paths and methods there are, in which order a request is
checked, and when the status line goes out, which is with the first record and not before.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from llamalab.standin.answers.recordings import FOLDER, read_folder
from llamalab.standin.answers.replay import Replay
from llamalab.standin.answers.source import RecordingsFirst, Source
from llamalab.standin.http import openai_routes
from llamalab.standin.http.dial import Dial, check_name, source_of
from llamalab.standin.http.guard import Guard, allow, find_route
from llamalab.standin.http.responses import (
    BARE_JSON,
    Records,
    collect,
    error_response,
    json_response,
    read_body,
    while_connected,
)
from llamalab.standin.ollama import gojson, protocol
from llamalab.standin.ollama.protocol import Refusal

if TYPE_CHECKING:  # it needs httpx, which a page does without
    from llamalab.standin.answers.live import LiveModel

# What Ollama has and this server has not.
ABSENT = {
    "/api/embed": ["POST"],
    "/api/embeddings": ["POST"],
    "/api/create": ["POST"],
    "/api/push": ["POST"],
    "/api/blobs/{digest}": ["HEAD", "POST"],
    "/v1/completions": ["POST"],
    "/v1/embeddings": ["POST"],
    "/v1/responses": ["POST"],
    "/v1/messages": ["POST"],
}


def create_app(
    recordings: Path | str | Sequence[Path] = FOLDER,
    speed: float = 1.0,
    engine: "LiveModel | None" = None,
    fault: str | None = None,
) -> Starlette:
    """The server as an ASGI application.

    `recordings` is a folder of `*.ndjson`, or several: the first one that has an answer gives it.
    `speed` is a multiple of their pace, 0 for no pauses; `engine` is the model that answers what
    is not recorded; `fault` names one of `faults.FAULTS`, which breaks each answer. Raises
    `recordings.BadRecording` for one that is broken, ValueError for a fault that is not there.
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
        Route("/api/copy", absent_for_a_model, methods=["POST"]),
        Route("/api/delete", absent_for_a_model, methods=["DELETE"]),
        *openai_routes.ROUTES,
        *(Route(path, absent, methods=methods) for path, methods in ABSENT.items()),
    ]
    handlers = {404: no_such_path, 405: wrong_method, Refusal: refused, Exception: failed}
    folders = [recordings] if isinstance(recordings, (str, Path)) else recordings
    source: Source = Replay([r for folder in folders for r in read_folder(Path(folder))], speed)
    if engine is not None:
        source = RecordingsFirst(source, engine, engine.name)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await source.close()

    check_name(fault)
    before = [Middleware(Guard), Middleware(Dial, fault=fault)]
    app = Starlette(
        routes=routes, middleware=before, exception_handlers=handlers, lifespan=lifespan
    )
    app.router.redirect_slashes = False  # `no_such_path` does it Ollama's way
    app.state.source = source
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
    path, source = request.scope["path"], source_of(request.scope)
    asked = await read_body(request, partial(protocol.read_request, path))
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
    lines = await while_connected(request.receive, collect(lines))
    records = [gojson.decode(line) for line in lines or []]
    whole = protocol.whole(records or [{"error": "the reader has gone"}])
    return json_response(whole, 500 if "error" in whole else 200)


async def show(request: Request) -> Response:
    asked = await read_body(request, partial(protocol.read_request, "/api/show"))
    model = asked.get("model") or asked.get("name", "")
    protocol.check_model_name("/api/show", model)
    if not request.app.state.source.has(model):
        raise protocol.not_found(protocol.short_name(model))
    return json_response(request.app.state.source.show(model))


async def pull(request: Request) -> Response:
    asked = await read_body(request, partial(protocol.read_request, "/api/pull"))
    model = asked.get("model") or asked.get("name", "")
    protocol.check_model_name("/api/pull", model)
    lines = as_lines(request.app.state.source.pull(model))
    if asked.get("stream", True):
        return Records(lines)
    lines = await while_connected(request.receive, collect(lines))
    last = gojson.decode((lines or [b'{"error":"the reader has gone"}'])[-1])
    return json_response(last, 500 if "error" in last else 200, BARE_JSON)


async def as_lines(records: AsyncGenerator[dict, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(records):
        async for record in records:
            yield gojson.dumps(record) + b"\n"


async def absent(request: Request) -> Response:
    raise Refusal(501, f"llamalab's built-in server does not do {request.url.path}")


async def absent_for_a_model(request: Request) -> Response:
    """/api/delete and /api/copy: a client learns first that a model is not here."""
    asked = await read_body(request, partial(protocol.read_request, request.scope["path"]))
    model = asked.get("model") or asked.get("name") or asked.get("source", "")
    if not request.app.state.source.has(model):
        raise protocol.not_found(model)
    return await absent(request)


# ---- refusals


async def refused(request: Request, refusal: Refusal) -> Response:
    return error_response(refusal.status, refusal.text)


async def no_such_path(request: Request, error: Exception) -> Response:
    """404; but where the path has one slash too many, the way to the right one."""
    path = request.scope["path"]
    right = path[:-1]
    if not path.endswith("/") or find_route({**request.scope, "path": right})[0] is not Match.FULL:
        return plain_text("404 page not found", 404)
    query = f"?{request.url.query}" if request.url.query else ""
    location = {"Location": quote(request.scope["root_path"] + right) + query}
    if request.method not in ("GET", "HEAD"):
        return Response(status_code=307, headers=location)
    link = f'<a href="{location["Location"]}">Moved Permanently</a>.\n\n'.replace("&", "&amp;")
    return Response(link, 301, headers=location, media_type="text/html; charset=utf-8")


async def wrong_method(request: Request, error: Exception) -> Response:
    return plain_text("405 method not allowed", 405, allow(request.scope))


async def failed(request: Request, error: Exception) -> Response:
    """A fault of ours: said to the client, and kept in the log."""
    logging.getLogger(__name__).error("%s failed", request.url.path, exc_info=error)
    return error_response(500, f"llamalab's built-in server failed: {error!r}")


def plain_text(text: str, status: int, headers: dict[str, str] | None = None) -> Response:
    """Without `charset`, which Starlette would add to a media type of text."""
    return Response(text, status, headers={"Content-Type": "text/plain", **(headers or {})})
