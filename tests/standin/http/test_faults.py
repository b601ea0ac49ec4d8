"""The fault dial, as bytes on a socket: each answer breaks in its own way, nothing else does."""

import json
import logging
import os
import signal
import subprocess
import sys
import time

import pytest
from patience import eventually
from raw_http import TICK, ask, connect, exchange, head_and_chunks, post_bytes

from llamalab import cli
from llamalab.standin.answers.recordings import FOLDER, read
from llamalab.standin.http import faults
from llamalab.standin.http.faults import FAULTS
from llamalab.standin.run import BuiltinServer

ASKED = {"model": "mistral", "prompt": "Are you listening?"}
TEXT = "Yes, I am listening. How may I assist you today?"
CLOSE = "Connection: close\r\n"
STREAMS = [True, False]
OWN_WORDS = ["split-char", "huge-line", "thinking-only"]


@pytest.fixture(scope="module")
def lines():
    return read(FOLDER / "mistral-are-you-listening.ndjson").lines


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(faults, "SLOW_START", 0.2)
    monkeypatch.setattr(faults, "HUGE", 2**16)


@pytest.fixture(autouse=True)
def nothing_left_behind(server, caplog):
    """After each test no request is at work, nothing was logged, and the server is well."""
    caplog.set_level(logging.WARNING)
    yield
    eventually(lambda: not server._uvicorn.server_state.tasks)
    assert caplog.get_records("call") == []
    assert ask(server.url, "POST", "/api/generate", ASKED)[0] == 200


def post(url, fault, stream=True, path="/api/generate", **more):
    """(status, headers, body) of an answer that comes to its end."""
    return ask(url, "POST", f"/fault/{fault}{path}", {**ASKED, "stream": stream, **more})


def raw(url, fault, stream=True):
    """All bytes of an answer, to the end of the connection."""
    request = {**ASKED, "stream": stream}
    return exchange(url, post_bytes(f"/fault/{fault}/api/generate", request, more=CLOSE))


def chunks(url, fault, stream=True):
    return head_and_chunks(raw(url, fault, stream))[1]


def records(body):
    return [json.loads(line) for line in body.splitlines()]


def text(body):
    return "".join(record["response"] for record in records(body))


# ---- the model in trouble


@pytest.mark.parametrize("stream", STREAMS)
def test_slow_start_sends_not_even_headers_and_then_the_right_answer(url, stream):
    with connect(url) as connection:
        request, asked = {**ASKED, "stream": stream}, time.monotonic()
        connection.sendall(post_bytes("/fault/slow-start/api/generate", request, more=CLOSE))
        answer = connection.recv(1)
        assert time.monotonic() - asked >= faults.SLOW_START - TICK
        answer += b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"done":true' in answer


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [
        ("busy", 503, b"server busy, please try again.  maximum pending requests exceeded"),
        ("no-model", 404, b"model 'mistral' not found"),
    ],
)
def test_a_server_that_cannot_says_so_in_ollamas_words(url, stream, fault, status, error):
    got, headers, body = post(url, fault, stream)
    assert (got, headers["Content-Type"]) == (status, "application/json; charset=utf-8")
    assert body == b'{"error":"%s"}' % error


def test_error_midway_is_the_last_line(url, lines):
    error = b'{"error":"an error was encountered while running the model: unexpected EOF"}\n'
    assert chunks(url, "error-midway") == [*lines[:5], error]


def test_error_midway_is_a_500_where_the_answer_is_whole(url):
    status, _, body = post(url, "error-midway", stream=False)
    assert status == 500
    assert records(body) == [
        {"error": "an error was encountered while running the model: unexpected EOF"}
    ]


def test_no_done_ends_well_without_its_last_record(url, lines):
    assert chunks(url, "no-done") == lines[:-1]


def test_no_done_as_a_whole_says_that_it_is_not_done(url):
    (record,) = records(post(url, "no-done", stream=False)[2])
    assert (record["response"], record["done"]) == (TEXT, False)


def test_stall_sends_a_few_records_and_then_nothing(url, lines):
    with connect(url) as connection:
        connection.sendall(post_bytes("/fault/stall/api/generate", ASKED, more=CLOSE))
        answer = b""
        while not answer.endswith(lines[4] + b"\r\n"):
            answer += connection.recv(65536)
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    # `nothing_left_behind` sees that it ends when its reader does


def test_stall_sends_nothing_at_all_of_a_whole_answer(url):
    with connect(url) as connection:
        request = {**ASKED, "stream": False}
        connection.sendall(post_bytes("/fault/stall/api/generate", request))
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)


@pytest.mark.parametrize("stream", STREAMS)
def test_huge_line_is_one_record_and_its_end(url, stream):
    body = post(url, "huge-line", stream)[2]
    assert len(records(body)) == (2 if stream else 1)
    assert 2**16 - 20 < len(text(body)) <= 2**16
    assert records(body)[-1]["done"] is True


@pytest.mark.parametrize("stream", STREAMS)
def test_thinking_only_has_thoughts_and_no_text(url, stream):
    body = post(url, "thinking-only", stream)[2]
    thoughts = "".join(record.get("thinking", "") for record in records(body))
    assert (text(body), thoughts) == ("", "They ask me something.")
    assert records(body)[-1]["done"] is True


def test_thinking_only_in_a_chat_thinks_in_its_messages(url):
    messages = [{"role": "user", "content": "Hi"}]
    body = post(url, "thinking-only", path="/api/chat", messages=messages)[2]
    first, *_, last = records(body)
    message = {"role": "assistant", "content": "", "thinking": "They"}
    assert (first["message"], first["done"]) == (message, False)
    assert last["message"] == {"role": "assistant", "content": ""}


@pytest.mark.parametrize("fault", OWN_WORDS)
def test_words_that_no_model_has_said_bear_the_name_of_the_fault(url, fault):
    assert {record["model"] for record in records(post(url, fault)[2])} == {f"fault:{fault}"}


# ---- the network in trouble


def test_cut_ends_inside_a_chunk_of_half_a_record(url, lines):
    answer = raw(url, "cut")
    half = lines[5][: len(lines[5]) // 2]
    assert lines[4] in answer
    assert answer.endswith(b"\r\n" + half + b"\r\n")  # and no last chunk


def test_cut_as_a_whole_is_shorter_than_it_says(url):
    head, body = raw(url, "cut", stream=False).split(b"\r\n\r\n", 1)
    whole = ask(url, "POST", "/api/generate", {**ASKED, "stream": False})[2]
    assert f"Content-Length: {len(whole)}".encode() in head
    assert body == whole[: len(whole) // 2]


def test_split_line_sends_two_chunks_for_each_record(url, lines):
    pieces = chunks(url, "split-line")
    assert [a + b for a, b in zip(pieces[::2], pieces[1::2], strict=True)] == lines
    assert not any(piece.startswith(b"{") and piece.endswith(b"\n") for piece in pieces)


def test_split_line_as_a_whole_is_two_chunks_too(url):
    first, second = chunks(url, "split-line", stream=False)
    assert json.loads(first + second)["response"] == TEXT


@pytest.mark.parametrize("stream", STREAMS)
def test_split_char_ends_a_chunk_inside_a_character(url, stream):
    pieces = chunks(url, "split-char", stream)
    with pytest.raises(UnicodeDecodeError, match="unexpected end of data"):
        pieces[0].decode()
    assert text(b"".join(pieces)) == "Ça va ? 你好, Ōsaka 🦙"


def test_garbage_is_a_line_in_the_middle(url, lines):
    assert chunks(url, "garbage") == [*lines[:5], faults.NO_JSON, *lines[5:]]


def test_garbage_stands_before_a_whole_answer(url):
    with pytest.raises(json.JSONDecodeError):
        json.loads(post(url, "garbage", stream=False)[2])


@pytest.mark.parametrize("stream", STREAMS)
def test_empty_is_a_200_without_a_body(url, stream):
    status, headers, body = post(url, "empty", stream)
    assert (status, body, headers["Content-Length"]) == (200, b"", None)


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/version"), ("POST", "/api/chat")])
def test_html_is_the_login_page_on_every_path(url, method, path):
    status, headers, body = ask(url, method, f"/fault/html{path}", ASKED)
    assert (status, headers["Content-Type"], body) == (200, "text/html", faults.LOGIN_PAGE)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_refuse_closes_every_connection_without_a_word(url, method):
    path = "/fault/refuse/api/tags"
    if method == "POST":
        assert exchange(url, post_bytes(path, ASKED)) == b""
    else:
        assert exchange(url, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()) == b""


# ---- the dial


@pytest.mark.parametrize("fault", [name for name in FAULTS if name not in ("refuse", "html")])
def test_the_address_of_a_fault_is_the_address_of_a_server(url, fault):
    version, tags, root = (
        ask(url, "GET", f"/fault/{fault}{path}") for path in ("/api/version", "/api/tags", "")
    )
    assert b"+llamalab" in version[2]
    assert b"mistral:latest" in tags[2]
    assert root[2] == b"Ollama is running"


@pytest.mark.parametrize("path", ["/fault/nix/api/generate", "/fault/nix", "/fault/", "/fault"])
def test_an_unknown_fault_is_told_the_names(url, path):
    status, _, body = ask(url, "POST", path, ASKED)
    assert status == 404
    assert all(name in json.loads(body)["error"] for name in FAULTS)


def test_a_redirect_stays_with_the_fault(url):
    status, headers, _ = ask(url, "POST", "/fault/cut/api/generate/", ASKED)
    assert (status, headers["Location"]) == (307, "/fault/cut/api/generate")


@pytest.mark.parametrize("fault", [name for name in FAULTS if name not in ("refuse", "html")])
def test_what_is_no_answer_does_not_break(url, fault):
    assert ask(url, "POST", f"/fault/{fault}/api/generate", "nonsense")[0] == 400
    assert ask(url, "POST", f"/fault/{fault}/api/show", {"model": "mistral"})[0] == 200
    status, _, body = post(url, fault, model="nosuch")
    assert (status, body) == (404, b'{"error":"model \'nosuch\' not found"}')


@pytest.mark.parametrize("fault", FAULTS)
def test_the_guard_stands_before_every_fault(url, fault):
    evil = {"Host": "evil.example"}
    status, _, body = ask(url, "POST", f"/fault/{fault}/api/generate", ASKED, evil)
    assert (status, body) == (403, b"")


@pytest.mark.parametrize("fault", ["refuse", "busy", "cut", "html"])
def test_a_whole_server_breaks_like_one_address_of_another(url, fault):
    with BuiltinServer.start(speed=0, fault=fault) as broken:
        answer = exchange(broken.url, post_bytes("/api/generate", ASKED, more=CLOSE))
        others = exchange(broken.url, post_bytes("/fault/no-done/api/generate", ASKED, more=CLOSE))
    assert without_date(answer) == without_date(raw(url, fault))
    assert without_date(others) == without_date(raw(url, "no-done"))


def without_date(answer):
    return [line for line in answer.split(b"\r\n") if not line.startswith(b"Date:")]


def test_a_fault_that_is_not_there_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match=r"no fault 'nix'; there are: refuse, .*thinking-only"):
        BuiltinServer.start(fault="nix")


def test_a_short_answer_breaks_before_its_last_record(url, server):
    class Short:
        def has(self, model):
            return True

        async def answer(self, path, request):
            yield b'{"response":"Y","done":false}\n'
            yield b'{"response":"","done":true}\n'

    kept, server.app.state.source = server.app.state.source, Short()
    try:
        assert chunks(url, "error-midway")[1].startswith(b'{"error"')
        assert chunks(url, "garbage")[1] == faults.NO_JSON
        assert raw(url, "cut").endswith(b'{"response":""\r\n')
    finally:
        server.app.state.source = kept


# ---- /v1


@pytest.fixture
def v1(write_recording):
    messages = [{"role": "user", "content": "Hi"}]
    more = {"created_at": "2026-11-22T10:00:00Z", "model": "m"}
    fragments = [
        {**more, "message": {"role": "assistant", "content": c}, "done": False} for c in "abcdefg"
    ]
    last = {**more, "message": {"role": "assistant", "content": ""}, "done": True}
    folder = write_recording(
        {"model": "m", "messages": messages}, *fragments, last, path="/api/chat"
    )

    with BuiltinServer.start(speed=0, recordings=folder) as server:

        def post(fault, stream=True):
            asked = {"model": "m", "messages": messages, "stream": stream}
            path = f"/fault/{fault}/v1/chat/completions"
            return exchange(server.url, post_bytes(path, asked, more=CLOSE))

        yield post


def test_v1_refuses_in_its_own_form(v1):
    for stream in STREAMS:
        answer = v1("busy", stream)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b'{"error":{"message":"server busy, please try again.  maximum' in answer
    assert b'"message":"model \'m\' not found","type":"not_found_error"' in v1("no-model")


def test_v1_breaks_off_in_the_middle(v1):
    assert b"unexpected EOF" in v1("error-midway")
    assert v1("error-midway", stream=False).startswith(b"HTTP/1.1 500")
    assert not v1("cut").endswith(b"0\r\n\r\n")
    assert b'"finish_reason":"stop"' not in v1("no-done")
    assert b"[DONE]" not in v1("no-done")
    assert b"[DONE]" in v1("slow-start")
    assert b'"finish_reason":"stop"' in v1("slow-start")


@pytest.mark.parametrize("fault", OWN_WORDS)
def test_v1_carries_a_faults_own_words_in_the_name_of_the_fault(v1, fault):
    for stream in STREAMS:
        assert f'"model":"fault:{fault}"'.encode() in v1(fault, stream)


# ---- the command


def test_serve_help_lists_the_faults(capsys):
    with pytest.raises(SystemExit):
        cli.main(["serve", "--help"])
    said = capsys.readouterr().out
    assert all(f"\n  {name} " in said and fault.about in said for name, fault in FAULTS.items())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send")
@pytest.mark.parametrize("fault", ["cut", pytest.param("refuse", marks=pytest.mark.long)])
def test_serve_says_how_it_breaks_and_does(fault):
    code = f"from llamalab.standin.run import serve; serve(0, 0, fault={fault!r})"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], env=os.environ, **pipes) as serving:
        server, said, stop = (serving.stdout.readline() for _ in range(3))
        try:
            answer = exchange(server.split()[1], post_bytes("/api/generate", ASKED))
        except ConnectionRefusedError:
            answer = "refused"
        serving.send_signal(signal.SIGINT)
        rest = serving.communicate()
    assert said == f"Fault:  {fault} ({FAULTS[fault].about})\n"
    assert stop.endswith("Stop it with Ctrl-C.\n")
    assert answer == "refused" if fault == "refuse" else not answer.endswith(b"0\r\n\r\n")
    assert (serving.returncode, rest) == (0, ("", ""))
