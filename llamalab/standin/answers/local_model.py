"""A model on this machine: a GGUF file, and llama.cpp to run it while somebody reads."""

import asyncio
import contextlib
import hashlib
import importlib.util
import math
import os
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

from llamalab.errors import LlamalabError
from llamalab.standin.answers import builtin_model, engine, gguf
from llamalab.standin.answers.endpoint import Endpoint, EngineGone
from llamalab.standin.answers.engine import Engine
from llamalab.standin.answers.live import LiveModel
from llamalab.standin.ollama import protocol
from llamalab.standin.ollama.protocol import Refusal

KEEP_ALIVE = 300.0  # seconds an idle model stays in memory, as Ollama's


class LocalModel(LiveModel):
    """A GGUF file on this machine, run by llama.cpp (xllamacpp) in a separate process."""

    def __init__(self, name: str, file: Path, pulled: bool = False):
        self.name, self.file = name, file
        self._pulled = pulled  # the file is the one that `builtin_model` keeps
        self._engine: Engine | None = None
        self._loaded_item: dict = {}  # as it was when it was loaded: the file may change
        self._watching: asyncio.Task | None = None
        self._loading = asyncio.Lock()
        self._readers = 0
        self._keep_alive = KEEP_ALIVE
        self._timer: asyncio.Task | None = None
        self._expires = 0  # ns since 1970

    def here(self) -> bool:
        return self.file.is_file() and has_engine()

    def item(self) -> dict:
        header = self._header()  # first: it says what is wrong with a file
        status = self.file.stat()
        with self.file.open("rb") as opened:  # hashing the complete file would take seconds
            digest = hashlib.sha256(opened.read(2**20) + str(status.st_size).encode())
        name = protocol.short_name(self.name)
        return {
            "name": name,
            "model": name,
            "modified_at": protocol.local_time(status.st_mtime_ns),
            "size": status.st_size,
            "digest": digest.hexdigest(),
            "details": gguf.details(header),
            "capabilities": ["completion"],
        }

    def show(self, model: str = "") -> dict:
        item, header = self.item(), self._header()
        return {
            "license": str(header.get("general.license", "unknown")),
            "modelfile": f"# {item['name']}, served by llamalab\nFROM {self.file.name}\n",
            "template": str(header.get("tokenizer.chat_template", "")),
            "details": item["details"],
            "model_info": {k: v for k, v in header.items() if k != "tokenizer.chat_template"},
            "capabilities": item["capabilities"],
            "modified_at": item["modified_at"],
        }

    def running(self) -> list[dict]:
        if self._engine is None:
            return []
        item = self._loaded_item
        for key in ("context_length", "embedding_length"):
            item["details"].pop(key, None)
        return [
            {key: item[key] for key in ("name", "model", "size", "digest", "details")}
            | {"expires_at": protocol.local_time(self._expires), "size_vram": 0}
            | {"context_length": engine.CONTEXT}
        ]

    @contextlib.asynccontextmanager
    async def use(self, keep_alive: float | None) -> AsyncIterator[Endpoint]:
        self._keep_alive = KEEP_ALIVE if keep_alive is None else keep_alive
        self._readers += 1
        try:
            # Shielded, here and below: a thread goes on when the reader who began it has gone.
            yield await asyncio.shield(self._loaded())
        except EngineGone:
            if self._engine:  # the next request should find out that it needs a new one
                await asyncio.to_thread(self._engine.settle)
            raise
        finally:
            self._readers -= 1
            await asyncio.shield(self._let_go())

    async def unload(self) -> None:
        self._keep_alive = 0.0
        await asyncio.shield(self._let_go())

    async def pull(self, model: str) -> AsyncGenerator[dict, None]:
        yield {"status": "pulling manifest"}
        if not has_engine():
            yield {
                "error": "pull model manifest: no engine: xllamacpp has no wheel for this machine"
            }
            return
        if self._pulled:
            digest = f"sha256:{builtin_model.SHA256}"
            layer = {"status": f"pulling {builtin_model.SHA256[:12]}", "digest": digest}
            try:
                async for done, total in progress_of(builtin_model.pull):
                    yield {**layer, "total": total, **({"completed": done} if done else {})}
            except LlamalabError as error:
                yield {"error": f"pull model manifest: {error.why or error.what}; {error.do}"}
                return
            yield {"status": "verifying sha256 digest"}
            yield {"status": "writing manifest"}
        yield {"status": "success"}

    async def close(self) -> None:
        if self._timer:
            self._timer.cancel()
        async with self._loading:  # an engine that is still loading has to be stopped, too
            await asyncio.to_thread(self._stop)

    def _header(self) -> dict:
        try:
            return gguf.read_header(self.file)
        except (OSError, ValueError) as error:
            raise Refusal(500, f"error loading model: {error}") from None

    async def _loaded(self) -> Endpoint:
        async with self._loading:
            if self._timer:
                self._timer.cancel()
            if self._engine is None or not self._engine.alive:
                self._engine = await asyncio.to_thread(self._start)
                self._watching = asyncio.create_task(self._engine.watch())
            self._expire_in(self._keep_alive)
            return self._engine.endpoint

    async def _let_go(self) -> None:
        """Unload, now or when the model has been idle long enough, unless somebody reads."""
        async with self._loading:
            if self._readers:
                return
            self._expire_in(self._keep_alive)
            if self._timer:
                self._timer.cancel()
            if self._keep_alive == 0:
                await asyncio.to_thread(self._stop)
            elif math.isfinite(self._keep_alive):
                self._timer = asyncio.create_task(self._unload_later(self._keep_alive))

    async def _unload_later(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        async with self._loading:
            if self._readers == 0:
                await asyncio.to_thread(self._stop)

    def _expire_in(self, seconds: float) -> None:
        forever = 2**63 - 1  # ns: what Ollama shows for it, some 292 years
        self._expires = time.time_ns() + (int(seconds * 1e9) if seconds < 9e9 else forever)

    def _start(self) -> Engine:
        """Load the model, once it is known to be one."""
        self._stop()
        self._loaded_item = self.item()
        if self._pulled and not builtin_model.is_whole(self.file):
            what = f"{self.file} has changed; {builtin_model.PULL}"
            raise Refusal(500, f"error loading model: {what}")
        try:
            return Engine(self.file)
        except OSError as error:  # no more processes, files or memory to be had
            raise Refusal(500, f"error loading model: {error}") from None

    def _stop(self) -> None:
        if self._engine is not None:
            self._engine.stop()
            self._engine = None


async def progress_of(pull: Callable[..., Any]) -> AsyncGenerator[tuple[int, int], None]:
    """What a blocking `pull(progress, cancelled)` reports, while it runs in a thread.

    Closing this generator cancels the pull.
    """
    reports: asyncio.Queue = asyncio.Queue()
    loop, cancelled = asyncio.get_running_loop(), threading.Event()

    def report(done: int, total: int) -> None:
        loop.call_soon_threadsafe(reports.put_nowait, (done, total))

    pulling = asyncio.ensure_future(asyncio.to_thread(pull, report, cancelled))
    pulling.add_done_callback(lambda _: reports.put_nowait(None))
    # Read even if nothing waits for it any more, else asyncio prints it.
    pulling.add_done_callback(lambda _: pulling.cancelled() or pulling.exception())
    try:
        while (reported := await reports.get()) is not None:
            yield reported
        pulling.result()  # raises what the pull has raised
    finally:
        cancelled.set()


def has_engine() -> bool:
    """Whether xllamacpp is installed: it has wheels for most machines, not for Intel Macs."""
    return importlib.util.find_spec("xllamacpp") is not None


def local_model() -> LocalModel:
    """The model in the box, or the file that LLAMALAB_MODEL names, under the file's name."""
    other = os.environ.get("LLAMALAB_MODEL", "").strip()
    if other:
        return LocalModel(protocol.name_of(other), Path(os.path.expanduser(other)))
    return LocalModel(builtin_model.NAME, builtin_model.model_path(), pulled=True)
