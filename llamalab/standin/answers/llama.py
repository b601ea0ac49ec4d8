"""llama.cpp in this process, through xllamacpp: its settings, and why it failed.

It listens on loopback, on a port and behind a key made afresh with each load. It is silent (else
it writes to the terminal, beneath Python); where it cannot load a model, a process of its own
tries once more, aloud, and its words go to the log.
"""

import contextlib
import ctypes
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import psutil

from llamalab.standin.answers import builtin_model
from llamalab.standin.ollama.protocol import Refusal

SLOTS = 8  # readers who are answered at the same time; others wait
CONTEXT = 2048  # tokens of prompt and answer, for each reader; what Ollama calls num_ctx
RESTING = 5.0  # seconds, for an engine that is to end
SILENT, ALOUD = -1, 2


def log_file() -> Path:
    """Where llama.cpp's words are, once it could not load a model."""
    return builtin_model.folder() / "engine.log"


def start(file: Path) -> tuple[Any, str]:
    """Load a model and listen: the server, which lives as long as it is referred to, and its key.

    It takes a quarter of a second, in which xllamacpp holds Python's lock. Raises `Refusal`.
    """
    key = secrets.token_urlsafe(24)
    try:
        xllamacpp = import_xllamacpp()
        return xllamacpp.Server(settings(xllamacpp, file, key)), key
    except (RuntimeError, ImportError) as error:  # which say only that it failed
        raise Refusal(500, f"error loading model: {why_not(file) or error}") from None


def comes_to_rest(url: str, key: str) -> bool:
    """Whether the engine has nothing to do any more, within `RESTING` seconds.

    It hears that a reader has left once it has read a prompt, which may take a big model minutes.
    """
    end = time.monotonic() + RESTING
    while (left := end - time.monotonic()) > 0:
        try:
            headers = {"Authorization": f"Bearer {key}"}
            slots = httpx.get(f"{url}/slots", headers=headers, timeout=left, trust_env=False).json()
            if not any(slot["is_processing"] for slot in slots):
                return True
        except httpx.ConnectError:
            return True  # it is not there any more
        except (httpx.HTTPError, ValueError, TypeError, KeyError):
            pass
        time.sleep(0.02)
    return False


def leave(server: Any) -> None:
    """Never end this engine: to end it while it works stops all of Python until it has done.

    Its memory is lost, and its threads end with the process.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(server))


def import_xllamacpp() -> ModuleType:
    """The library, told to be a good neighbour.

    Its threads wait for one another by spinning. Where another program has a core, they spin
    most of the time away: 13 tokens/s instead of 80 were measured beside one busy process, 26
    with a short spin, which costs nothing on a quiet machine. GNU's OpenMP reads the setting
    once, when it is loaded.
    """
    ours = not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
    if ours:
        os.environ["GOMP_SPINCOUNT"] = "1000"
    try:
        import xllamacpp
    finally:
        if ours:
            del os.environ["GOMP_SPINCOUNT"]
    return xllamacpp


def settings(xllamacpp: ModuleType, file: Path, key: str, verbosity: int = SILENT) -> Any:
    """Eight readers, 2048 tokens each, in some 400 MB altogether."""
    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.hostnames = ["127.0.0.1"]
    params.api_keys = [key]
    params.verbosity, params.ui = verbosity, False
    # Each reader has a context of its own: one shared by all fails for all when it is full.
    params.n_parallel, params.n_ctx, params.kv_unified = SLOTS, SLOTS * CONTEXT, False
    # Keys and values in 8 bits: 200 MB instead of 380, and no worse an answer.
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_Q8_0
    params.cache_ram_mib = 0  # no second cache of up to 8 GB beside it
    # A long prompt holds up the others for a batch at most (but is read to its end, cancelled
    # or not).
    params.n_batch = params.n_ubatch = 128
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads()
    params.n_threads_http = 8 * SLOTS  # each open connection keeps one busy, also one that waits
    params.fit_params = params.warmup = False  # 0.25 s to load instead of 0.45
    return params


def threads() -> int:
    """One for each physical core that this process may use; more only wait for one another."""
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = min(cores, len(os.sched_getaffinity(0)))
    with contextlib.suppress(OSError, ValueError):  # in a container: "200000 100000", or "max ..."
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, int(quota) // int(period))
    return max(1, cores)


def why_not(file: Path) -> str:
    """llama.cpp's own reason, which only a louder second try tells; all it says is in the log."""
    code = (
        "import sys, pathlib\n"
        "from llamalab.standin.answers.llama import ALOUD, import_xllamacpp, settings\n"
        "library = import_xllamacpp()\n"
        "library.Server(settings(library, pathlib.Path(sys.argv[1]), '', ALOUD))\n"
    )
    with contextlib.suppress(subprocess.TimeoutExpired, OSError):
        said = subprocess.run(
            [sys.executable, "-c", code, str(file)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=60,
        ).stderr
        log_file().parent.mkdir(parents=True, exist_ok=True)
        log_file().write_text(said, encoding="utf-8")
        for line in said.splitlines():
            if "error loading model" in line:
                reason = line.rpartition("error loading model: ")[2].strip()
                return f"{reason} (more in {log_file()})"
    return ""
