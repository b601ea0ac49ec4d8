"""A model that an engine runs, as a source: the same for llama.cpp here and an engine elsewhere.

The engine speaks the OpenAI protocol; it schedules, batches and caches. Nothing of that is done
here.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing, suppress

from llamalab.standin.answers import translate
from llamalab.standin.answers.endpoint import Endpoint, Unreachable
from llamalab.standin.ollama import protocol


class LiveModel(ABC):
    """What `local_model` and `remote_model` have in common, and what each of them adds."""

    name: str
    thinks = False  # whether a request may ask it to think

    # ---- what differs

    @abstractmethod
    def here(self) -> bool:
        """Whether it can answer."""

    @abstractmethod
    def item(self) -> dict:
        """Its item in /api/tags."""

    @abstractmethod
    def show(self, model: str = "") -> dict:
        """Its answer to /api/show."""

    @abstractmethod
    def use(self, keep_alive: float | None) -> AbstractAsyncContextManager[Endpoint]:
        """Where to ask it, loaded if need be and held until the end of the `async with`.

        `keep_alive` is how many seconds it then stays in memory (None: 5 minutes).
        """

    def running(self) -> list[dict]:
        return []

    async def unload(self) -> None:  # noqa: B027  an engine elsewhere keeps its model
        """Give its memory back, once all readers have left."""

    async def pull(self, model: str) -> AsyncGenerator[dict, None]:
        yield {"status": "pulling manifest"}
        yield {"status": "success"}  # it is there already

    async def close(self) -> None:  # noqa: B027
        """The server ends."""

    # ---- what is the same

    def has(self, model: str) -> bool:
        return protocol.canonical(model) == protocol.canonical(self.name) and self.here()

    def knows(self, path: str, request: dict) -> bool:
        return self.has(request["model"])

    def models(self) -> list[dict]:
        with suppress(protocol.Refusal):  # a broken file says so to those who ask it
            if self.here():
                return [self.item()]
        return []

    async def load(self, path: str, request: dict) -> dict:
        if request.get("keep_alive") == 0:
            await self.unload()
        else:
            async with self.use(request.get("keep_alive")):
                pass
        return protocol.loaded(path, request)

    async def answer(self, path: str, request: dict) -> AsyncGenerator[bytes, None]:
        for last_try in (False, True):
            try:
                async with aclosing(self._answer(path, request)) as lines:
                    async for line in lines:
                        yield line
                return
            except Unreachable:  # an engine that has just ended; a new one can start
                if last_try:
                    raise

    async def _answer(self, path: str, request: dict) -> AsyncGenerator[bytes, None]:
        metrics = translate.Metrics(time.perf_counter_ns())
        model = request["model"]
        protocol.check_format(request)
        translate.check_abilities(model, request, self.thinks)
        async with self.use(request.get("keep_alive")) as endpoint:
            metrics.loaded = time.perf_counter_ns()
            lines = translate.answer(endpoint, path, model, request, metrics)
            async with aclosing(lines):
                async for line in lines:
                    yield line
