"""Every limit: what is just below it works, what is above it is answered in words we understand."""

import asyncio
import json
import logging
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
import requests
from patience import PATIENCE, eventually
from raw_http import ask, connect, exchange, held_up, post_bytes

from llamalab import client
from llamalab.errors import BadAnswer, ServerBusy
from llamalab.standin import limits
from llamalab.standin.answers import builtin_model, engine, translate
from llamalab.standin.answers.endpoint import TOO_LONG, Endpoint, TooLong
from llamalab.standin.answers.local_model import LocalModel
from llamalab.standin.http.responses import collect
from llamalab.standin.ollama import gojson, protocol
from llamalab.standin.ollama.protocol import Refusal
from llamalab.standin.run import BuiltinServer

MODEL = builtin_model.NAME
ASKED = {"model": "mistral", "prompt": "Are you listening?"}
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
def nothing_logged(caplog):
    """No limit is a failure of the server."""
    caplog.set_level(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    yield
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    said = [record.getMessage() for record in caplog.get_records("call")]
    assert [text for text in said if "Invalid HTTP" not in text] == []


@pytest.fixture
def limited(monkeypatch):
    """Start a server with its own limits: `limited(IDLE_TIME=0.1)`."""
    with ExitStack() as servers:

        def limited(**changed):
            for name, value in changed.items():
                monkeypatch.setattr(limits, name, value)
            return servers.enter_context(BuiltinServer.start(speed=0))

        yield limited


def connections(server) -> int:
    return len(server._uvicorn.server_state.connections)


def read(connection) -> bytes:
    """All that comes; a connection that is reset has come to its end, too."""
    data = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            data += piece
    return data


def error_in(answer: bytes) -> tuple[int, str]:
    head, body = answer.split(b"\r\n\r\n", 1)
    return int(head.split()[1]), json.loads(body)["error"]


def test_the_page_for_developers_tells_these_limits():
    page = Path(__file__).parents[3] / ".github" / "CONTRIBUTING.md"
    told = page.read_text(encoding="utf-8")
    for said in (
        f"| {limits.MAX_BODY >> 20} MiB a request |",
        f"| {limits.MAX_HEAD >> 10} KiB of headers |",
        f"({engine.CONTEXT} tokens)",
        f"| {limits.MAX_SETTINGS >> 10} KiB of options",
        f"| {limits.MAX_CONNECTIONS} connections |",
        f"| {limits.HEAD_TIME} s for the headers to arrive, {limits.BODY_TIME} s for the rest |",
        f"| {limits.IDLE_TIME} s without a request, {limits.UNREAD_TIME} s without reading",
    ):
        assert said in told


# ---- bodies


def test_a_body_may_be_as_long_as_the_limit_and_no_longer(url):
    request = json.dumps(ASKED).encode()
    assert ask(url, "POST", "/api/generate", request.ljust(limits.MAX_BODY))[0] == 200
    status, _, body = ask(url, "POST", "/api/generate", request.ljust(limits.MAX_BODY + 1))
    assert status == 413
    assert "longer than 4194304 bytes" in json.loads(body)["error"]


def test_a_sender_who_does_not_listen_is_read_to_the_end_and_served_again(url):
    with requests.Session() as session:
        assert session.post(f"{url}/api/chat", data=b" " * 30 * 2**20).status_code == 413
        assert session.post(f"{url}/nothing", data=b" " * 30 * 2**20).status_code == 404
        assert session.post(f"{url}/api/generate", json=ASKED).status_code == 200


@pytest.mark.parametrize("path", ["/api/generate", "/nothing", "/fault/refuse/api/chat"])
def test_a_body_without_an_end_is_hung_up_on(limited, path):
    server = limited(MAX_DISCARDED=2**20)
    sent = 0
    with connect(server.url) as connection, suppress(ConnectionError):
        connection.sendall(POST.replace(b"/api/generate", path.encode()))
        while sent < 200 * 2**20:
            connection.sendall(b"10000\r\n" + b" " * 2**16 + b"\r\n")
            sent += 2**16
    assert limits.MAX_BODY < sent < 100 * 2**20
    eventually(lambda: connections(server) == 0)


def test_a_long_body_is_parsed_while_others_are_answered(url, monkeypatch):
    parsing, go_on = threading.Event(), threading.Event()

    def slow(path, body):
        parsing.set()
        go_on.wait(PATIENCE)
        raise Refusal(400, "parsed")

    monkeypatch.setattr(protocol, "read_request", slow)
    answers = []
    body = b" " * (limits.PARSED_AT_ONCE + 1)
    reader = threading.Thread(
        target=lambda: answers.append(ask(url, "POST", "/api/generate", body))
    )
    reader.start()
    assert parsing.wait(PATIENCE)
    assert ask(url, "GET", "/")[0] == 200
    assert not answers
    go_on.set()
    reader.join()
    assert answers[0][0] == 400


@pytest.mark.parametrize(
    "body",
    [
        b"[" * limits.MAX_BODY,
        b'{"a":' * 800_000,
        b"[" + b"[]," * 1_300_000 + b"[]]",
        b'{"model":"' + b'\\"' * 2_000_000 + b"[" * 1000,
        b'{"keep_alive":"' + b"1s" * 1_000_000 + b'"}',
        b'{"top_logprobs":' + b"9" * 4_000_000 + b"}",
    ],
    ids=["lists", "objects", "many", "quotes", "durations", "digits"],
)
def test_a_body_made_to_be_hard_is_refused(url, body):
    status, _, content = ask(url, "POST", "/api/generate", body)
    assert 400 <= status < 500
    assert len(json.loads(content)["error"]) < 500


def test_nests_may_be_as_deep_as_the_limit_also_beside_brackets_in_a_text():
    text = b'{"prompt":"' + b"[{" * 1000 + b'","options":{"a":%s}}'
    assert gojson.decode(text % (b"[" * 498 + b"]" * 498))
    with pytest.raises(gojson.NotJson, match="exceeded max depth"):
        gojson.decode(text % (b"[" * 499 + b"]" * 499))


# ---- heads


def test_a_head_may_be_as_long_as_the_limit_and_no_longer(url):
    longest = limits.MAX_HEAD - 200
    assert ask(url, "GET", "/", headers={"Cookie": "c" * longest})[0] == 200
    status, headers, body = ask(url, "GET", "/", headers={"Cookie": "c" * limits.MAX_HEAD})
    assert (status, headers["Content-Type"]) == (431, "application/json; charset=utf-8")
    assert json.loads(body) == {"error": "the request's head is longer than 65536 bytes"}
    for target in ("/" + "p" * limits.MAX_HEAD, "/?q=" + "p" * limits.MAX_HEAD):
        assert ask(url, "GET", target)[0] == 431


def test_a_head_without_an_end_is_refused_before_it_fills_the_memory(url):
    with connect(url) as connection:
        connection.sendall(GET + b"Cookie: " + b"c" * 8 * 2**20)  # all of it is taken, none kept
        assert error_in(read(connection))[0] == 431


@pytest.mark.parametrize(
    "request_",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        GET + b"Host: twice\r\n\r\n",
        GET + b"Content-Length: many\r\n\r\n",
        GET + b"Transfer-Encoding: gzip\r\n\r\n",
        GET + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        GET + b"a\x00b: c\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        POST + b"never\r\n",
        POST + b"-1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
def test_what_is_no_http_is_answered_as_ollama_words_an_error(url, request_):
    status, text = error_in(exchange(url, request_))
    assert (status, text[:25]) == (400, "the request is not HTTP: ")


@pytest.mark.parametrize("path", ["/", "/nothing", "/api/generate"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_chunk_that_is_none_ends_the_connection_and_nothing_else(url, method, path):
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connect(url) as connection:
        connection.sendall(head.encode() + b"2\r\n{}\r\nnever\r\n")
        assert read(connection).startswith((b"HTTP/1.1 4", b"HTTP/1.1 200"))
    assert ask(url, "GET", "/")[0] == 200


# ---- connections


def test_one_connection_too_many_is_told_that_the_server_is_busy(limited):
    server = limited(MAX_CONNECTIONS=3)
    with ExitStack() as open_ones:
        for _ in range(3):
            open_ones.enter_context(connect(server.url))
        eventually(lambda: connections(server) == 3)
        status, headers, body = ask(server.url, "POST", "/api/generate", ASKED)
        assert (status, headers["Connection"]) == (503, "close")
        assert json.loads(body)["error"].startswith("server busy, please try again.  maximum")
        with pytest.raises(ServerBusy, match=r"busy \(HTTP 503\).*\n.*maximum pending requests"):
            client.generate("Are you listening?", server=server.url)
    eventually(lambda: connections(server) == 0)
    assert client.generate("Are you listening?", server=server.url).startswith("Yes")


def test_twice_as_many_connections_are_closed_at_once(limited):
    server = limited(MAX_CONNECTIONS=2)
    with ExitStack() as open_ones:
        kept = [open_ones.enter_context(connect(server.url)) for _ in range(4)]
        eventually(lambda: connections(server) == 4)
        with connect(server.url) as fifth:
            assert read(fifth) == b""
        kept[0].sendall(GET + b"Connection: close\r\n\r\n")
        assert b"Ollama is running" in read(kept[0])


# ---- time


def already_sent(server, data):
    """A connection on which these bytes are there when its time begins, however slow we are."""
    with held_up(server):
        connection = connect(server.url)
        connection.sendall(data)
    return connection


def test_a_connection_on_which_nothing_comes_is_closed_without_a_word(limited):
    with connect(limited(HEAD_TIME=0.1).url) as connection:
        assert read(connection) == b""


def test_a_head_that_does_not_come_to_its_end_is_told_so(limited):
    with already_sent(limited(HEAD_TIME=0.1), GET) as connection:
        status, text = error_in(read(connection))
    assert (status, text) == (408, "the request did not come to its end in 0.1 seconds")


def test_the_second_request_of_a_connection_has_the_same_time(limited):
    with already_sent(limited(HEAD_TIME=0.1), GET + b"\r\n") as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        time.sleep(0.3)  # a pause between two requests may be longer
        connection.sendall(GET)
        assert b"HTTP/1.1 408" in read(connection)


@pytest.mark.parametrize("path", ["/api/generate", "/nothing"])
def test_a_body_that_does_not_come_is_not_waited_for(limited, path):
    server = limited(BODY_TIME=0.1)
    with connect(server.url) as connection:
        connection.sendall(POST.replace(b"/api/generate", path.encode()) + b"2\r\n")
        status = b"408" if path.startswith("/api") else b"404"
        assert read(connection).startswith(b"HTTP/1.1 " + status)
    eventually(lambda: connections(server) == 0)


def test_the_body_of_a_second_request_sent_along_with_the_first_is_not_waited_for(limited):
    server = limited(BODY_TIME=0.1)
    with connect(server.url) as connection:
        connection.sendall(GET + b"\r\n" + POST + b"2\r\n")
        assert b"HTTP/1.1 408" in read(connection)


def test_who_thinks_between_two_cells_never_sees_that_the_connection_was_closed(limited):
    server = limited(IDLE_TIME=0.05)
    for _ in range(5):
        assert client.generate("Are you listening?", server=server.url).startswith("Yes")
        eventually(lambda: connections(server) == 0)
        with held_up(server):  # it has also closed the socket, which it does just after that
            pass


class Endless:
    """A source that answers without an end; `lines` counts what was taken from it."""

    def __init__(self):
        self.lines, self.closed = 0, threading.Event()

    def has(self, model):
        return True

    async def answer(self, path, request):
        try:
            while True:
                self.lines += 1
                yield gojson.dumps(protocol.record(path, "m", "x" * 10_000)) + b"\n"
        finally:
            self.closed.set()


def test_an_answer_that_nobody_reads_waits_and_takes_no_memory(limited):
    server = limited()
    source = server.app.state.source = Endless()
    process = psutil.Process()
    with connect(server.url) as silent:
        before = process.memory_info().rss
        silent.sendall(post_bytes("/api/generate", ASKED))
        eventually(lambda: source.lines)
        taken, most = 0, 2000  # 20 MB: what the system's buffers hold
        while taken != source.lines < most:
            taken = source.lines
            time.sleep(0.1)
        assert source.lines < most
        assert process.memory_info().rss - before < 20 * 2**20
        assert ask(server.url, "GET", "/")[0] == 200
        assert not source.closed.is_set()
    assert source.closed.wait(PATIENCE)  # its reader has left


def test_an_answer_that_nobody_reads_is_given_up_at_last(limited):
    server = limited(UNREAD_TIME=0.2)
    source = server.app.state.source = Endless()
    with connect(server.url) as silent:
        silent.sendall(post_bytes("/api/generate", ASKED))
        assert source.closed.wait(PATIENCE)
        eventually(lambda: connections(server) == 0)


def test_of_a_lost_connection_nothing_is_left(limited):
    server = limited()
    state, source = server._uvicorn.server_state, Endless()
    server.app.state.source = source
    with connect(server.url) as reads_nothing, connect(server.url) as sends_half:
        reads_nothing.sendall(post_bytes("/api/generate", ASKED))
        sends_half.sendall(GET)
        eventually(lambda: source.lines and len(timers(state.connections)) == 2)
        running = timers(state.connections)
    assert source.closed.wait(PATIENCE)
    eventually(lambda: not state.connections and not state.tasks)
    assert all(timer.cancelled() for timer in running)


def timers(connections_) -> list:
    """The clocks that run: for what is to come of a request, for what is to be read."""
    every = [vars(each).get(name) for each in list(connections_) for name in ("_coming", "_unread")]
    return [timer for timer in every if timer and not timer.cancelled()]


@pytest.mark.parametrize("bytes_", [1, 50, 130, 200])
def test_a_sender_who_leaves_in_the_middle_is_no_failure(url, bytes_):
    for path in ("/api/generate", "/v1/chat/completions", "/api/pull"):
        request = post_bytes(path, {**ASKED, "system": "x" * 100})
        with connect(url) as connection:
            connection.sendall(request[:bytes_])
    assert ask(url, "GET", "/")[0] == 200


# ---- what the engine takes


@pytest.fixture(scope="module")
def live(model_file):
    with BuiltinServer.start(speed=0, engine=LocalModel(MODEL, model_file, True)) as server:
        yield server.url


@pytest.fixture
def nobody():
    """An endpoint with a limit where nothing listens: what asks it has passed the limit."""
    return Endpoint("http://127.0.0.1:9", context=8)


LONG = "word " * 800_000  # 4 MB


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/api/generate", {"prompt": LONG}),
        ("/api/generate", {"prompt": LONG, "raw": True}),
        ("/api/generate", {"prompt": "Hi", "context": [1] * 500_000}),
        ("/api/chat", {"messages": [{"role": "user", "content": LONG}]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": LONG}]}),
    ],
    ids=["generate", "raw", "context", "chat", "v1"],
)
def test_a_prompt_that_cannot_fit_is_refused_before_the_engine_reads_it(
    live, monkeypatch, path, more
):
    monkeypatch.setattr(Endpoint, "ask", None)
    monkeypatch.setattr(Endpoint, "events", None)
    status, _, body = ask(live, "POST", path, {"model": MODEL, **more})
    assert status == 400
    assert TOO_LONG in body.decode()


def test_a_prompt_that_might_fit_is_counted_by_the_engine(nobody):
    nobody.check_prompt("x" * 1022)  # and two quotes
    with pytest.raises(Refusal, match="longer than the context length"):
        nobody.check_prompt("x" * 1023)
    assert engine.CONTEXT * limits.BYTES_PER_TOKEN == 163_840


def test_of_a_chat_of_50000_messages_as_many_are_kept_as_fit(monkeypatch):
    """The engine, whose context holds 1280 tokens, is asked some 40 times and not 50,000."""
    asked = []

    async def events(endpoint, where, body):
        asked.append(len(body["messages"]))
        if (excess := 10 * asked[-1] - engine.CONTEXT) > 0:  # a message has 10 tokens
            raise TooLong(excess)
        yield {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}

    async def answer():
        endpoint = Endpoint("http://127.0.0.1:9", context=engine.CONTEXT)
        request = {"messages": [{"role": "user", "content": "word " * 5}] * 50_000}
        metrics = translate.Metrics(0)
        return [r async for r in translate.answer(endpoint, "/api/chat", "m", request, metrics)]

    monkeypatch.setattr(Endpoint, "events", events)
    assert b'"done":true' in asyncio.run(answer())[-1]
    assert asked[-1] == engine.CONTEXT // 10
    assert len(asked) < 50


def test_of_a_chat_that_is_too_long_no_more_is_dropped_than_must_be():
    chat = [{"role": "user", "content": "x" * 68}] * 5 + [{"role": "user", "content": "now"}]
    left = [len(translate.without_oldest(chat, excess)) for excess in (1, 100, 101, 200, 9999)]
    assert left == [5, 5, 4, 4, 1]


@pytest.mark.parametrize(
    "more",
    [{"format": {"enum": ["a"] * 3000}}, {"options": {"stop": ["x" * 9000]}}],
    ids=["format", "stop"],
)
def test_a_schema_that_would_keep_the_engine_from_all_others_is_refused(live, more):
    asked = {"model": MODEL, "prompt": "Hi", **more}
    status, _, body = ask(live, "POST", "/api/generate", asked)
    assert status == 400
    assert "options and format are longer than 8192 bytes" in json.loads(body)["error"]
    with pytest.raises(BadAnswer, match=r"HTTP 400.*\n.*longer than 8192 bytes"):
        client.generate("Hi", model=MODEL, server=live, **more)


def chain(length: int) -> dict:
    """A schema of some 4 KB with 2**length parts."""
    twice = {f"a{i}": {"anyOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(length)}
    return {"$defs": twice | {f"a{length}": {"type": "string"}}, "$ref": "#/$defs/a0"}


@pytest.mark.parametrize(
    "wanted",
    [
        {"type": "integer", "minimum": -(10**15), "maximum": 10**15},
        {"type": "string", "minLength": 2, "maxLength": 2},
        {"type": "string", "pattern": "^-?[0-9]{1,3}(\\.[0-9]+)?$"},
        {"type": "object", "properties": {"minimum": {"type": "string"}}},
        chain(6),
        {"$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"},
    ],
)
def test_a_schema_that_comes_to_an_end_is_answered(live, wanted):
    asked = {"model": MODEL, "prompt": "Hi", "format": wanted, "options": {"num_predict": 9}}
    assert ask(live, "POST", "/api/generate", asked)[0] == 200


def test_of_an_openai_request_only_what_is_known_reaches_the_engine(live, monkeypatch):
    bodies = []

    async def events(endpoint, where, body):
        bodies.append(body)
        raise Refusal(400, "seen")
        yield

    monkeypatch.setattr(Endpoint, "events", events)
    messages = [{"role": "user", "content": "Hi"}]
    asked = {"model": MODEL, "messages": messages, "seed": 1, "n_probs": 9999, "id_slot": 3}
    ask(live, "POST", "/v1/chat/completions", asked)
    known = {"model": "", "messages": messages, "seed": 1}
    assert bodies == [{**translate.settings_of({}), **known}]


ENGINE_SAYS = (
    b"""HTTP/1.1 200 OK\r\nContent-Length: 35\r\n\r\ndata: {"choices":[]}\n\ndata: [DONE]\n"""
)


@pytest.mark.parametrize("answers", [False, True], ids=["silent", "answering"])
def test_a_reader_who_leaves_at_any_moment_leaves_no_connection_to_the_engine(answers):
    """Also while httpx connects or closes, where it would lose the connection."""

    came, left = [], []

    async def engine(reader, writer):
        came.append(writer)
        with suppress(ConnectionError, EOFError):
            if answers:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(ENGINE_SAYS)
            await reader.read()  # to the end of the connection
        left.append(writer)
        writer.close()

    async def leave_after_each_step():
        listener = await asyncio.start_server(engine, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        endpoint = Endpoint(f"http://127.0.0.1:{port}")
        for steps in range(100):
            reading = asyncio.ensure_future(collect(endpoint.events("/", {"prompt": "x"})))
            for _ in range(steps):
                await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait([reading])
        end = time.monotonic() + PATIENCE
        while len(left) < len(came) and time.monotonic() < end:
            await asyncio.sleep(0.05)
        lost = len(came) - len(left)
        for writer in came:
            writer.close()
        await asyncio.sleep(0)
        listener.close()
        return lost

    assert asyncio.run(leave_after_each_step()) == 0
    assert len(came) > 20
