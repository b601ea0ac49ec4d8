"""Who answers, as one protocol: recordings, a model on this machine, an engine elsewhere."""

from collections.abc import AsyncGenerator
from typing import Protocol

from llamalab.standin.ollama.protocol import canonical


class Source(Protocol):
    """Something that has models and answers for them.

    `path` is /api/generate or /api/chat, `request` what `protocol.read_request` made of the
    body, with the model's name checked; `model` is a name as a client writes it.
    """

    def has(self, model: str) -> bool:
        """Whether this source answers for `model`."""

    def knows(self, path: str, request: dict) -> bool:
        """Whether this source has an answer to just this request."""

    def models(self) -> list[dict]:
        """The items of /api/tags, the newest first."""

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

    def pull(self, model: str) -> AsyncGenerator[dict, None]:
        """The records of progress while the model is fetched; an `{"error": ...}` ends it."""

    async def close(self) -> None:
        """The server ends."""


class RecordingsFirst:
    """Recordings, and a model for what is not recorded, also where a recorded model was asked.

    The model's own name is then in every record: a reader sees that a different one has answered.
    """

    def __init__(self, recordings: Source, model: Source, name: str):
        self.recordings, self.model, self.name = recordings, model, name

    def has(self, model: str) -> bool:
        return self.recordings.has(model) or self.model.has(model)

    def knows(self, path: str, request: dict) -> bool:
        return self.recordings.knows(path, request) or self.model.knows(path, request)

    def models(self) -> list[dict]:
        items = {item["name"]: item for item in [*self.recordings.models(), *self.model.models()]}
        return sorted(items.values(), key=lambda item: item["modified_at"][:19], reverse=True)

    def running(self) -> list[dict]:
        return self.model.running()

    def show(self, model: str) -> dict:
        return self._owner(model).show(model)

    async def load(self, path: str, request: dict) -> dict:
        return await self._owner(request["model"]).load(path, request)

    def answer(self, path: str, request: dict) -> AsyncGenerator[bytes, None]:
        if self.recordings.knows(path, request) or not self.model.has(self.name):
            return self.recordings.answer(path, request)
        asked = request["model"]
        name = asked if self.model.has(asked) else self.name
        return self.model.answer(path, {**request, "model": name})

    def pull(self, model: str) -> AsyncGenerator[dict, None]:
        mine = canonical(model) == canonical(self.name)
        return (self.model if mine else self.recordings).pull(model)

    async def close(self) -> None:
        await self.model.close()

    def _owner(self, model: str) -> Source:
        return self.model if self.model.has(model) else self.recordings
