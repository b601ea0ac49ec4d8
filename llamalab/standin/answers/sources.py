"""Who answers: the one seam between the protocol (`app`) and where the text comes from.

`Replay` answers with recordings, `Live` with a model, `Both` with a recording where there is one
and else with the model.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Protocol

from llamalab.standin.answers import translate
from llamalab.standin.answers.engine import Engine
from llamalab.standin.answers.recordings import Recording, schedule
from llamalab.standin.ollama import gojson, protocol

# What /api/tags tells about a model. Nobody knows how the recorded one was quantized.
UNKNOWN = {
    "family": "unknown",
    "families": ["unknown"],
    "parameter_size": "unknown",
    "quantization_level": "unknown",
}
# Public facts of Mistral-7B (config.json of https://huggingface.co/mistralai/Mistral-7B-v0.1).
MISTRAL = {
    "family": "mistral",
    "families": ["mistral"],
    "parameter_size": "7B",
    "quantization_level": "unknown",
    "context_length": 32768,
    "embedding_length": 4096,
}
FACTS = {"mistral:latest": MISTRAL}


class Source(Protocol):
    """Something that has models and answers for them.

    `path` is /api/generate or /api/chat, `request` what `protocol.read_request` made of the
    body, with the model's name checked; `model` is a name as a client writes it.
    """

    def has(self, model: str) -> bool:
        """Whether this source answers for `model`."""

    def models(self) -> list[dict]:
        """The items of /api/tags."""

    def running(self) -> list[dict]:
        """The items of /api/ps: the models in memory."""

    def show(self, model: str) -> dict:
        """The answer of /api/show for a model it has."""

    async def load(self, path: str, request: dict) -> dict:
        """Load or unload the model; the one record that says so."""

    def answer(self, path: str, request: dict) -> AsyncGenerator[bytes, None]:
        r"""The lines of an answer, one record and one `\n` each, as they come to be.

        Raises `protocol.Refusal`: before the first line it becomes the answer's status, after
        it a last line `{"error": ...}`. Closed or cancelled when the reader has gone.
        """

    def complete(self, model: str, request: dict) -> AsyncGenerator[dict, None]:
        """The chunks of a /v1/chat/completions stream. Raises `protocol.Refusal`."""

    def pull(self, model: str) -> AsyncGenerator[bytes, None]:
        """The lines of progress while the model is fetched; an `{"error": ...}` line ends it."""

    async def close(self) -> None:
        """The server ends."""


class Replay:
    """The source that answers with recordings, at `speed` times their pace (0: at once)."""

    def __init__(self, recordings: list[Recording], speed: float = 1.0):
        if not speed >= 0:
            raise ValueError("speed is a multiple of the recorded pace, or 0 for no pauses")
        self.recordings, self.speed = recordings, speed

    def has(self, model: str) -> bool:
        return bool(self._of(model))

    def models(self) -> list[dict]:
        items = [self._item(name) for name in sorted({r.model for r in self.recordings})]
        return sorted(items, key=lambda item: item["modified_at"][:19], reverse=True)

    def running(self) -> list[dict]:
        return []

    def show(self, model: str) -> dict:
        item = self._item(protocol.canonical(model))
        prompts = "\n".join(f"#   {r.path} {_shown(r.prompt)}" for r in self._of(model))
        return {
            "modelfile": f"# {item['name']} is here only as recordings:\n{prompts}\n",
            "details": item["details"],
            "model_info": {},
            "capabilities": item["capabilities"],
            "modified_at": item["modified_at"],
        }

    async def load(self, path: str, request: dict) -> dict:
        return protocol.loaded(path, request)

    def knows(self, path: str, request: dict) -> Recording | None:
        """The recording that answers just this request."""
        return next((r for r in self.recordings if r.answers(path, request)), None)

    async def answer(self, path: str, request: dict) -> AsyncGenerator[bytes, None]:
        protocol.check_format(request)
        recording = self.knows(path, request)
        if recording is None:
            raise self._not_recorded(path, request["model"])
        clock = asyncio.get_running_loop().time
        start = clock()
        for line, due in zip(recording.lines, schedule(recording.pauses, self.speed), strict=True):
            if (early := start + due - clock()) > 0:
                await asyncio.sleep(early)
            yield line

    async def pull(self, model: str) -> AsyncGenerator[bytes, None]:
        yield gojson.dumps({"status": "pulling manifest"}) + b"\n"
        if self.has(model):
            yield gojson.dumps({"status": "success"}) + b"\n"  # nothing to fetch: no layers
        else:
            yield gojson.dumps({"error": "pull model manifest: file does not exist"}) + b"\n"

    def knows_chat(self, model: str, request: dict) -> dict | None:
        """The recorded `/api/chat` request that asks what a /v1/chat/completions one asks."""
        with suppress(protocol.Refusal):  # what has no equal in Ollama's words is not recorded
            asked = protocol.read_fields("/api/chat", translate.chat_request(model, request))
            return asked if self.knows("/api/chat", asked) else None
        return None

    async def complete(self, model: str, request: dict) -> AsyncGenerator[dict, None]:
        asked = self.knows_chat(model, request)
        if asked is None:
            raise self._not_recorded("/v1/chat/completions", model)
        first = True
        async with aclosing(self.answer("/api/chat", asked)) as lines:
            async for line in lines:
                for chunk in translate.replayed(gojson.decode(line), first):
                    yield chunk
                first = False

    async def close(self) -> None:
        pass

    def _of(self, model: str) -> list[Recording]:
        name = protocol.canonical(model)
        return [recording for recording in self.recordings if recording.model == name]

    def _item(self, model: str) -> dict:
        recordings, name = self._of(model), protocol.short_name(model)
        content = b"".join(recording.content for recording in recordings)
        facts = FACTS.get(name, UNKNOWN)
        return {
            "name": name,
            "model": name,
            "modified_at": protocol.local_time(max(r.modified for r in recordings)),
            "size": len(content),
            "digest": hashlib.sha256(content).hexdigest(),
            "details": {"parent_model": "", "format": "recording", **facts},
            "capabilities": ["completion"],
        }

    def _not_recorded(self, path: str, model: str) -> protocol.Refusal:
        prompts = dict.fromkeys(r.prompt for r in self._of(model) if r.path == path)
        known = ", ".join(map(_shown, prompts)) or "nothing"
        return protocol.Refusal(
            404,
            f"model '{model}' is here only as recordings, and this request is not among them. "
            f"Recorded for {path}: {known}",
        )


class Live:
    """The source that answers with a model, which an engine runs."""

    def __init__(self, engine: Engine):
        self.engine = engine

    def has(self, model: str) -> bool:
        same = protocol.canonical(model) == protocol.canonical(self.engine.name)
        return same and self.engine.here()

    def models(self) -> list[dict]:
        with suppress(protocol.Refusal):  # a broken file says so to whoever asks it
            if self.engine.here():
                return [self.engine.item()]
        return []

    def running(self) -> list[dict]:
        return self.engine.running()

    def show(self, model: str) -> dict:
        return self.engine.show()

    async def load(self, path: str, request: dict) -> dict:
        if request.get("keep_alive") == 0:
            await self.engine.unload()
        else:
            async with self.engine.use(request.get("keep_alive")):
                pass
        return protocol.loaded(path, request)

    async def answer(self, path: str, request: dict) -> AsyncGenerator[bytes, None]:
        metrics = translate.Metrics(time.perf_counter_ns())
        model = request["model"]
        protocol.check_format(request)
        translate.check_abilities(model, request)
        async with self.engine.use(request.get("keep_alive")) as endpoint:
            metrics.loaded = time.perf_counter_ns()
            lines = translate.answer(endpoint, path, model, request, metrics)
            async with aclosing(lines):
                async for line in lines:
                    yield line

    async def complete(self, model: str, request: dict) -> AsyncGenerator[dict, None]:
        async with self.engine.use(None) as endpoint:
            chunks = translate.complete(endpoint, model, request)
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk

    async def pull(self, model: str) -> AsyncGenerator[bytes, None]:
        async with aclosing(self.engine.pull()) as records:
            async for record in records:
                yield gojson.dumps(record) + b"\n"

    async def close(self) -> None:
        await self.engine.close()


class Both:
    """Recordings first; what is not recorded, also of a recorded model, the live one answers.

    Its name is then in every record: nobody is told that another model has spoken.
    """

    def __init__(self, replay: "Replay", live: Live):
        self.replay, self.live = replay, live

    def has(self, model: str) -> bool:
        return self.replay.has(model) or self.live.has(model)

    def models(self) -> list[dict]:
        items = {item["name"]: item for item in [*self.replay.models(), *self.live.models()]}
        return sorted(items.values(), key=lambda item: item["modified_at"][:19], reverse=True)

    def running(self) -> list[dict]:
        return self.live.running()

    def show(self, model: str) -> dict:
        return self._owner(model).show(model)

    async def load(self, path: str, request: dict) -> dict:
        return await self._owner(request["model"]).load(path, request)

    def answer(self, path: str, request: dict) -> AsyncGenerator[bytes, None]:
        model = request["model"]
        if not self.replay.knows(path, request) and self.live.engine.here():
            name = model if self.live.has(model) else self.live.engine.name
            return self.live.answer(path, {**request, "model": name})
        return self.replay.answer(path, request)

    def complete(self, model: str, request: dict) -> AsyncGenerator[dict, None]:
        if self.replay.knows_chat(model, request) or not self.live.engine.here():
            return self.replay.complete(model, request)
        name = model if self.live.has(model) else self.live.engine.name
        return self.live.complete(name, request)

    def pull(self, model: str) -> AsyncGenerator[bytes, None]:
        mine = protocol.canonical(model) == protocol.canonical(self.live.engine.name)
        return self.live.pull(model) if mine else self.replay.pull(model)

    async def close(self) -> None:
        await self.live.close()

    def _owner(self, model: str) -> "Live | Replay":
        return self.live if self.live.has(model) else self.replay


def _shown(prompt: str) -> str:
    return gojson.quote(prompt if len(prompt) <= 60 else f"{prompt[:57]}...")
