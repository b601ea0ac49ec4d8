"""Anything on the socket: the server answers it in words, closes the connection, and is well.

Each example is one connection to a real server in this process: any method, target, headers,
body and chunking, several requests in a row, sent in any pieces, hung up on at any point. An
answer may be an error, but no failure (500) of ours; nothing is logged, no file is opened, no
program started and nobody called.

    LLAMALAB_FUZZ=20000 uv run pytest tests/standin/http/test_fuzz.py -n 0     as long as you like
"""

import contextlib
import gc
import json
import logging
import os
import socket
import struct
import sys
import threading

import psutil
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from patience import eventually
from raw_http import ask, connect, held_up

from llamalab.standin import limits
from llamalab.standin.http.faults import FAULTS
from llamalab.standin.http.routes import ABSENT
from llamalab.standin.ollama import protocol
from llamalab.standin.run import BuiltinServer

EXAMPLES = int(os.environ.get("LLAMALAB_FUZZ", 100))
POSTED = ["/api/generate", "/api/chat", "/api/show", "/api/pull", "/v1/chat/completions"]
ASKED = ["/", "/api/version", "/api/tags", "/api/ps", "/v1/models", "/v1/models/mistral"]
QUICK = sorted(FAULTS.keys() - {"stall", "slow-start", "huge-line"})

# ---- what is sent: things that are nearly right, and things that are not

words = st.sampled_from(["mistral", "smollm2:135m", "nosuch", "Are you listening?", "", "5m", "-1"])
words |= st.sampled_from(["../../etc/passwd", "http://evil.example/x", "/fault/cut", "\x00"])
words |= st.text(max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words
values = st.recursive(
    scalars,
    lambda some: st.lists(some, max_size=3) | st.dictionaries(words, some, max_size=3),
    max_leaves=6,
)
NAMES = sorted({*protocol.GENERATE, *protocol.CHAT, *protocol.SHOW, *protocol.PULL})
NAMES += ["stream_options", "max_tokens", "temperature", "seed", "stop", "response_format"]
messages = st.lists(
    st.dictionaries(st.sampled_from(sorted(protocol.MESSAGE)), values, max_size=4), max_size=3
)
documents = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(NAMES, values),
        "model": st.just("mistral") | values,
        "prompt": st.just("Are you listening?") | values,
        "messages": messages | values,
        "options": st.dictionaries(st.sampled_from(sorted(protocol.OPTIONS)), values, max_size=4),
    },
)
bodies = st.binary(max_size=200) | values.map(json.dumps).map(str.encode)
bodies |= documents.map(json.dumps).map(str.encode)
bodies |= documents.map(lambda document: json.dumps(document).encode()[:-1])

pieces = st.sampled_from(["api", "v1", "fault", "..", ".", "", "%2e%2e", "%2f", "%00", "%ff", "%"])
pieces |= st.sampled_from([*QUICK, "etc", "passwd", "mistral", "recordings", "a%0d%0ab", "C:", "~"])
paths = st.lists(pieces, max_size=6).map(lambda parts: "/" + "/".join(parts))
targets = st.sampled_from([*POSTED, *ASKED, *ABSENT]) | paths
targets |= st.builds("/fault/{}{}".format, st.sampled_from(QUICK), st.sampled_from(POSTED))
targets |= st.sampled_from(["*", "localhost:80", "http://evil.example/api/tags", "//", "/?" * 50])
targets |= st.text(st.characters(max_codepoint=255), max_size=30)

NAMES_OF_HEADERS = "Host Origin Connection Expect Content-Length Transfer-Encoding Upgrade Accept"
header_names = st.sampled_from([*NAMES_OF_HEADERS.split(), "Access-Control-Request-Method", "X"])
VALUES_OF_HEADERS = "localhost evil.example null close keep-alive 100-continue upgrade chunked gzip"
VALUES_OF_HEADERS += (
    " 0 -1 5 99999999999999999999 websocket h2c [::1 : http://localhost:1.evil.example"
)
header_values = st.sampled_from(VALUES_OF_HEADERS.split(" "))
header_values |= st.text(st.characters(max_codepoint=255), max_size=20)
headers = st.lists(st.tuples(header_names, header_values), max_size=3)
sizes = st.sampled_from(["", "0", "-1", "g", "ffffffffffffffffffff", "2;a=b", "2 ", "0x2", " 2"])


@st.composite
def requests(draw) -> bytes:
    """One request, its framing right or wrong."""
    method = draw(st.sampled_from(["POST", "POST", "POST", "GET", "HEAD", "OPTIONS", "DELETE"]))
    method = draw(st.just(method) | st.sampled_from(["CONNECT", "PUT", "get", "", "A" * 50]))
    version = draw(st.sampled_from(["1.1", "1.1", "1.1", "1.0", "0.9", "2.0", "x"]))
    body = draw(bodies)
    head = [f"{method} {draw(targets)} HTTP/{version}", "Host: localhost"]
    framing = draw(st.sampled_from(["length", "length", "chunks", "broken chunks", "none"]))
    if framing == "length":
        head += [f"Content-Length: {len(body) + draw(st.sampled_from([0, 0, 0, 1, -1]))}"]
    if "chunks" in framing:
        head += ["Transfer-Encoding: chunked"]
        cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=3)))
        parts = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part)
        body += b"0\r\n\r\n"
    if framing == "broken chunks":
        body += draw(sizes).encode() + draw(st.sampled_from([b"\r\n", b"\n", b""])) + b"x" * 9
    head += [f"{name}: {value}" for name, value in draw(headers)]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


streams = st.lists(requests(), min_size=1, max_size=3).map(b"".join) | st.binary(max_size=300)
endings = st.sampled_from(["read", "read", "read", "half-close", "reset"])


# ---- what must be true


@pytest.fixture(scope="module")
def server():
    with waiting_for_nothing("IDLE_TIME"), BuiltinServer.start(speed=0) as server:
        yield server


@contextlib.contextmanager
def waiting_for_nothing(*names):
    """So each connection comes to its end, or the test hangs: a slow client is hung up on."""
    with pytest.MonkeyPatch.context() as patch:
        for limit in names:
            patch.setattr(limits, limit, 0.1)
        yield


class Watch:
    """What the server's thread does that it never should, while the watch is `on`."""

    def __init__(self):
        self.on, self.seen = False, []

    def __call__(self, event, arguments):
        touching = ("open", "os.listdir", "os.scandir", "subprocess.Popen", "socket.connect")
        if self.on and event in touching and threading.current_thread().name.startswith("llamalab"):
            self.seen.append((event, arguments))


watch = Watch()
sys.addaudithook(watch)  # it cannot be taken away again


@pytest.fixture(autouse=True)
def nothing_touched_or_logged(server, caplog):
    ask(server.url, "POST", "/api/generate", {"model": "nosuch"})  # what is imported late
    caplog.set_level(logging.ERROR)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    watch.on, watch.seen[:] = True, []
    yield
    watch.on = False
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    assert watch.seen == []
    assert [record.getMessage() for record in caplog.get_records("call")] == []


LAST = b"\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def send(url, data, cut=0, ending="read"):
    """Send bytes in two pieces; what comes back until the server closes, which it always does."""
    answer = b""
    with (
        waiting_for_nothing("HEAD_TIME", "BODY_TIME", "LINGER"),
        connect(url) as connection,
        contextlib.suppress(ConnectionError),
    ):
        for piece in filter(None, (data[:cut], data[cut:])):
            connection.sendall(piece)
        if ending == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return answer
        if ending == "read":
            connection.sendall(LAST)
        else:
            half_close(connection)
        while piece := connection.recv(65536):
            answer += piece
    return answer


def half_close(connection) -> None:
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError:  # it has been reset meanwhile
        raise ConnectionResetError from None


def statuses(data: bytes) -> list[int]:
    return [int(line[9:12]) for line in data.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


@settings(
    max_examples=EXAMPLES,
    derandomize="LLAMALAB_FUZZ" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=streams, cut=st.integers(0, 200), ending=endings)
@example(b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnever\r\n", 0, "read")
@example(
    b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{", 0, "half-close"
)
def test_whatever_is_sent_is_no_failure_of_the_server(server, caplog, data, cut, ending):
    answer = send(server.url, data, cut, ending)
    assert b"llamalab's built-in server failed" not in answer
    assert all(status < 500 or status in (500, 501, 503) for status in statuses(answer))
    assert (caplog.text, watch.seen) == ("", [])
    assert ask(server.url, "GET", "/")[0] == 200


@settings(
    max_examples=EXAMPLES,
    derandomize="LLAMALAB_FUZZ" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(path=st.sampled_from(POSTED), body=bodies)
@example(POSTED[4], b'{"model":"mistral","messages":[{}],"stream":1,"stream_options":1}')
def test_whatever_is_posted_is_answered_in_json(server, path, body):
    status, headers, content = ask(server.url, "POST", path, body)
    kinds = ("application/json", "application/x-ndjson", "text/event-stream")
    assert headers["Content-Type"].startswith(kinds)
    if status != 200:
        error = json.loads(content)["error"]
        assert "llamalab's built-in server failed" not in str(error)
        # Ollama says 500 for an option of the wrong type, and for what no model can pull.
        assert status < 500 or status in (500, 501)


def test_after_all_that_nothing_is_left(server):
    """No task, no connection, no thread, no file: no more than after the first few."""
    process = psutil.Process()

    def left() -> tuple[int, int]:
        """Threads and files, once the last connection is closed."""
        state = server._uvicorn.server_state
        eventually(lambda: not state.tasks and not state.connections)
        gc.collect()
        with held_up(server):
            fds = process.num_fds() if hasattr(process, "num_fds") else 0
            return threading.active_count(), fds

    def some() -> None:
        for i in range(60):
            request = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70000\r\n"
            send(
                server.url, request + b"\r\n" + b" " * (i * 500), 99, ("reset", "half-close")[i % 2]
            )
            ask(server.url, "POST", POSTED[i % 5], {"model": "mistral", "prompt": "x" * 70_000})

    some()
    (threads, files), memory = left(), process.memory_info().rss
    some()
    some()
    after = left()
    assert after[0] <= threads
    assert after[1] <= files
    assert process.memory_info().rss - memory < 10 * 2**20


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/x",
        "/etc/passwd",
        "C:\\x",
        "a\x00b",
    ],
)
def test_no_name_in_a_request_is_a_file(url, name):
    for path in ("/api/generate", "/api/chat", "/api/show", "/api/pull", "/v1/chat/completions"):
        asked = {"model": name, "prompt": "x", "messages": [{"role": "user", "content": "x"}]}
        status, _, body = ask(url, "POST", path, asked)
        assert status in (400, 404) or b'{"error":"pull model manifest: file' in body
    if "\x00" not in name and "\\" not in name:
        for path in (f"/v1/models/{name}", f"/fault/{name}/api/tags", f"/recordings/{name}"):
            assert ask(url, "GET", path)[0] == 404
