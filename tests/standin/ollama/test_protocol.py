"""Ollama's requests and records as functions, without HTTP."""

import re
import time

import pytest

from llamalab.standin.ollama import protocol
from llamalab.standin.ollama.protocol import Refusal


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300),
        ("1h2m3.5s", 3723.5),
        ("-1s", -1),
        ("+1ms", 0.001),
        ("0", 0),
        ("-0", 0),
        (".5s", 0.5),
        ("1.s", 1),
        ("3us", 3e-6),
        ("3µs", 3e-6),
        ("7ns", 7e-9),
    ],
)
def test_a_go_duration_is_read(text, seconds):
    assert protocol.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", 'time: invalid duration ""'),
        ("-", 'time: invalid duration "-"'),
        (".", 'time: invalid duration "."'),
        ("m", 'time: invalid duration "m"'),
        ("99999999999h", 'time: invalid duration "99999999999h"'),
        ("10", 'time: missing unit in duration "10"'),
        ("1m5", 'time: missing unit in duration "1m5"'),
        ("5 minutes", 'time: unknown unit " minutes" in duration "5 minutes"'),
    ],
)
def test_a_wrong_duration_is_refused_in_gos_words(text, complaint):
    with pytest.raises(Refusal) as refused:
        protocol.duration(text)
    assert (refused.value.status, refused.value.text) == (400, complaint)


@pytest.mark.parametrize(("value", "seconds"), [("5", 5), ("0.5", 0.5), ("-1", float("inf"))])
def test_keep_alive_in_seconds_may_be_a_fraction_or_for_ever(value, seconds):
    request = protocol.read_request("/api/generate", b'{"keep_alive":%s}' % value.encode())
    assert request == {"keep_alive": seconds}


@pytest.mark.parametrize(
    "name",
    [
        "mistral",
        "MISTRAL",
        " mistral ",
        "mistral:latest",
        "library/mistral",
        "registry.ollama.ai/library/mistral:latest",
        "https://registry.ollama.ai/library/mistral",
    ],
)
def test_one_model_has_many_names(name):
    assert protocol.canonical(name) == "registry.ollama.ai/library/mistral:latest"
    assert protocol.short_name(name).lower() == "mistral:latest"


@pytest.mark.parametrize("name", ["mistral:7b", "ann/mistral", "host:5000/library/mistral"])
def test_another_tag_owner_or_host_is_another_model(name):
    assert protocol.canonical(name) not in (None, protocol.canonical("mistral"))


@pytest.mark.parametrize(
    "name", ["", " ", "b@d name", "x:", "x/", "/x", "-x", "x:-y", "a.b/x", "x@sha256:ab", "x" * 81]
)
def test_what_is_no_name_is_known(name):
    assert protocol.canonical(name) is None


def test_created_at_drops_the_last_zeros_and_the_point():
    assert protocol.created_at(1_000_000_000_123_456_780) == "2001-09-09T01:46:40.12345678Z"
    assert protocol.created_at(1_000_000_000_000_000_000) == "2001-09-09T01:46:40Z"
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z"
    assert re.fullmatch(pattern, protocol.created_at())


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system cannot change its zone")
def test_local_times_carry_the_offset(monkeypatch):
    try:
        for zone, shown in [
            ("XYZ-5:30", "1970-01-01T05:30:00.5+05:30"),
            ("UTC", "1970-01-01T00:00:00.5Z"),
        ]:
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            assert protocol.local_time(500_000_000) == shown
    finally:
        monkeypatch.undo()
        time.tzset()


METRICS = [
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
]
LAST = {"done_reason": "stop", "context": [1], **dict.fromkeys(reversed(METRICS), 7)}


def test_a_last_record_of_generate_has_ollamas_keys_in_ollamas_order():
    record = protocol.record("/api/generate", "m", **LAST)
    keys = ["model", "created_at", "response", "done", "done_reason", "context", *METRICS]
    assert list(record) == keys
    assert record["response"] == ""
    assert record["done"] is True


def test_a_last_record_of_chat_has_no_context():
    record = protocol.record("/api/chat", "m", **LAST)
    assert list(record) == ["model", "created_at", "message", "done", "done_reason", *METRICS]
    assert record["message"] == {"role": "assistant", "content": ""}


def test_zero_metrics_are_left_out():
    record = protocol.record("/api/generate", "m", done_reason="stop", eval_count=0, context=[])
    assert list(record) == ["model", "created_at", "response", "done", "done_reason"]


def test_thinking_stands_where_ollama_puts_it():
    record = protocol.record("/api/generate", "m", thinking="Let me")
    assert list(record) == ["model", "created_at", "response", "thinking", "done"]
    record = protocol.record("/api/chat", "m", thinking="Let me", tool_calls=[{}])
    assert list(record["message"]) == ["role", "content", "thinking", "tool_calls"]


def test_the_whole_of_a_chat_joins_text_thinking_and_tool_calls():
    def part(done=False, **message):
        return {"message": {"role": "assistant", "content": "", **message}, "done": done}

    parts = [part(thinking="Let "), part(thinking="me"), part(content="Yes")]
    parts += [part(tool_calls=[1]), part(tool_calls=[2]), part(done=True)]
    whole = protocol.whole(parts)
    assert whole == part(done=True, content="Yes", thinking="Let me", tool_calls=[1, 2])
    assert list(whole["message"]) == ["role", "content", "thinking", "tool_calls"]


def test_an_answer_that_lost_its_end_is_whole_without_done():
    assert protocol.whole([{"response": "Y", "done": False}]) == {"response": "Y", "done": False}
