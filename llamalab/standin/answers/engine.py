"""llama.cpp in a separate process: started, watched, ended.

What hangs, crashes or swells takes only that process with it, and the answers that it was
writing. The process listens on loopback, on a port and with a key made for it.
"""

import asyncio
import contextlib
import json
import logging
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import psutil

from llamalab.standin import limits
from llamalab.standin.answers import builtin_model
from llamalab.standin.answers.endpoint import Endpoint
from llamalab.standin.ollama.protocol import Refusal

SLOTS = 8  # readers who are answered at the same time; others wait
CONTEXT = 1280  # tokens of prompt and answer, for each reader; what Ollama calls num_ctx
BEAT = 0.25  # seconds between two looks at the engine's memory


def settings(file: Path) -> dict:
    """What llama.cpp is told (`CommonParams` of xllamacpp), its own precision throughout.

    Keys and values stay in 16 bits: in 8 bits they take half the memory, but then this model
    answers most questions in other words than on a real Ollama. With the built-in model all of
    it takes some 400 MB.
    """
    return {
        "file": str(file),
        "threads": threads(),
        # Each reader has its own context: a shared one would fail for all when it is full.
        "n_parallel": SLOTS,
        "n_ctx": SLOTS * CONTEXT,
        "kv_unified": False,
        # A class asks the same question sixty times: the prompts read last are kept (a first
        # fragment comes after 0.03 s then, not after 0.06 s), in little memory.
        "cache_ram_mib": 24,
        # A long prompt holds up the others for a batch at most (but is read to its end,
        # cancelled or not).
        "n_batch": 128,
        "n_ubatch": 128,
        # Each open connection keeps a thread busy, also one that waits; `watch` needs one, too.
        "n_threads_http": limits.MAX_CONNECTIONS + SLOTS,
        "fit_params": False,
        "warmup": False,  # 0.25 s to load instead of 0.45
        "ui": False,
        "verbosity": 1,  # errors
    }


def threads() -> int:
    """One for each physical core that this process may use; more only wait for one another."""
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = min(cores, len(os.sched_getaffinity(0)))
    with contextlib.suppress(OSError, ValueError):  # in a container: "200000 100000", or "max ..."
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, int(quota) // int(period))
    return max(1, cores)


def log_file() -> Path:
    """Where llama.cpp's words are, once it could not load a model."""
    return builtin_model.folder() / "engine.log"


class Engine:
    """A running llama.cpp with one model; `endpoint` is where to ask it.

    The constructor waits until the model is loaded (0.4 s for the built-in one). Raises
    `Refusal` where it cannot be.
    """

    def __init__(self, file: Path):
        self._size = file.stat().st_size
        self._ended = False
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the process
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("engine_child.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment(),
            encoding="utf-8",
            **own_process_group(),
        )
        key = secrets.token_urlsafe(24)
        url = self._load({**settings(file), "key": key})
        self.endpoint = Endpoint(url, key, context=CONTEXT)
        process = psutil.Process(self._process.pid)
        self._processes = [process, *process.children()]  # Windows: Python's launcher has a child
        self._may_take = max(self._size, self.memory()) + limits.ENGINE_GROWTH

    @property
    def alive(self) -> bool:
        return not self._ended and self._process.poll() is None

    @property
    def patience(self) -> float:
        """Seconds for a sign of life: 10, and more for a larger model, which reads slower."""
        return max(limits.ENGINE_SILENCE, self._size / limits.ENGINE_BYTES_PER_SECOND)

    def stop(self) -> None:
        """End it at once; all its memory is given back. Stopping twice is safe."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            with contextlib.suppress(OSError):  # what stdin still holds has no reader
                pipe.close()

    def settle(self) -> None:
        """Wait a moment for it to be gone: its connections break before its process has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.5)

    def memory(self) -> int:
        """Its resident memory in bytes; 0 where it cannot be known, as once it has ended."""
        with contextlib.suppress(psutil.Error, OSError):
            return sum(process.memory_info().rss for process in self._processes)
        return 0

    def seconds_worked(self) -> float:
        """The processor time it has used; 0 where it cannot be known, as once it has ended."""
        with contextlib.suppress(psutil.Error, OSError):
            return sum(sum(process.cpu_times()[:2]) for process in self._processes)
        return 0

    async def watch(self) -> None:
        """Return once it has ended; it is ended here where it hangs or swells.

        Those who read then get Ollama's error record, and the next request a new engine.
        """
        await asyncio.gather(self._watch_memory(), self._watch_loop())

    async def _watch_memory(self) -> None:
        while self.alive:
            if (taken := self.memory()) > self._may_take:
                self._end(f"it takes {taken / 1e6:.0f} MB")
            await asyncio.sleep(BEAT)

    async def _watch_loop(self) -> None:
        """Its own loop answers /slots between two steps of its work; /health answers beside it."""
        silent, at_work, spent = 0, time.monotonic(), 0.0
        # Two silences of half the time: one alone may be ours, as when a laptop has slept.
        async with self.endpoint.client(timeout=self.patience / 2) as client:
            while self.alive:
                await asyncio.sleep(4 * BEAT)
                try:
                    slots = (await client.get("/slots")).json()
                    silent = 0
                except httpx.TimeoutException:
                    silent += 1
                    if silent == 2:
                        self._end(f"it has not answered for {self.patience:g} s")
                    continue
                except (httpx.HTTPError, ValueError):
                    continue  # it has just ended
                # A request may also hang before it has a slot: a thread then works for it.
                before, spent = spent, self.seconds_worked()
                if any(slot["is_processing"] for slot in slots) or spent - before < 2 * BEAT:
                    at_work = time.monotonic()
                elif time.monotonic() - at_work > self.patience:
                    self._end(f"it has worked for {self.patience:g} s, and for no answer")

    def _end(self, why: str) -> None:
        logging.getLogger(__name__).error("the engine is ended: %s", why)
        self._ended = True
        self._process.kill()

    def _load(self, wanted: dict) -> str:
        """Its address, once it listens."""
        too_long = threading.Timer(max(60, 6 * self.patience), self._process.kill)
        too_long.start()
        try:
            with contextlib.suppress(OSError):  # it has ended already
                self._process.stdin.write(json.dumps(wanted) + "\n")
                self._process.stdin.flush()
            url = self._process.stdout.readline().strip()
        finally:
            too_long.cancel()
        if not url:
            why = self._why_not()
            self.stop()
            raise Refusal(500, f"error loading model: {why}")
        return url

    def _why_not(self) -> str:
        """llama.cpp's own reason; all it said is in the log."""
        code = self._process.wait()
        self._log.seek(0)
        said = self._log.read().decode("utf-8", "replace")
        with contextlib.suppress(OSError):
            log_file().parent.mkdir(parents=True, exist_ok=True)
            log_file().write_text(said, encoding="utf-8")
        reasons = [line for line in said.splitlines() if "error loading model: " in line]
        last = (said.strip().splitlines() or [f"the engine ended with code {code}"])[-1]
        reason = reasons[0].rpartition("error loading model: ")[2].strip() if reasons else last
        return f"{reason} (more in {log_file()})"


def environment() -> dict[str, str]:
    """The engine's environment.

    Its threads wait for one another by spinning. Where another program has a core, they spin
    most of the time away: 13 tokens/s instead of 80 were measured beside one busy process, 26
    with a short spin, which costs nothing on a quiet machine (GNU's OpenMP).
    """
    known = dict(os.environ)
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & known.keys():
        known["GOMP_SPINCOUNT"] = "1000"
    return known


def own_process_group() -> dict:
    """A Ctrl-C, and a notebook's interrupt, is for us and not for the engine."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}
