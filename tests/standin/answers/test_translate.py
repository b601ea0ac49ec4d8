"""An engine elsewhere, behind the OpenAI protocol: what it is asked, what its answers become."""

import contextlib
import json
import os
import socket

import pytest
from raw_http import ask
from tiny_server import chunk, free_port, head, tiny_server, whole

from llamalab.errors import ServerNotFound
from llamalab.standin.answers.endpoint import TOO_LONG
from llamalab.standin.answers.remote_model import remote_model
from llamalab.standin.ollama.protocol import DIED, name_of
from llamalab.standin.run import BuiltinServer

MODELS = whole("200 OK", b'{"object":"list","data":[{"id":"meta-llama/Llama-3.2-1B"}]}')
NAME = "meta-llama/Llama-3.2-1B"
ASKED = {"model": NAME, "prompt": "Hi", "stream": False}


def delta(text: str = "", reason: str | None = None, **more) -> dict:
    return {"choices": [{"index": 0, "delta": {"content": text, **more}, "finish_reason": reason}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}
YES = [delta("Yes"), delta("."), delta("", "stop"), USAGE]


def events(*documents: dict | bytes, end: bytes = b"data: [DONE]\n\n") -> bytes:
    """A stream of server-sent events; bytes go out as they are."""
    lines = [
        each if isinstance(each, bytes) else b"data: " + json.dumps(each).encode() + b"\n\n"
        for each in (*documents, end)
    ]
    stream = head("200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
    return stream + b"".join(chunk(line) for line in lines if line) + chunk(b"")


@contextlib.contextmanager
def engine(answer: bytes, tokenize: bool = False):
    """A built-in server whose engine answers so; yields its URL and the requests the engine saw."""
    seen: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        line = seen[-1].split(b"\r\n")[0]
        if b"/v1/models" in line:
            connection.sendall(MODELS)
        elif b"/v1/" in line:
            connection.sendall(answer)
        elif tokenize and b"/apply-template" in line:
            connection.sendall(whole("200 OK", b'{"prompt":"<Hi>"}'))
        elif tokenize and b"/tokenize" in line:
            connection.sendall(whole("200 OK", b'{"tokens":[1,2,3]}'))
        else:
            connection.sendall(whole("404 Not Found", b'{"detail":"Not Found"}'))

    with (
        tiny_server(talk, seen) as url,
        BuiltinServer.start(speed=0, engine=remote_model(url + "/v1")) as server,
    ):
        yield server.url, seen


def posted(seen: list[bytes], path: bytes = b"/v1/chat") -> dict:
    """The body of the request that went to the engine's endpoint."""
    request = next(each for each in seen if path in each.split(b"\r\n")[0])
    return json.loads(request.partition(b"\r\n\r\n")[2])


def generate(url: str, path: str = "/api/generate", **more) -> tuple[int, dict]:
    status, _, content = ask(url, "POST", path, {**ASKED, **more})
    return status, json.loads(content)


def test_the_engine_is_asked_in_its_own_words():
    with engine(events(*YES)) as (url, seen):
        options = {"temperature": 0.5, "num_predict": 9, "seed": 1, "stop": ["x"], "top_k": 3.9}
        generate(url, system="Be brief.", options={**options, "mirostat": 1}, format="json")
    body = posted(seen)
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]
    assert (body["model"], body["max_tokens"], body["seed"], body["top_k"]) == (NAME, 9, 1, 3)
    assert (body["temperature"], body["stop"]) == (0.5, ["x"])
    assert body["response_format"] == {"type": "json_object"}
    assert "mirostat" not in body


def test_what_is_not_said_is_ollamas_default():
    with engine(events(*YES)) as (url, seen):
        generate(url, options={"num_predict": -1, "seed": -1, "temperature": None})
    body = posted(seen)
    assert (body["temperature"], body["top_k"], body["top_p"]) == (0.8, 40, 0.9)
    assert not {"max_tokens", "seed", "response_format"} & body.keys()


@pytest.mark.parametrize(
    ("think", "effort"), [(False, "none"), ("low", "low"), ("high", "high"), (True, None)]
)
def test_think_is_passed_on_as_reasoning_effort(think, effort):
    with engine(events(*YES)) as (url, seen):
        assert generate(url, think=think)[0] == 200
    assert posted(seen).get("reasoning_effort") == effort


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_what_an_engine_thinks_is_thinking(name):
    with engine(events(delta(**{name: "Hm"}), *YES)) as (url, _):
        _, answer = generate(url)
    assert (answer["thinking"], answer["response"]) == ("Hm", "Yes.")


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": None},
        {"choices": [None, {"delta": None}, {"delta": 3}, {}]},
        {"choices": [{"index": 0, "delta": {"content": 3}, "text": ["x"]}]},
        {"choices": [], "usage": None, "timings": None},
        {"choices": [], "usage": [], "timings": {"prompt_ms": None, "predicted_ms": "2"}},
        {"choices": [], "usage": {"prompt_tokens": "5"}, "timings": {"prompt_ms": 1.5}},
    ],
)
def test_an_odd_chunk_is_read_over(odd):
    with engine(events(odd, *YES[:3], odd)) as (url, _):
        status, answer = generate(url)
    assert (status, answer["response"], answer["done"]) == (200, "Yes.", True)
    assert answer["total_duration"] > 0


@pytest.mark.parametrize("odd", [[], 3, None, {"error": "out of memory"}])
def test_what_is_no_chunk_ends_the_answer_with_an_error_record(odd):
    with engine(events(delta("Yes"), b"data: " + json.dumps(odd).encode() + b"\n\n")) as (url, _):
        _, _, content = ask(url, "POST", "/api/generate", {"model": NAME, "prompt": "Hi"})
    first, last = map(json.loads, content.splitlines())
    assert first["response"] == "Yes"
    assert isinstance(last["error"], str)


def test_its_chunks_become_records():
    with engine(events(*YES)) as (url, _):
        status, _, content = ask(url, "POST", "/api/generate", {"model": NAME, "prompt": "Hi"})
    records = [json.loads(line) for line in content.splitlines()]
    assert status == 200
    assert [record["response"] for record in records] == ["Yes", ".", ""]
    last = records[-1]
    assert (last["done_reason"], last["prompt_eval_count"], last["eval_count"]) == ("stop", 5, 2)
    assert last["total_duration"] > last["eval_duration"] > 0
    assert "context" not in last  # this engine does not turn text into tokens


def test_an_engine_that_tells_its_timings_is_believed():
    timings = {"prompt_ms": 1.5, "predicted_ms": 2.5}
    with engine(events(*YES[:-1], {**USAGE, "timings": timings})) as (url, _):
        _, answer = generate(url)
    assert (answer["prompt_eval_duration"], answer["eval_duration"]) == (1_500_000, 2_500_000)


def test_an_engine_that_knows_tokens_gives_a_context_and_takes_one():
    with engine(events(*YES), tokenize=True) as (url, seen):
        assert generate(url)[1]["context"] == [1, 2, 3]
        seen.clear()
        completion = {"choices": [{"index": 0, "text": "Yes", "finish_reason": "stop"}]}
    with engine(events(completion), tokenize=True) as (url, seen):
        _, answer = generate(url, context=[7, 8])
    assert posted(seen, b"/v1/completions")["prompt"] == [7, 8, 1, 2, 3]
    assert answer["context"] == [7, 8, 1, 2, 3, 1, 2, 3]


def test_thinking_is_kept_apart_from_the_answer():
    with engine(events(delta("", reasoning_content="Hm."), *YES)) as (url, _):
        _, answer = generate(url)
    assert (answer["thinking"], answer["response"]) == ("Hm.", "Yes.")


def test_a_text_with_line_separators_is_not_cut():
    odd = json.dumps(delta("a\u2028b\x85c"), ensure_ascii=False).encode()
    with engine(events(b"data: " + odd + b"\n\n", *YES[2:])) as (url, _):
        assert generate(url)[1]["response"] == "a\u2028b\x85c"


def test_comments_and_pings_of_the_engine_are_passed_over():
    with engine(events(b": ping\n\n", *YES)) as (url, _):
        assert generate(url)[1]["response"] == "Yes."


@pytest.mark.parametrize(
    "broken",
    [
        events(delta("Yes"), end=b""),
        events(delta("Yes"), b"data: oops\n\n"),
        events(delta("Yes"), end=b"")[:-5] + b"ff\r\nda",
    ],
    ids=["no end", "no JSON", "cut"],
)
def test_an_engine_that_dies_is_an_error_record_after_what_it_said(broken):
    with engine(broken) as (url, _):
        content = ask(url, "POST", "/api/generate", {"model": NAME, "prompt": "Hi"})[2]
    first, last = [json.loads(line) for line in content.splitlines()]
    assert first["response"] == "Yes"
    assert last == {"error": DIED}


def test_an_error_in_the_middle_is_said_in_its_words():
    failure = {"error": {"message": "out of memory", "code": 500}}
    with engine(events(delta("Yes"), failure)) as (url, _):
        assert generate(url) == (500, {"error": "out of memory"})


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        ("400 Bad", b'{"error":{"message":"no such field","type":"x"}}', "no such field"),
        ("503 Busy", b'{"error":"loading"}', "loading"),
        ("500 Oh", b"<html>", "<html>"),
        ("400 Bad", b'{"error":{"type":"exceed_context_size_error","message":"m"}}', TOO_LONG),
        ("400 Bad", b'{"message":"This model\'s maximum context length is 4096"}', TOO_LONG),
        ("502 Bad", b"", "the engine answers with status 502"),
    ],
)
def test_what_the_engine_refuses_is_refused_in_its_words(status, body, text):
    with engine(whole(status, body)) as (url, _):
        assert generate(url) == (int(status[:3]), {"error": text})


def test_an_engine_that_has_gone_is_said():
    with tiny_server(MODELS, port=free_port()) as there:
        gone = remote_model(there)
    with BuiltinServer.start(speed=0, engine=gone) as server:
        status, answer = generate(server.url)
    assert status == 500
    assert "cannot be reached" in answer["error"]


@pytest.mark.parametrize("answer", [whole("200 OK", b"<html>"), whole("200 OK", b'{"data":[]}')])
def test_what_is_no_engine_is_not_found(answer):
    with tiny_server(answer) as url, pytest.raises(ServerNotFound, match="does not list"):
        remote_model(url)


def test_nobody_at_the_engines_address_is_not_found(unused_address):
    with pytest.raises(ServerNotFound, match="No engine answers"):
        remote_model(unused_address)


def test_the_engine_answers_for_a_recorded_model_under_its_own_name():
    with engine(events(*YES)) as (url, _):
        assert generate(url, model="mistral")[1]["model"] == NAME
        tags = json.loads(ask(url, "GET", "/api/tags")[2])["models"]
    assert {item["name"] for item in tags} == {f"{NAME}:latest", "mistral:latest"}


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (NAME, NAME),
        ("gpt-4", "gpt-4"),
        ("/models/My model (1).gguf", "My-model-1"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct.Q4_1"),
        ("a/b/c/d/e", "e"),
        ("***", "model"),
    ],
)
def test_any_engines_name_becomes_one_that_the_protocol_can_carry(given, name):
    assert name_of(given) == name


def test_where_a_request_says_nothing_the_engine_gets_all_defaults_and_no_more():
    with engine(events(*YES)) as (url, seen):
        generate(url)
    assert posted(seen) == {
        "model": NAME,
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.8,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.0,
        "repeat_penalty": 1.0,
    }


def test_the_models_of_two_sources_are_listed_newest_first(write_recording):
    record = {"created_at": "2026-01-01T00:00:00Z", "response": "Y", "done": True}
    for model, day in (("old", 86_400), ("new", 2**31)):  # seconds; the engine's own is from today
        folder = write_recording({"model": model, "prompt": "x"}, record, name=f"{model}.ndjson")
        os.utime(folder / f"{model}.ndjson", (day, day))
    with (
        tiny_server(MODELS) as engine,
        BuiltinServer.start(recordings=folder, engine=remote_model(engine)) as server,
    ):
        models = json.loads(ask(server.url, "GET", "/api/tags")[2])["models"]
    assert [item["name"] for item in models] == ["new:latest", f"{NAME}:latest", "old:latest"]
