"""Recordings as a source: each line at the time at which it came when it was recorded."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator

from llamalab.standin.answers.recordings import Recording, schedule
from llamalab.standin.ollama import gojson, protocol

# What /api/tags tells about a model. How the recorded one was quantized is not known.
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

    def knows(self, path: str, request: dict) -> bool:
        return self._find(path, request) is not None

    async def answer(self, path: str, request: dict) -> AsyncGenerator[bytes, None]:
        protocol.check_format(request)
        recording = self._find(path, request)
        if recording is None:
            raise self._not_recorded(path, request)
        clock = asyncio.get_running_loop().time
        start = clock()
        for line, due in zip(recording.lines, schedule(recording.pauses, self.speed), strict=True):
            if (early := start + due - clock()) > 0:
                await asyncio.sleep(early)
            yield line

    async def pull(self, model: str) -> AsyncGenerator[dict, None]:
        yield {"status": "pulling manifest"}
        if self.has(model):
            yield {"status": "success"}  # nothing to fetch: no layers
        else:
            yield {"error": "pull model manifest: file does not exist"}

    async def close(self) -> None:
        pass

    def _find(self, path: str, request: dict) -> Recording | None:
        return next((r for r in self.recordings if r.answers(path, request)), None)

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

    def _not_recorded(self, path: str, request: dict) -> protocol.Refusal:
        model = request["model"]
        recordings = [recording for recording in self._of(model) if recording.path == path]
        known = ", ".join(map(_shown, dict.fromkeys(r.prompt for r in recordings))) or "nothing"
        text = f"model '{model}' is here only as recordings, and this request is not among them. "
        same = [r.differences(request) for r in recordings if r.asks_the_same(path, request)]
        if same:
            text += (
                f"This prompt is recorded, but with other fields: {', '.join(min(same, key=len))}. "
            )
        return protocol.Refusal(404, f"{text}Recorded for {path}: {known}")


def _shown(prompt: str) -> str:
    return gojson.quote(prompt if len(prompt) <= 60 else f"{prompt[:57]}...")
