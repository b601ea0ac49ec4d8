"""The OpenAI protocol's endpoints, which Ollama has beside its own.

/v1/chat/completions and /v1/models, for programs that know no other protocol. Errors have
another form here, and answers in one piece end in a newline.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llamalab.standin.http.dial import source_of
from llamalab.standin.http.responses import (
    BARE_JSON,
    JSON,
    Records,
    collect,
    read_body,
    while_connected,
)
from llamalab.standin.ollama import gojson, openai, protocol
from llamalab.standin.ollama.protocol import Refusal

ANSWER_ID = "chatcmpl-0"  # Ollama draws a number; here a replay is the same each time
KINDS = {400: "invalid_request_error", 404: "not_found_error"}


async def completions(request: Request) -> Response:
    """/v1/chat/completions, streamed (server-sent events) or in one piece."""
    source = source_of(request.scope)
    try:
        asked = await read_body(request, gojson.decode)
        chat = openai.chat_request(asked)
    except gojson.NotJson as error:
        return refused(Refusal(400, str(error).replace("missing request body", "EOF")), JSON)
    except Refusal as refusal:
        return refused(refusal, JSON)
    try:
        if not source.has(chat["model"]):
            raise protocol.not_found(chat["model"])
        protocol.check_options(chat.get("options", {}))
        chunks = openai.chunks(source.answer("/api/chat", chat), ANSWER_ID)
        if asked.get("stream"):
            return Events(events(chunks, (asked.get("stream_options") or {}).get("include_usage")))
        whole = await while_connected(request.receive, collect(chunks))
        return one_piece(openai.completed(whole)) if whole else Response(status_code=499)
    except Refusal as refusal:
        return refused(refusal)


async def models(request: Request) -> Response:
    data = [described(item) for item in request.app.state.source.models()]
    return one_piece({"object": "list", "data": data})


async def model(request: Request) -> Response:
    name = protocol.short_name(request.path_params["model"])
    for item in request.app.state.source.models():
        if protocol.canonical(item["name"]) == protocol.canonical(name):
            return one_piece(described(item))
    return refused(protocol.not_found(name))


ROUTES = [
    Route("/v1/chat/completions", completions, methods=["POST"]),
    Route("/v1/models", models),
    Route("/v1/models/{model:path}", model),
]


class Events(Records):
    """The response that streams server-sent events."""

    media_type = "text/event-stream"

    def refused(self, refusal: Refusal) -> Response:
        return refused(refusal)

    def broken(self, refusal: Refusal) -> bytes:
        return event(error_of(refusal))


async def events(chunks: AsyncGenerator[dict, None], with_usage: bool) -> AsyncGenerator:
    """The chunks as events; the one with the usage only for a client that has asked for it."""
    ended = False
    async with aclosing(chunks):
        async for chunk in chunks:
            ended = ended or any(choice["finish_reason"] for choice in chunk["choices"])
            if with_usage or chunk["choices"]:
                yield event(chunk)
    if ended:  # else the answer was cut off, as by the fault "no-done"
        yield b"data: [DONE]\n\n"


def event(document: dict) -> bytes:
    return b"data: " + gojson.dumps(document) + b"\n\n"


def one_piece(document: dict) -> Response:
    return Response(gojson.dumps(document) + b"\n", media_type=BARE_JSON)


def refused(refusal: Refusal, media_type: str = BARE_JSON) -> Response:
    body = gojson.dumps(error_of(refusal)) + (b"\n" if media_type == BARE_JSON else b"")
    return Response(body, refusal.status, media_type=media_type)


def error_of(refusal: Refusal) -> dict[str, Any]:
    kind = KINDS.get(refusal.status, "api_error")
    return {"error": {"message": refusal.text, "type": kind, "param": None, "code": None}}


def described(item: dict) -> dict[str, Any]:
    """An item of /v1/models from one of /api/tags."""
    created = int(datetime.fromisoformat(item["modified_at"][:19]).timestamp())
    return {"id": item["name"], "object": "model", "created": created, "owned_by": "library"}
