"""The whole protocol with a model behind it, spoken by programs that do not know us."""

import asyncio
import json
import subprocess

import ollama
import openai
import pytest
import requests
from patience import eventually
from raw_http import ask

from llamalab.standin.answers import builtin_model
from llamalab.standin.answers.local_model import LocalModel
from llamalab.standin.run import BuiltinServer

MODEL = builtin_model.NAME
SHORT = {"num_predict": 12, "temperature": 0, "seed": 7}
HELLO = [{"role": "user", "content": "Say hello."}]


@pytest.fixture(scope="module")
def live(model_file):
    """A server for these tests alone: here it matters whether its model is loaded."""
    with BuiltinServer.start(speed=0, engine=LocalModel(MODEL, model_file, pulled=True)) as server:
        yield server.url


@pytest.fixture
def client(live) -> ollama.Client:
    return ollama.Client(live)


def generate(live: str, prompt: str = "Say hello.", **more) -> dict:
    asked = {"model": MODEL, "prompt": prompt, "stream": False, "options": SHORT, **more}
    return requests.post(f"{live}/api/generate", json=asked).json()


# ---- the package `ollama`


def test_ollama_generates_in_one_piece_and_as_a_stream(client):
    whole = client.generate(MODEL, "Say hello.", options=SHORT)
    parts = list(client.generate(MODEL, "Say hello.", options=SHORT, stream=True))
    assert "".join(part.response for part in parts) == whole.response
    assert len(parts) > 5
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]


def test_ollama_chats_in_one_piece_and_as_a_stream(client):
    whole = client.chat(MODEL, HELLO, options=SHORT)
    parts = list(client.chat(MODEL, HELLO, options=SHORT, stream=True))
    assert whole.message.role == "assistant"
    assert "".join(part.message.content for part in parts) == whole.message.content


def test_ollama_streams_in_an_event_loop(live):
    async def fragments() -> list[str]:
        stream = await ollama.AsyncClient(live).chat(MODEL, HELLO, options=SHORT, stream=True)
        return [part.message.content async for part in stream]

    assert "".join(asyncio.run(fragments()))


def test_ollama_lists_shows_and_pulls_the_model(client):
    listed = {item.model: item for item in client.list().models}
    assert listed[MODEL].size == builtin_model.SIZE
    assert listed[MODEL].details.family == "llama"
    shown = client.show(MODEL)
    assert shown.modelinfo["general.architecture"] == "llama"
    assert "<|im_start|>" in shown.template
    assert [step.status for step in client.pull(MODEL, stream=True)][-1] == "success"
    client.generate(MODEL, "")
    assert MODEL in [item.model for item in client.ps().models]


def test_ollama_understands_our_errors(client):
    with pytest.raises(ollama.ResponseError) as caught:
        client.generate("nosuch", "Hi")
    assert (caught.value.status_code, caught.value.error) == (404, "model 'nosuch' not found")
    with pytest.raises(ollama.ResponseError, match="does not support thinking"):
        client.chat(MODEL, HELLO, think=True)
    with pytest.raises(ollama.ResponseError, match="does not support tools"):
        client.chat(MODEL, HELLO, tools=[{"type": "function", "function": {"name": "f"}}])


# ---- the package `openai`, and curl


@pytest.fixture
def gpt(live) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{live}/v1", api_key="none")


def test_openai_chats_in_one_piece_and_as_a_stream(gpt):
    settings = {"max_tokens": 12, "temperature": 0, "seed": 7}
    whole = gpt.chat.completions.create(model=MODEL, messages=HELLO, **settings)
    chunks = list(gpt.chat.completions.create(model=MODEL, messages=HELLO, stream=True, **settings))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert (whole.usage.completion_tokens, whole.choices[0].finish_reason) == (12, "length")
    assert [chunk.choices[0].delta.role for chunk in chunks[:2]] == ["assistant", None]


def test_openai_is_told_the_usage_only_when_it_asks(gpt):
    asked = {"model": MODEL, "messages": HELLO, "max_tokens": 3, "stream": True}
    chunks = list(gpt.chat.completions.create(**asked, stream_options={"include_usage": True}))
    assert chunks[-1].usage.completion_tokens == 3
    assert all(chunk.choices for chunk in gpt.chat.completions.create(**asked))


def test_openai_lists_the_models_and_is_told_of_one_that_is_missing(gpt):
    assert MODEL in [model.id for model in gpt.models.list()]
    assert gpt.models.retrieve(MODEL).owned_by == "library"
    with pytest.raises(openai.NotFoundError, match="nosuch:latest"):
        gpt.models.retrieve("nosuch")
    with pytest.raises(openai.NotFoundError, match="model 'nosuch' not found"):
        gpt.chat.completions.create(model="nosuch", messages=HELLO)


@pytest.mark.parametrize(
    ("body", "message"),
    [("", "EOF"), ("{", "unexpected EOF"), ("[]", "the request is not a JSON object")],
)
def test_the_errors_of_v1_have_their_own_form(live, body, message):
    status, headers, content = ask(live, "POST", "/v1/chat/completions", body)
    assert (status, headers["Content-Type"]) == (400, "application/json; charset=utf-8")
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    assert json.loads(content) == {"error": error}


def test_curl_reads_the_stream(live, need):
    curl = need("curl", do="apt-get install curl")
    asked = json.dumps({"model": MODEL, "prompt": "Say hello.", "options": SHORT})
    command = [curl, "-sN", f"{live}/api/generate", "-d", asked]
    lines = subprocess.run(command, capture_output=True, check=True).stdout.splitlines()
    assert json.loads(lines[-1])["done"] is True


# ---- what a request can ask for


def test_a_recorded_model_is_answered_by_the_live_one_which_says_so(live):
    assert generate(live, model="mistral")["model"] == MODEL
    assert generate(live, "Are you listening?", model="mistral", options={})["model"] == "mistral"


def test_temperature_0_and_a_seed_say_the_same_twice(live):
    hot = {"options": {"temperature": 2.0, "num_predict": 20, "seed": 3}}
    assert generate(live)["response"] == generate(live)["response"]
    assert generate(live, **hot)["response"] == generate(live, **hot)["response"]


def test_num_predict_and_the_models_own_end_are_told_apart(live):
    assert generate(live)["done_reason"] == "length"
    assert generate(live)["eval_count"] == SHORT["num_predict"]
    ended = generate(live, options={**SHORT, "num_predict": 100, "stop": ["\n", ".", "!", ","]})
    assert ended["done_reason"] == "stop"
    assert "." not in ended["response"]


def test_the_metrics_are_real_and_add_up(live):
    requests.post(f"{live}/api/generate", json={"model": MODEL, "keep_alive": 0})
    cold, warm = generate(live), generate(live, "Say hello twice.")
    for record in (cold, warm):
        parts = ("load_duration", "prompt_eval_duration", "eval_duration")
        assert sum(record[part] for part in parts) <= record["total_duration"]
        assert record["prompt_eval_count"] > 10
    # A machine that is busy makes either of them longer, but not each time tenfold.
    eventually(lambda: cold["load_duration"] > 10 * generate(live)["load_duration"])


def test_a_system_prompt_is_read_before_the_prompt(live):
    def tokens_read(**more) -> int:
        return generate(live, **more)["prompt_eval_count"]

    assert tokens_read(system="Hi.") < tokens_read(system="Speak like a pirate, please.")


def test_raw_leaves_the_template_out(live):
    plain, raw = (
        generate(live, "The capital of France is"),
        generate(live, "The capital of France is", raw=True),
    )
    assert raw["prompt_eval_count"] < plain["prompt_eval_count"]
    assert "context" in plain
    assert "context" not in raw


def test_the_context_of_an_answer_carries_the_conversation_on(live):
    first = generate(live, "My name is Ann.")
    second = generate(live, "What is my name?", context=first["context"])
    assert second["context"][: len(first["context"])] == first["context"]
    assert second["prompt_eval_count"] > len(first["context"])


@pytest.mark.parametrize("token", [-1, 2**31, 2**40, -(2**63), 49152])
def test_a_context_of_tokens_that_are_none_is_refused(live, token):
    asked = {"model": MODEL, "prompt": "Hi", "context": [token], "stream": False}
    answer = requests.post(f"{live}/api/generate", json=asked)
    assert (answer.status_code, answer.json()["error"]) == (400, "Prompt contains invalid tokens")


def test_repeat_last_n_of_minus_one_looks_at_all_there_is(live):
    assert generate(live, "Hi", options={"repeat_last_n": -1, **SHORT})["done"]


def test_json_is_json_and_a_schema_is_kept(live):
    options = {"temperature": 0, "num_predict": 60}
    free = generate(live, "Describe a cat as JSON.", format="json", options=options)
    if free["done_reason"] == "stop":  # a small model may ramble on until it is cut off
        json.loads(free["response"])
    assert free["response"].lstrip().startswith(("{", "["))
    schema = {
        "type": "object",
        "properties": {"legs": {"type": "integer"}, "wild": {"type": "boolean"}},
        "required": ["legs", "wild"],
        "additionalProperties": False,
    }
    kept = json.loads(generate(live, "A cat.", format=schema, options=options)["response"])
    assert {key: type(value) for key, value in kept.items()} == {"legs": int, "wild": bool}


def test_a_prompt_beyond_the_context_is_refused_in_ollamas_words(live):
    answer = generate(live, "word " * 3000)
    assert "longer than the context length" in answer["error"]


def test_a_chat_beyond_the_context_loses_its_oldest_messages(live):
    long = [{"role": "user", "content": "word " * words} for words in (1900, 200)]
    asked = {"model": MODEL, "messages": [*long, *HELLO], "stream": False, "options": SHORT}
    answer = requests.post(f"{live}/api/chat", json=asked).json()
    assert answer["done"]
    assert 200 < answer["prompt_eval_count"] < 300
    refused = requests.post(f"{live}/api/chat", json={**asked, "truncate": False})
    assert refused.status_code == 400


@pytest.mark.parametrize(
    ("more", "status", "text"),
    [
        ({"think": True}, 400, f'"{MODEL}" does not support thinking'),
        ({"suffix": "x"}, 400, f"registry.ollama.ai/library/{MODEL} does not support insert"),
        ({"images": ["aGk="]}, 400, "image input is not supported"),
        ({"template": "{{ .Prompt }}"}, 501, "template"),
        ({"logprobs": True}, 501, "logprobs"),
    ],
)
def test_what_the_model_cannot_do_is_said_with_ollamas_status(live, more, status, text):
    asked = {"model": MODEL, "prompt": "Hi", **more}
    answer = requests.post(f"{live}/api/generate", json=asked)
    assert answer.status_code == status
    assert text in answer.json()["error"]


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"tools": [{"type": "function"}]}, "does not support tools"),
        ({"tools": 3}, "cannot unmarshal number into Go struct field ChatRequest.tools"),
        ({"messages": [{"role": 3, "content": "x"}]}, "ChatRequest.messages.role of type string"),
        ({"messages": ["hi"]}, "cannot unmarshal string"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "is not text"),
        ({"model": True}, "ChatRequest.model of type string"),
    ],
)
def test_a_mistake_in_an_openai_request_is_a_400(live, more, text):
    answer = requests.post(
        f"{live}/v1/chat/completions", json={"model": MODEL, "messages": HELLO, **more}
    )
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert text in error["message"]


def test_fragments_of_several_bytes_arrive_whole(live):
    asked = {"model": MODEL, "prompt": "Repeat: 🦙🦙 é ü 你好", "options": {"num_predict": 60}}
    body = requests.post(f"{live}/api/generate", json=asked).content
    for line in body.splitlines():
        json.loads(line.decode("utf-8"))
