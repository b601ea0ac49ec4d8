"""Who answers: the one seam between the protocol (`app`) and where the text comes from.

Today recordings answer. An engine is one more class with the methods of `Source`, and whoever
tries recordings first and the engine next is a third.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from typing import Protocol

from llamalab.server import gojson, protocol
from llamalab.server.recordings import Recording, schedule

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

    def pull(self, model: str) -> AsyncGenerator[bytes, None]:
        """The lines of progress while the model is fetched; an `{"error": ...}` line ends it."""


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

    async def answer(self, path: str, request: dict) -> AsyncGenerator[bytes, None]:
        protocol.check_format(request)
        recording = next((r for r in self.recordings if r.answers(path, request)), None)
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
        prompts = [r.prompt for r in self._of(model) if r.path == path]
        known = ", ".join(map(_shown, prompts)) or "nothing"
        return protocol.Refusal(
            404,
            f"model '{model}' is here only as recordings, and this request is not among them. "
            f"Recorded for {path}: {known}",
        )


def _shown(prompt: str) -> str:
    return gojson.quote(prompt if len(prompt) <= 60 else f"{prompt[:57]}...")
