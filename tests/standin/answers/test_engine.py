"""The engine comes when it is asked for, answers many at once, stops when told, and goes."""

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import psutil
import pytest
import requests
from jupyter_client.manager import start_new_kernel
from patience import PATIENCE, eventually
from raw_http import ask, connect, post_bytes

from llamalab.standin.answers import builtin_model
from llamalab.standin.answers.engine import SLOTS
from llamalab.standin.answers.local_model import LocalModel, local_model
from llamalab.standin.ollama.protocol import Refusal
from llamalab.standin.run import BuiltinServer

MODEL = builtin_model.NAME
SHORT = {"num_predict": 5, "temperature": 0, "seed": 7}
COUNT = ", ".join(map(str, range(1, 16)))  # told to go on, raw, it counts until its context is full


@pytest.fixture(scope="module")
def engine(model_file):
    return LocalModel(MODEL, model_file, pulled=True)


@pytest.fixture(scope="module")
def live(engine):
    with BuiltinServer.start(speed=0, engine=engine) as server:
        yield server.url


@pytest.fixture
def loaded(live, engine):
    """The model in memory, nobody reading; where its engine listens."""
    load(live)
    eventually(lambda: busy(engine) == 0)
    return engine._engine.endpoint.url


@pytest.fixture
def unloaded(live):
    load(live, keep_alive=0)
    eventually(lambda: not running(live))


def load(url, keep_alive=300):
    answer = ask(url, "POST", "/api/generate", {"model": MODEL, "keep_alive": keep_alive})
    return json.loads(answer[2])


def running(url) -> list[dict]:
    return json.loads(ask(url, "GET", "/api/ps")[2])["models"]


def tags(url) -> list[str]:
    return [item["name"] for item in json.loads(ask(url, "GET", "/api/tags")[2])["models"]]


def asked(prompt="Say hello.", **more) -> dict:
    return {"model": MODEL, "prompt": prompt, "options": SHORT, **more}


def generate(url, prompt="Say hello.", **more) -> dict:
    """The one record of an answer that is not streamed."""
    answer = ask(url, "POST", "/api/generate", asked(prompt, stream=False, **more))
    return json.loads(answer[2])


@contextlib.contextmanager
def endless(url):
    """The records of an answer without an end; the reader goes away with the block."""
    request = asked(COUNT, raw=True, options={"temperature": 0})
    with requests.post(f"{url}/api/generate", json=request, stream=True) as response:
        yield map(json.loads, response.iter_lines(chunk_size=None))


def busy(engine) -> int:
    """How many slots work, from the engine itself."""
    headers = {"Authorization": f"Bearer {engine._engine.endpoint.key}"}
    slots = requests.get(f"{engine._engine.endpoint.url}/slots", headers=headers).json()
    return sum(slot["is_processing"] for slot in slots)


def listens(url) -> bool:
    address = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((address.hostname, address.port)) == 0


# ---- it comes, and goes


@pytest.fixture(scope="module")
def fresh(model_file):
    """What a separate process finds before and after the first question, and all it printed."""
    code = f"""
import json, sys, requests
from llamalab.standin.answers.local_model import local_model
from llamalab.standin.run import BuiltinServer
with BuiltinServer.start(speed=0, engine=local_model()) as server:
    found = {{"running": requests.get(server.url + "/api/ps").json()["models"]}}
    found["imported"] = "xllamacpp" in sys.modules
    found["tags"] = requests.get(server.url + "/api/tags").json()["models"]
    answer = requests.post(server.url + "/api/generate", json={asked(stream=False)!r})
print(json.dumps({{**found, "answer": answer.json()}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done


def test_nothing_is_loaded_at_import_or_at_the_server_s_start(fresh):
    found = json.loads(fresh.stdout)
    assert found["running"] == []
    assert not found["imported"]
    assert MODEL in [item["name"] for item in found["tags"]]


def test_the_engine_s_chatter_reaches_no_terminal(fresh):
    assert fresh.stderr == ""
    assert len(fresh.stdout.splitlines()) == 1
    assert json.loads(fresh.stdout)["answer"]["done"]


def test_the_first_who_asks_loads_it(live, unloaded):
    answer = generate(live)
    assert answer["response"]
    assert answer["model"] == MODEL
    assert answer["load_duration"] > 10**7  # ns; it takes far longer than to find it loaded
    (item,) = running(live)
    assert (item["name"], item["size"]) == (MODEL, builtin_model.SIZE)


def test_an_empty_prompt_loads_it_and_keep_alive_0_unloads_it(live, unloaded):
    assert load(live)["done_reason"] == "load"
    assert len(running(live)) == 1
    assert load(live, keep_alive=0)["done_reason"] == "unload"
    assert running(live) == []


def test_keep_alive_0_unloads_it_after_the_answer_and_its_port_closes(live, loaded):
    answer = generate(live, keep_alive=0)
    assert answer["done"]
    eventually(lambda: running(live) == [])
    eventually(lambda: not listens(loaded))


def test_an_idle_model_goes_when_its_time_is_up(live, loaded):
    generate(live, keep_alive="300ms")
    eventually(lambda: running(live) == [])
    eventually(lambda: not listens(loaded))


def test_a_negative_keep_alive_keeps_it_for_ever(live, loaded):
    load(live, keep_alive=-1)
    assert int(running(live)[0]["expires_at"][:4]) > 2300


def test_each_request_sets_the_time_anew(live, engine, loaded):
    load(live, keep_alive=60)
    first, expires = engine._timer, engine._expires
    load(live, keep_alive=120)
    assert engine._expires > expires + 50 * 10**9
    eventually(first.cancelled)


def test_it_stays_while_somebody_reads_whatever_others_say(live, loaded):
    with endless(live) as records:
        next(records)
        generate(live, keep_alive=0)
        load(live, keep_alive=0)
        assert [next(records)["done"] for _ in range(10)] == [False] * 10
        assert listens(loaded)
    eventually(lambda: running(live) == [])


@pytest.mark.parametrize("keep_alive", [0, 300])
def test_a_reader_who_leaves_while_it_loads_spoils_nothing(live, unloaded, keep_alive):
    for _ in range(3):
        with connect(live) as connection:
            connection.sendall(post_bytes("/api/generate", asked(keep_alive=keep_alive)))
    assert generate(live, keep_alive=keep_alive)["done"]
    eventually(lambda: bool(running(live)) == bool(keep_alive))


def test_loading_and_unloading_at_once_answers_everybody(live, unloaded):
    with ThreadPoolExecutor(4) as readers:
        answers = list(readers.map(lambda _: generate(live, keep_alive=0), range(8)))
    assert all(answer.get("done") for answer in answers)
    eventually(lambda: running(live) == [])


# ---- many readers, and readers who go away


def test_a_reader_who_goes_away_stops_it(live, engine, loaded):
    with endless(live) as records:
        next(records)
        assert busy(engine) == 1
    eventually(lambda: busy(engine) == 0)


def test_a_reader_who_goes_away_without_a_stream_stops_it(live, engine, loaded):
    request = asked(COUNT, raw=True, stream=False, options={"temperature": 0})
    with connect(live) as connection:
        connection.sendall(post_bytes("/api/generate", request))
        eventually(lambda: busy(engine) == 1)
    eventually(lambda: busy(engine) == 0)


def test_a_reader_who_goes_away_while_it_reads_the_prompt_stops_it(live, engine, loaded):
    """At the prompt's end: llama.cpp reads it to there, which takes a few seconds at most."""
    request = asked(COUNT * 4, raw=True, options={"temperature": 0})
    with connect(live) as connection:
        connection.sendall(post_bytes("/api/generate", request))
        eventually(lambda: busy(engine) == 1)
    eventually(lambda: busy(engine) == 0)


def test_eight_readers_at_once_get_their_whole_answers(live, engine, loaded):
    with ThreadPoolExecutor(SLOTS) as readers:
        answers = list(readers.map(lambda n: generate(live, f"Say {n}."), range(SLOTS)))
    assert all(answer["done"] and answer["eval_count"] > 0 for answer in answers)


def test_a_ninth_reader_waits_and_is_served(live, engine, loaded):
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(1) as ninth:
        others = [stack.enter_context(endless(live)) for _ in range(SLOTS - 1)]
        with endless(live) as eighth:
            for records in (*others, eighth):
                next(records)
            assert busy(engine) == SLOTS
            waiting = ninth.submit(generate, live)
            next(eighth)
            assert not waiting.done()
        assert waiting.result(PATIENCE)["done"]
        assert all(not next(records)["done"] for records in others)


def test_nobody_else_gets_at_the_engine(loaded):
    assert ask(loaded, "GET", "/slots")[0] == 401
    assert ask(loaded, "POST", "/v1/chat/completions", {"messages": []})[0] == 401
    assert ask(loaded, "GET", "/slots", headers={"Authorization": "Bearer x"})[0] == 401
    assert loaded.startswith("http://127.0.0.1:")


# ---- other files, and broken ones


def test_a_loaded_model_is_listed_also_once_its_file_has_gone(model_file, tmp_path):
    file = tmp_path / "other.gguf"
    file.symlink_to(model_file)
    with BuiltinServer.start(speed=0, engine=LocalModel(MODEL, file)) as server:
        load(server.url)
        before = running(server.url)
        file.unlink()
        after = running(server.url)
    assert [item["name"] for item in before] == [MODEL]
    assert after == before


def test_a_file_that_cannot_be_read_is_a_refusal(tmp_path):
    with pytest.raises(Refusal, match=r"error loading model: .*gone\.gguf"):
        LocalModel(MODEL, tmp_path / "gone.gguf").item()


def test_where_no_process_can_be_started_the_error_says_so(live, unloaded, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(subprocess, "Popen", fail)
    status, _, body = ask(live, "POST", "/api/generate", asked())
    assert status == 500
    assert "error loading model: [Errno" in json.loads(body)["error"]
    monkeypatch.undo()
    assert generate(live)["done"]


def test_llamalab_model_is_served_under_its_file_s_name(model_file, tmp_path, monkeypatch):
    other = tmp_path / "My model (v2).gguf"
    other.symlink_to(model_file)
    monkeypatch.setenv("LLAMALAB_MODEL", str(other))
    with BuiltinServer.start(speed=0, engine=local_model()) as server:
        answer = generate(server.url, model="my-model-v2")
        names = tags(server.url)
    assert answer["done"]
    assert any(name.startswith("My-model-v2") for name in names)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def changed(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    ("break_it", "pulled"),
    [
        (changed, True),
        (cut, True),
        (cut, False),
        (lambda content: content[: 2**20], False),
        (lambda content: b"no model", False),
        (lambda content: b"", False),
    ],
    ids=["changed", "cut", "cut, another", "cut in its header", "no GGUF file", "empty"],
)
def test_a_broken_file_is_one_error_and_the_server_lives_on(
    model_file, tmp_path, monkeypatch, break_it, pulled
):
    monkeypatch.setattr(builtin_model, "folder", lambda: tmp_path / "cache")  # a log is kept there
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(break_it(model_file.read_bytes()))
    with BuiltinServer.start(speed=0, engine=LocalModel(MODEL, broken, pulled)) as server:
        for _ in range(2):
            status, _, body = ask(server.url, "POST", "/api/generate", asked())
            error = json.loads(body)["error"]
            assert status == 500
            assert error.startswith("error loading model: ")
            assert str(tmp_path) in error  # the file, or the log that tells of it
            assert "\n" not in error
        assert running(server.url) == []
        recorded = {"model": "mistral", "prompt": "Are you listening?"}
        assert ask(server.url, "POST", "/api/generate", recorded)[0] == 200
        names = tags(server.url)
        assert "mistral:latest" in names


# ---- the end


def serve(**environment):
    """`llamalab serve` in a separate process, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "llamalab", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    return process, process.stdout.readline().split()[1]


def test_a_server_that_stops_while_its_model_loads_leaves_no_engine(model_file):
    me = psutil.Process()
    others = set(me.children())
    server = BuiltinServer.start(speed=0, engine=LocalModel(MODEL, model_file))
    with server, connect(server.url) as connection:
        connection.sendall(post_bytes("/api/generate", asked()))
        eventually(lambda: set(me.children()) - others)
        (engine,) = set(me.children()) - others
        server.stop()
    assert not engine.is_running()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_it_in_the_middle_of_an_answer_and_leaves_nothing(model_file, name):
    process, url = serve()
    with endless(url) as records:
        next(records)
        (engine,) = psutil.Process(process.pid).children()
        process.send_signal(getattr(signal, name))
        _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (0, "")
    eventually(lambda: not engine.is_running())


def test_it_works_in_a_notebook_s_kernel_and_ends_with_it(model_file, unused_address):
    environment = {name: value for name, value in os.environ.items() if name != "OLLAMA_HOST"}
    code = f"""
import llamalab
from llamalab import find
find.DEFAULT = {unused_address!r}  # as if this machine had no Ollama
url = llamalab.server()
answer = llamalab.generate("Say hello.", model={MODEL!r}, options={SHORT!r})
print(url, find._builtin.app.state.source.model._engine.endpoint.url, answer.records[-1]["done"])
"""
    manager, client = start_new_kernel(env=environment)
    try:
        first, engine, done = executed(client, code)
        assert (done, listens(first), listens(engine)) == ("True", True, True)
        manager.restart_kernel(now=False)
        eventually(lambda: not listens(first))
        eventually(lambda: not listens(engine))  # it ends by itself, once it sees that it should
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def executed(client, code: str) -> list[str]:
    """The words of a cell's last line; it must print nothing to stderr, and raise nothing."""
    printed = []
    reply = client.execute_interactive(
        code, timeout=PATIENCE, output_hook=lambda message: printed.append(message["content"])
    )
    assert reply["content"]["status"] == "ok", printed
    assert {content["name"] for content in printed if "text" in content} == {"stdout"}
    return "".join(content.get("text", "") for content in printed).splitlines()[-1].split()
