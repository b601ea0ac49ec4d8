"""Talking to a server: whatever the wire does, the text so far is kept and the error is ours."""

import copy
import json
import pickle
import socket
import threading

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import PATIENCE
from tiny_server import chunk, head, tiny_server, whole

import llamalab
from llamalab import client
from llamalab.errors import BadAnswer, BrokenStream, ModelNotFound, ServerBusy, ServerNotFound


def record(response: str, **more) -> bytes:
    return json.dumps({"response": response, "done": False, **more}).encode() + b"\n"


YES = [record("Yes"), record(","), record(" I am")]
DONE = record("", done=True, eval_count=3)


def chunked(pieces: list[bytes]) -> bytes:
    return head() + b"".join(chunk(piece) for piece in pieces if piece) + chunk(b"")


def ask(answer, **fields) -> str:
    with tiny_server(answer) as url:
        return llamalab.generate("Are you listening?", server=url, **fields)


NOTHING = [
    (record("", done=True, done_reason="load"), "has no prompt"),
    (record("", thinking="Hm") + record("", done=True, done_reason="length"), "with thinking"),
]


@pytest.mark.parametrize(("body", "says"), NOTHING)
@pytest.mark.parametrize("way", ["generate", "stream"])
def test_an_answer_without_a_text_says_why(capsys, body, says, way):
    with tiny_server(chunked([body])) as url:
        assert "".join(getattr(llamalab, way)("?", server=url)) == ""
    said = capsys.readouterr()
    assert (says in said.err, said.out) == (True, "")


def test_a_chat_that_calls_a_tool_has_its_records_and_says_nothing(capsys):
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "now"}}]}
    body = json.dumps({"message": call, "done": True}).encode()
    with tiny_server(whole("200 OK", body)) as url:
        answer = llamalab.chat([{"role": "user", "content": "When?"}], server=url)
    assert (answer, answer.records[0]["message"]) == ("", call)
    assert capsys.readouterr().err == ""


def test_the_answer_is_the_text_and_has_its_records():
    answer = ask(chunked([*YES, DONE]))
    assert answer == "Yes, I am"
    assert [r["response"] for r in answer.records] == ["Yes", ",", " I am", ""]


def test_stream_yields_the_fragments():
    with tiny_server(chunked([*YES, DONE])) as url:
        assert list(llamalab.stream("?", server=url)) == ["Yes", ",", " I am"]


def test_a_chat_is_joined_from_its_messages():
    message = {"role": "assistant", "content": "Hello"}
    body = json.dumps({"message": message, "done": True}).encode()
    with tiny_server(whole("200 OK", body)) as url:
        assert llamalab.chat([{"role": "user", "content": "Hi"}], server=url) == "Hello"


def test_fields_go_into_the_request_as_they_are():
    got = []

    def answer(connection: socket.socket) -> None:
        connection.sendall(chunked([DONE]))

    with tiny_server(answer, seen=got) as url:
        llamalab.generate("?", model="m", server=url, system="Be brief.")
    body = got[0].partition(b"\r\n\r\n")[2]
    assert json.loads(body) == {"model": "m", "prompt": "?", "system": "Be brief."}


@settings(max_examples=60)
@given(st.text(st.characters(codec="utf-8")), st.lists(st.integers(1, 40), min_size=1))
def test_any_text_cut_into_any_chunks_comes_back_whole(text, sizes):
    body = json.dumps({"response": text, "done": False}, ensure_ascii=False).encode() + b"\n" + DONE
    pieces = []
    for size in sizes:
        pieces.append(body[:size])
        body = body[size:]
    assert ask(chunked([*pieces, body])) == text


def test_a_line_split_across_chunks_is_joined():
    assert ask(chunked([YES[0][:20], YES[0][20:] + DONE])) == "Yes"


def test_a_character_split_across_chunks_is_joined():
    line = '{"response":"é","done":true}\n'.encode()
    cut = line.index("é".encode()) + 1
    assert ask(chunked([line[:cut], line[cut:]])) == "é"


def test_a_missing_last_newline_is_no_harm():
    assert ask(chunked([*YES, DONE.rstrip()])) == "Yes, I am"


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        (head() + chunk(YES[0]), chunk(DONE) + chunk(b"")),
        (head("200 OK", "Content-Type: application/x-ndjson") + YES[0], DONE),
    ],
    ids=["in chunks", "without chunks"],
)
def test_a_fragment_is_yielded_before_the_next_one_is_sent(first, rest):
    more = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(first)
        assert more.wait(PATIENCE)
        connection.sendall(rest)

    with tiny_server(answer) as url:
        fragments = llamalab.stream("?", server=url)
        assert next(fragments) == "Yes"
        more.set()
        assert list(fragments) == []


def test_stopping_early_closes_the_connection():
    closed = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(head() + chunk(YES[0]))
        if connection.recv(1) == b"":
            closed.set()

    with tiny_server(answer) as url:
        fragments = llamalab.stream("?", server=url)
        next(fragments)
        fragments.close()
        assert closed.wait(PATIENCE)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (head() + chunk(YES[0]) + b"5f\r\n" + YES[1][:10], BrokenStream, "cut off"),
        (chunked([YES[0]]), BrokenStream, "no last record"),
        (chunked([YES[0], b'{"error":"unexpected EOF"}\n']), BrokenStream, "unexpected EOF"),
        (chunked([YES[0], b"oops\n", DONE]), BadAnswer, "oops"),
        (chunked([YES[0], b'{"response":"\xff"}\n', DONE]), BadAnswer, "not UTF-8"),
    ],
)
def test_a_broken_answer_keeps_the_text_so_far(answer, error, words):
    with pytest.raises(error, match=words) as caught:
        ask(answer)
    assert caught.value.partial == "Yes"


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        ("404 Not Found", b'{"error":"model \'m\' not found"}', ModelNotFound, "ollama pull m"),
        ("404 Not Found", b"404 page not found", BadAnswer, "HTTP 404"),
        ("503 Busy", b'{"error":"server busy, please try again."}', ServerBusy, "busy"),
        ("400 Bad", b'{"error":"invalid character"}', BadAnswer, "invalid character"),
        ("403 Forbidden", b"", BadAnswer, "tunnel"),
        ("403 Forbidden", b'{"error":"this model is not for you"}', BadAnswer, "is not for you"),
        ("500 Oh", b'{"error":"out of memory"}', BadAnswer, "out of memory"),
        ("500 Oh", b"[]", BadAnswer, "HTTP 500"),
    ],
)
def test_a_refusal_becomes_the_right_error(status, body, error, words):
    with pytest.raises(error, match=words):
        ask(whole(status, body), model="m")


def test_a_refusal_that_is_cut_off_is_a_bad_answer():
    head_only = head("404 Not Found", "Content-Type: application/json", "Content-Length: 500")
    with pytest.raises(BadAnswer, match="HTTP 404"):
        ask(head_only + b'{"error":', model="m")


def test_a_prompt_without_a_recording_is_told_how_to_get_a_model():
    body = b'{"error":"model \'mistral\' is here only as recordings"}'
    with pytest.raises(ModelNotFound, match="llamalab pull"):
        ask(whole("404 Not Found", body))


def test_an_answer_can_be_copied_and_pickled():
    answer = ask(chunked([*YES, DONE]))
    for twin in (copy.deepcopy(answer), pickle.loads(pickle.dumps(answer))):
        assert (twin, twin.records) == (answer, answer.records)


def test_a_long_answer_in_one_piece_is_not_read_byte_by_byte(monkeypatch):
    sizes = []
    read = requests.Response.iter_content
    monkeypatch.setattr(
        requests.Response,
        "iter_content",
        lambda self, chunk_size: (sizes.append(chunk_size), read(self, chunk_size))[1],
    )
    assert ask(whole("200 OK", record("long", done=True))) == "long"
    assert sizes == [None]


def test_a_dead_server_is_not_found(unused_address):
    with pytest.raises(ServerNotFound, match="nothing listens there"):
        llamalab.generate("?", server=unused_address)


def test_a_server_that_hangs_up_without_a_word_is_not_found():
    with pytest.raises(ServerNotFound, match="closes the connection"):
        ask(lambda connection: None)


def test_a_server_that_never_begins_is_busy(monkeypatch):
    monkeypatch.setattr(client, "READ", 0.2)
    done = threading.Event()
    with pytest.raises(ServerBusy, match="not begun"):
        ask(lambda connection: done.wait(PATIENCE))
    done.set()


def test_models_are_listed_by_name():
    body = b'{"models":[{"name":"mistral:latest"}]}'
    with tiny_server(whole("200 OK", body)) as url:
        assert llamalab.models(url) == ["mistral:latest"]


@pytest.mark.parametrize("body", [b"[]", b"{}", b"oops", b'{"models":3}'])
def test_a_list_of_models_that_makes_no_sense_is_a_bad_answer(body):
    with tiny_server(whole("200 OK", body)) as url, pytest.raises(BadAnswer):
        llamalab.models(url)


def test_one_connection_serves_several_questions():
    connections = []

    def answer(connection: socket.socket) -> None:
        connections.append(connection.getpeername())
        connection.sendall(chunked([*YES, DONE]))
        while data := connection.recv(65536):  # the next question, on the same connection
            if data.endswith(b"}"):  # its body is here; the head may come alone, before it
                connection.sendall(chunked([*YES, DONE]))

    with tiny_server(answer) as url:
        assert [llamalab.generate("?", server=url) for _ in range(3)] == ["Yes, I am"] * 3
    assert len(connections) == 1


def test_an_answer_that_cannot_be_json_is_the_callers_own_mistake():
    with pytest.raises(TypeError):
        llamalab.generate({"a set"}, server="http://127.0.0.1:9")
