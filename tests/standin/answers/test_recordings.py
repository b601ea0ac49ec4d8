"""A recording is the bytes: how it is read, which request it answers, when its lines are due."""

import json

import pytest
from raw_http import ask

from llamalab.standin.answers import recordings
from llamalab.standin.answers.recordings import BadRecording, read_folder, schedule
from llamalab.standin.run import BuiltinServer

ASKED = {"model": "mistral", "prompt": "Are you listening?"}


@pytest.fixture(scope="module")
def listening():
    return recordings.read(recordings.FOLDER / "mistral-are-you-listening.ndjson")


@pytest.fixture(scope="module")
def body(listening):
    return b"".join(listening.lines)


@pytest.fixture
def start(write_recording):
    """Start a server on one recording; stops it at the end of the test."""
    started = []

    def start(*args, speed=0, **more):
        started.append(BuiltinServer.start(speed=speed, recordings=write_recording(*args, **more)))
        return started[-1].url

    yield start
    for server in started:
        server.stop()


def at(second, **record):
    return {"model": "m", "created_at": f"2026-11-22T10:00:{second:06.3f}Z", **record}


def said(second, text, **more):
    return at(second, response=text, done=bool(more), **more)


# ---- the document's answer


def test_a_replay_is_the_recorded_bytes(url, body):
    status, headers, content = ask(url, "POST", "/api/generate", ASKED)
    assert (status, headers["Content-Type"]) == (200, "application/x-ndjson")
    assert content == body


def test_not_streamed_it_is_one_object_with_the_last_records_keys_and_all_the_text(url, body):
    _, headers, content = ask(url, "POST", "/api/generate", {**ASKED, "stream": False})
    last = body.splitlines()[-1]
    text = b'"response":"Yes, I am listening. How may I assist you today?"'
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert content == last.replace(b'"response":""', text)


@pytest.mark.parametrize(
    "more",
    [
        {"model": "MISTRAL:latest"},
        {"stream": True},
        {"keep_alive": "10m"},
        {"options": {}},
        {"options": {"temperature": None}},
        {"system": "", "template": None, "context": [], "images": [], "format": ""},
        {"raw": False, "truncate": True, "top_logprobs": 0},
        {"nonsense": 1},
    ],
)
def test_what_does_not_change_the_answer_does_not_change_the_replay(url, body, more):
    assert ask(url, "POST", "/api/generate", {**ASKED, **more})[2] == body


def test_a_prompt_is_found_as_people_type_it(url, body):
    for prompt in ("are you listening?", " Are  you\nlistening ?", "ARE YOU LISTENING ?"):
        assert ask(url, "POST", "/api/generate", {**ASKED, "prompt": prompt})[2] == body


def test_what_a_machine_is_told_does_not_change_the_replay(url, body):
    options = {"num_ctx": 4096, "num_thread": 2, "num_batch": 64, "num_gpu": 0, "nonsense": 1}
    asked = {**ASKED, "think": False, "options": options}
    assert ask(url, "POST", "/api/generate", asked)[2] == body


@pytest.mark.parametrize(
    "more",
    [
        {"prompt": "Are you hearing?"},
        {"system": "You are a pirate."},
        {"template": "{{ .Prompt }}"},
        {"context": [1, 2]},
        {"raw": True},
        {"suffix": "x"},
        {"format": "json"},
        {"images": ["AAAA"]},
        {"think": True},
        {"options": {"temperature": 0}},
        {"logprobs": True},
    ],
)
def test_what_changes_the_answer_is_not_recorded_and_the_error_says_what_is(url, more):
    status, _, content = ask(url, "POST", "/api/generate", {**ASKED, **more})
    assert status == 404
    ((field, _),) = more.items()
    same = f"This prompt is recorded, but with other fields: {field}. "
    same = "" if field == "prompt" else same
    assert json.loads(content)["error"].startswith(
        "model 'mistral' is here only as recordings, and this request is not among them. "
        f'{same}Recorded for /api/generate: "Are you listening?"'
    )


def test_a_path_without_a_recording_is_said_too(start):
    url = start(ASKED, said(1, "Y", done_reason="stop"))
    messages = [{"role": "user", "content": "Are you listening?"}]
    request = {"model": "mistral", "messages": messages, "stream": False}
    status, headers, content = ask(url, "POST", "/api/chat", request)
    assert (status, headers["Content-Type"]) == (404, "application/json; charset=utf-8")
    assert json.loads(content)["error"].endswith("Recorded for /api/chat: nothing")


# ---- other recordings

CHAT = [
    at(1, message={"role": "assistant", "content": "", "thinking": "Hm"}, done=False),
    at(2, message={"role": "assistant", "content": "He"}, done=False),
    at(3, message={"role": "assistant", "content": "llo"}, done=False),
    at(4, message={"role": "assistant", "content": ""}, done=True, done_reason="stop"),
]


def test_a_chat_is_matched_by_what_its_messages_say(start):
    url = start(
        {"model": "m", "messages": [{"role": "user", "content": "hi", "images": None}]},
        *CHAT,
        path="/api/chat",
    )
    request = {"model": "m", "messages": [{"role": "USER", "content": "hi"}], "tools": []}
    assert ask(url, "POST", "/api/chat", request)[2].count(b"\n") == 4
    whole = json.loads(ask(url, "POST", "/api/chat", {**request, "stream": False})[2])
    assert whole == {
        **CHAT[-1],
        "message": {"role": "assistant", "content": "Hello", "thinking": "Hm"},
    }
    request["messages"] = [{"role": "user", "content": "ho"}]
    status, _, content = ask(url, "POST", "/api/chat", request)
    assert status == 404
    assert json.loads(content)["error"].endswith('Recorded for /api/chat: "hi"')
    said_before = {"role": "assistant", "content": "Hello"}
    request["messages"] = [said_before, {"role": "user", "content": "Hi"}]
    assert "but with other fields: messages." in ask(url, "POST", "/api/chat", request)[2].decode()


def test_a_recorded_error_is_the_last_line_or_a_500(start):
    broken = b'{"error":"an error was encountered while running the model: unexpected EOF"}\n'
    url = start({"model": "m", "prompt": "x"}, said(1, "Y"), broken)
    request = {"model": "m", "prompt": "x"}
    status, _, content = ask(url, "POST", "/api/generate", request)
    assert (status, content.endswith(b"}\n" + broken)) == (200, True)
    answer = ask(url, "POST", "/api/generate", {**request, "stream": False})
    assert answer[::2] == (500, broken.rstrip())


def test_escapes_and_unusual_characters_come_back_as_they_were_recorded(start):
    line = (
        '{"model":"m","created_at":"2026-11-22T10:00:00Z","response":"\\u003cé\x85","done":true}\n'
    )
    url = start({"model": "m", "prompt": "x"}, line.encode())
    request = {"model": "m", "prompt": "x"}
    assert ask(url, "POST", "/api/generate", request)[2] == line.encode()


def test_a_model_nobody_knows_is_listed_as_unknown(start):
    url = start({"model": "some", "prompt": "x"}, said(1, "Y", done_reason="stop"))
    (item,) = json.loads(ask(url, "GET", "/api/tags")[2])["models"]
    assert item["name"] == "some:latest"
    assert item["details"]["family"] == "unknown"


def test_an_empty_folder_is_a_server_without_models(tmp_path):
    with BuiltinServer.start(recordings=tmp_path) as server:
        assert ask(server.url, "GET", "/api/tags")[2] == b'{"models":[]}'


GOOD = said(1, "Y", done_reason="stop")
GOOD_LINE = json.dumps(GOOD).encode() + b"\n"


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([], "line 2: the answer is missing"),
        ([GOOD, b"no\n"], "line 3: not JSON: Expecting value at column 1"),
        ([GOOD, b"\n"], "line 3: not JSON: Expecting value at column 1"),
        ([GOOD, b"[]\n"], "line 3: not a JSON object"),
        ([GOOD, GOOD_LINE.rstrip()], "line 3: no newline at its end, it is cut off"),
        ([GOOD_LINE.replace(b"\n", b"\r\n")], r"line 2: it ends in \r\n"),
        ([GOOD_LINE.rstrip() + GOOD_LINE], "line 2: not JSON: Extra data at column"),
        ([at(1, done=True)], "line 2: not a record of /api/generate: it has no text"),
        ([at(1, response=3)], 'line 2: "response" is not what Ollama has there'),
        ([at(1, response="", message="x")], 'line 2: "message" is not what Ollama has there'),
        ([{**GOOD, "thinking": 3}], 'line 2: "thinking" is not what Ollama has there'),
        ([{**GOOD, "total_duration": "1s"}], 'line 2: "total_duration" is not what'),
        ([{**GOOD, "created_at": "now"}], "line 2: 'now' is not a time as in created_at"),
        ([{"response": "Y", "done": True}], "line 2: 'None' is not a time as in created_at"),
        ([b'{"response":"\xff"}\n'], "line 2: 'utf-8' codec can't decode"),
        ([at(0, model=3)], 'line 2: "model" is not what Ollama has there'),
        ([at(0, eval_count=10**400)], 'line 2: "eval_count" is not what Ollama has there'),
        ([at(0, eval_count=True)], 'line 2: "eval_count" is not what Ollama has there'),
        ([b"[" * 200_000 + b"\n"], "line 2: not JSON"),
    ],
)
def test_a_broken_answer_names_file_and_line(write_recording, lines, complaint):
    folder = write_recording({"model": "m", "prompt": "x"}, *lines)
    with pytest.raises(BadRecording) as broken:
        read_folder(folder)
    assert str(broken.value).startswith(f"{folder / 'some.ndjson'}, {complaint}")


@pytest.mark.parametrize(
    ("head", "complaint"),
    [
        (b"", "line 1: not JSON"),
        (b"{}\n", 'line 1: "path" is None, not /api/generate or /api/chat'),
        (b'{"path":"/api/generate"}\n', "line 1: model"),
        (b'{"path":"/api/generate","json":[]}\n', "line 1: json: cannot unmarshal array"),
        (b'{"path":"/api/generate","json":{"model":"m","prompt":3}}\n', "line 1: json: cannot"),
        (b'{"path":"/api/generate","json":{"model":"m"}}\n', "line 1: the request asks nothing"),
        (b'{"path":"/api/chat","json":{"model":"a b","messages":[{}]}}\n', "line 1: invalid model"),
    ],
)
def test_a_broken_request_names_file_and_line(tmp_path, head, complaint):
    (tmp_path / "x.ndjson").write_bytes(head + GOOD_LINE * bool(head))
    with pytest.raises(BadRecording) as broken:
        BuiltinServer.start(recordings=tmp_path)
    assert str(broken.value).startswith(f"{tmp_path / 'x.ndjson'}, {complaint}")


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(BadRecording, match="nosuch is not a folder"):
        read_folder(tmp_path / "nosuch")


# ---- pace


def test_the_first_pause_is_what_total_duration_leaves(listening):
    assert listening.pauses[0] == pytest.approx(3.343392853 - 1.09200769)
    assert listening.pauses[1] == pytest.approx(0.084134848)
    assert sum(listening.pauses) == pytest.approx(3.343392853)


def test_lines_are_due_at_the_recorded_pace_or_any_multiple_of_it(listening):
    once, tenfold = schedule(listening.pauses, 1), schedule(listening.pauses, 10)
    assert once[-1] == pytest.approx(3.343392853)
    assert once == sorted(once)
    assert tenfold == pytest.approx([due / 10 for due in once])


def test_without_pace_everything_is_due_at_once(listening):
    assert schedule(listening.pauses, 0) == [0.0] * 14


def test_times_that_run_backwards_make_no_negative_pause():
    records = [at(2), at(1, total_duration=10**9)]
    assert recordings.pauses(records) == [2.0, 0.0]


def test_an_error_record_follows_without_a_pause():
    assert recordings.pauses([at(1), at(2), {"error": "x"}]) == [0.0, 1.0, 0.0]
    assert recordings.pauses([{"error": "x"}]) == [0.0]


@pytest.mark.parametrize("speed", [-1, float("nan")])
def test_a_speed_below_zero_makes_no_sense(speed):
    with pytest.raises(ValueError, match="speed is a multiple"):
        BuiltinServer.start(speed=speed)


def test_a_record_without_model_and_done_is_replayed_on_both_protocols(start):
    record = {"created_at": "2026-11-22T10:00:01Z", "message": {"content": "Yes"}}
    asked = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    url = start(asked, record, path="/api/chat")
    assert json.loads(ask(url, "POST", "/api/chat", asked)[2]) == record
    answer = json.loads(ask(url, "POST", "/v1/chat/completions", asked)[2])
    assert answer["choices"][0]["message"]["content"] == "Yes"
