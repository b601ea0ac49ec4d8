"""Whatever becomes of the engine, the server, its recordings and the next reader go on."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests
from patience import PATIENCE, eventually

from llamalab.standin import limits
from llamalab.standin.answers.engine import SLOTS
from llamalab.standin.answers.local_model import LocalModel
from llamalab.standin.ollama.protocol import DIED
from llamalab.standin.run import BuiltinServer

MODEL = "smollm2:135m"
RECORDED = {"model": "mistral", "prompt": "Are you listening?"}
# Seven kilobytes of which llama.cpp makes a grammar until it is stopped.
ENDLESS = {"anyOf": [{"type": "string", "pattern": "^" + "a?" * 95 + "$"}] * 30}
# Parts without an end: each definition names the next one twice.
CHAIN = {f"a{i}": {"anyOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(60)}
CHAIN["a60"] = {"type": "string"}
GREEDY = {
    "a bound of 2**63": {"type": "integer", "minimum": 2**63 - 1},
    "no such length": {"type": "string", "minLength": 5, "maxLength": 2},
    "no such number of items": {"type": "array", "minItems": 5, "maxItems": 2, "items": {}},
    "a pattern with a counted group": {"type": "string", "pattern": "^(a?){1000}$"},
    "a pattern that counts down": {"type": "string", "pattern": "^a{9,3}$"},
    "parts without an end": {"$defs": CHAIN, "$ref": "#/$defs/a0"},
}


@pytest.fixture(scope="module")
def model(model_file):
    return LocalModel(MODEL, model_file, pulled=True)


@pytest.fixture(scope="module")
def url(model):
    with BuiltinServer.start(speed=0, engine=model) as server:
        yield server.url


@pytest.fixture
def impatient(url, monkeypatch):
    """A new engine, which may be silent for two seconds, not for ten."""
    unload(url)
    monkeypatch.setattr(limits, "ENGINE_SILENCE", 2)
    return monkeypatch


@pytest.fixture
def patient(url, monkeypatch):
    """A new engine, which may be silent for as long as a slow machine needs."""
    unload(url)
    monkeypatch.setattr(limits, "ENGINE_SILENCE", PATIENCE)


def unload(url: str) -> None:
    requests.post(f"{url}/api/generate", json={"model": MODEL, "keep_alive": 0})


def generate(url: str, tokens: int = 3, **more) -> requests.Response:
    asked = {"model": MODEL, "prompt": "Tell me a long story.", **more}
    asked["options"] = {"num_predict": tokens, **more.get("options", {})}
    return requests.post(f"{url}/api/generate", json=asked, stream=True)


def is_answered(url: str, **more) -> bool:
    return last_record(generate(url, **more).iter_lines())["done"]


def last_record(lines) -> dict:
    return json.loads([line for line in lines if line][-1])


def has_ended(process: psutil.Process) -> bool:
    """Whether it has ended; its parent may not yet have asked how."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it has ended between the two questions
        return True


TROUBLE = {
    "hangs": lambda model, process: process.suspend(),
    "is killed": lambda model, process: process.kill(),
    "crashes": lambda model, process: os.kill(process.pid, signal.SIGSEGV),
    "swells": lambda model, process: setattr(model._engine, "_may_take", 1),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_eight_readers_lose_their_answers_and_the_next_one_has_a_new_engine(url, model, trouble):
    if trouble == "crashes" and sys.platform == "win32":
        pytest.skip("Windows has no SIGSEGV to send")
    began, reading = threading.Barrier(SLOTS + 1), ThreadPoolExecutor(SLOTS)

    def read() -> dict:
        lines = generate(url, tokens=1000, options={"seed": 1}).iter_lines()
        first = next(lines)
        began.wait()
        return last_record([first, *lines])

    readers = [reading.submit(read) for _ in range(SLOTS)]
    began.wait()
    process = psutil.Process(model._engine._process.pid)
    TROUBLE[trouble](model, process)
    recorded = requests.post(f"{url}/api/generate", json=RECORDED)
    assert recorded.text.count("\n") == 14  # the recordings do not notice
    assert [reader.result() for reader in readers] == [{"error": DIED}] * SLOTS
    assert is_answered(url)
    assert has_ended(process)


def test_a_schema_that_llama_cpp_does_not_come_to_an_end_with_ends_it(url, impatient):
    assert last_record(generate(url, format=ENDLESS).iter_lines()) == {"error": DIED}
    impatient.undo()
    assert is_answered(url)


@pytest.mark.long
@pytest.mark.parametrize("name", GREEDY)
def test_a_schema_that_keeps_llama_cpp_or_fills_the_memory_ends_the_engine(url, impatient, name):
    assert last_record(generate(url, format=GREEDY[name]).iter_lines()) == {"error": DIED}
    impatient.undo()
    assert is_answered(url)


def test_an_option_that_llama_cpp_sets_memory_aside_for_takes_none(url, model):
    assert is_answered(url)
    before = model._engine.memory()
    options = {"repeat_last_n": 200_000_000, "repeat_penalty": 1.1, "top_k": 2**40}
    assert is_answered(url, options=options)
    assert model._engine.memory() < before + 50e6


def test_a_long_prompt_is_no_silence(url, model, patient):
    """Read in small steps, between which the engine answers what the watchdog asks."""
    assert is_answered(url)
    process, endpoint = model._engine._process.pid, model._engine.endpoint
    key = {"Authorization": f"Bearer {endpoint.key}"}

    def half_read() -> bool:
        slots = requests.get(f"{endpoint.url}/slots", headers=key).json()
        return any(
            0 < slot.get("n_prompt_tokens_processed", 0) < 1000
            for slot in slots
            if slot["is_processing"]
        )

    with ThreadPoolExecutor(1) as reading:
        long = reading.submit(
            lambda: last_record(generate(url, prompt="word " * 1100).iter_lines())
        )
        eventually(half_read)
    assert long.result()["prompt_eval_count"] > 1000
    assert model._engine._process.pid == process


def test_the_watchdog_goes_on_where_no_file_can_be_opened(url, model, monkeypatch):
    """psutil reads files: with none to be had it cannot say how much memory the engine takes."""

    def fail(process):
        looked.set()
        raise OSError(errno.EMFILE, "Too many open files")

    assert is_answered(url)
    looked = threading.Event()
    monkeypatch.setattr(psutil.Process, "memory_info", fail)
    assert looked.wait(PATIENCE)
    monkeypatch.undo()
    process, model._engine._may_take = model._engine._process, 1
    process.wait(PATIENCE)  # it is still watched, and swells
    assert is_answered(url)


def test_an_unloaded_model_gives_all_its_memory_back(url, model):
    assert is_answered(url)
    process = psutil.Process(model._engine._process.pid)
    requests.post(f"{url}/api/generate", json={"model": MODEL, "keep_alive": 0})
    assert not process.is_running()
    assert is_answered(url)


PARENT = """
import asyncio, sys
from pathlib import Path
from llamalab.standin.answers.engine import Engine
print(Engine(Path(sys.argv[1]))._process.pid, flush=True)
sys.stdin.read()
"""


def test_the_engine_ends_with_its_parent_however_that_ends(model_file):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", PARENT, str(model_file)], **pipes) as parent:
        engine = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    eventually(lambda: has_ended(engine))
