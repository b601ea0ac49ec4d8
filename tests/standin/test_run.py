"""Starting, stopping, and what happens when a source or a reader lets go."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress

import pytest
from patience import PATIENCE, eventually
from raw_http import ask, connect, exchange, post_bytes
from tiny_server import free_port

from llamalab.standin.answers.recordings import FOLDER
from llamalab.standin.ollama.protocol import Refusal
from llamalab.standin.run import BuiltinServer, PortTaken

ASKED = {"model": "mistral", "prompt": "Are you listening?"}


def test_it_listens_on_loopback_only(server):
    assert server.url.startswith("http://127.0.0.1:")


def test_a_taken_port_is_one_clear_sentence(server):
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(PortTaken) as taken:
        BuiltinServer.start(port)
    assert str(taken.value) == (
        f"Port {port} is taken, perhaps by Ollama or by another llamalab.\n"
        "  Do:  use what is there; or llamalab serve --port 11435, and for who asks: "
        "OLLAMA_HOST=127.0.0.1:11435"
    )


def test_a_port_is_free_again_once_the_server_has_stopped():
    with BuiltinServer.start(free_port(), speed=0) as first:
        ask(first.url, "POST", "/api/generate", ASKED)
    with BuiltinServer.start(int(first.url.rpartition(":")[2]), speed=0) as second:
        assert second.url == first.url
        assert ask(second.url, "GET", "/")[0] == 200


def test_two_servers_serve_side_by_side(write_recording):
    record = {"created_at": "2026-11-22T10:00:00Z", "response": "Y", "done": True}
    folder = write_recording({"model": "other", "prompt": "x"}, record)
    with BuiltinServer.start() as one, BuiltinServer.start(recordings=folder) as two:
        assert b"mistral" in ask(one.url, "GET", "/api/tags")[2]
        assert b"mistral" not in ask(two.url, "GET", "/api/tags")[2]


def test_stopping_cuts_off_an_open_stream():
    server = BuiltinServer.start(speed=0.01)  # its first record would take minutes
    with connect(server.url) as connection:
        connection.sendall(post_bytes("/api/generate", ASKED))
        eventually(lambda: server._uvicorn.server_state.tasks)  # it is at work
        server.stop()
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert not server.running
    assert b'"done":true' not in answer


def test_stopping_twice_is_no_harm():
    server = BuiltinServer.start(free_port())
    server.stop()
    server.stop()
    with pytest.raises(ConnectionError):
        connect(server.url)


def test_it_starts_beside_a_running_event_loop_as_in_a_notebook():
    async def cell():
        before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        with BuiltinServer.start(speed=0) as server:
            status = ask(server.url, "POST", "/api/generate", ASKED)[0]
        return status, before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))

    assert asyncio.run(cell()) == (200, True)


def python(code, **more):
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def test_a_server_that_runs_does_not_keep_the_interpreter_from_ending():
    process = python("from llamalab.standin.run import *; BuiltinServer.start(); print('end')")
    assert process.communicate() == ("end\n", "")
    assert process.returncode == 0


def serve(port=0, speed=0.01, recordings=None):
    more = f"{port}, {speed}, {str(recordings)!r}" if recordings else f"{port}, {speed}"
    return python(f"from llamalab.standin.run import serve; serve({more})")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_serve_says_where_it_is_and_a_signal_ends_it_quietly(name):
    process = serve()
    first, second = process.stdout.readline(), process.stdout.readline()
    assert first.startswith("Server: http://127.0.0.1:")
    assert first.endswith(" (llamalab's built-in server)\n")
    assert second == "Models: mistral:latest. Stop it with Ctrl-C.\n"
    with connect(first.split()[1]) as connection:
        connection.sendall(post_bytes("/api/generate", ASKED))  # a stream stays open
        process.send_signal(getattr(signal, name))
        assert process.communicate() == ("", "")
    assert process.returncode == 0


def test_serve_plays_recordings_of_one_s_own_before_those_of_the_lesson(write_recording):
    record = {"created_at": "2026-11-22T10:00:00Z", "response": "No.", "done": True}
    write_recording(ASKED, record, name="mine.ndjson")
    folder = write_recording({"model": "other", "prompt": "x"}, record, name="other.ndjson")
    process = serve(speed=0, recordings=folder)
    try:
        url = process.stdout.readline().split()[1]
        assert "other:latest" in process.stdout.readline()
        assert b'"No."' in ask(url, "POST", "/api/generate", ASKED)[2]
        asked = json.loads((FOLDER / "smollm2-capital.ndjson").read_bytes().partition(b"\n")[0])
        assert b'" Tokyo"' in ask(url, "POST", asked["path"], asked["json"])[2]
    finally:
        process.terminate()
        process.communicate()


# ---- sources that are not recordings: the seam


class Fake:
    """A source that answers with lines; an exception among them is raised, an event waited for."""

    def __init__(self, *lines):
        self.lines = lines
        self.closed = threading.Event()

    def has(self, model):
        return True

    async def answer(self, path, request):
        try:
            for line in self.lines:
                if isinstance(line, Exception):
                    raise line
                if line is FOREVER:
                    await asyncio.Event().wait()
                yield line
        finally:
            self.closed.set()


FOREVER = object()
LINE = b'{"response":"Y","done":false}\n'


@pytest.fixture
def answer_with(server):
    kept = server.app.state.source

    def answer_with(*lines):
        server.app.state.source = Fake(*lines)
        return server.app.state.source

    yield answer_with
    server.app.state.source = kept


def test_a_record_goes_out_before_the_next_one_is_there(url, answer_with):
    answer_with(LINE, FOREVER)
    data = b""
    with connect(url) as connection:
        connection.sendall(post_bytes("/api/generate", ASKED))
        while LINE not in data:
            data += connection.recv(65536)  # its patience ends where the record is held back
    assert data.startswith(b"HTTP/1.1 200")


def test_an_error_before_the_first_record_has_its_own_status(url, answer_with):
    answer_with(Refusal(503, "server busy"))
    status, headers, body = ask(url, "POST", "/api/generate", ASKED)
    assert (status, headers["Content-Type"]) == (503, "application/json")
    assert body == b'{"error":"server busy"}'


def test_an_error_after_it_is_the_last_line(url, answer_with):
    answer_with(LINE, Refusal(500, "unexpected EOF"))
    status, _, body = ask(url, "POST", "/api/generate", ASKED)
    assert (status, body) == (200, LINE + b'{"error":"unexpected EOF"}\n')


def test_not_streamed_an_error_is_a_status_wherever_it_comes(url, answer_with):
    answer_with(LINE, Refusal(500, "unexpected EOF"))
    status, headers, body = ask(url, "POST", "/api/generate", {**ASKED, "stream": False})
    assert (status, headers["Content-Type"]) == (500, "application/json; charset=utf-8")
    assert body == b'{"error":"unexpected EOF"}'


def test_what_nobody_foresaw_is_a_500_that_says_so(url, answer_with, caplog):
    answer_with(ZeroDivisionError("oh"))
    status, _, body = ask(url, "POST", "/api/generate", ASKED)
    assert status == 500
    assert json.loads(body)["error"] == (
        "llamalab's built-in server failed: ZeroDivisionError('oh')"
    )
    assert "/api/generate failed" in caplog.text


def test_what_nobody_foresaw_after_the_first_record_breaks_the_stream(url, answer_with):
    answer_with(LINE, ZeroDivisionError("oh"))
    answer = exchange(url, post_bytes("/api/generate", ASKED))
    assert b'"Y"' in answer
    assert not answer.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("lines", [[FOREVER], [LINE, FOREVER], [LINE] * 100_000 + [FOREVER]])
def test_a_reader_who_leaves_ends_the_answer(url, answer_with, stream, lines):
    source = answer_with(*lines)
    with connect(url) as connection:
        connection.sendall(post_bytes("/api/generate", {**ASKED, "stream": stream}))
        connection.setblocking(False)
        with suppress(BlockingIOError):
            connection.recv(1)
    assert source.closed.wait(PATIENCE)
    assert ask(url, "GET", "/")[0] == 200


def test_a_slow_reader_holds_up_nobody_else(url, answer_with):
    answer_with(*[LINE] * 100_000)
    with connect(url) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(post_bytes("/api/generate", ASKED))
        assert ask(url, "GET", "/")[0] == 200
