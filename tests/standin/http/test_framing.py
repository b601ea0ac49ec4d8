"""The bytes on the socket: what is sent, in which pieces, and when."""

import json
import time

import pytest
from raw_http import TICK, connect, exchange, head_and_chunks, post_bytes

from llamalab.standin.answers.recordings import FOLDER, read
from llamalab.standin.run import BuiltinServer

ASKED = {"model": "mistral", "prompt": "Are you listening?"}
CLOSE = "Connection: close\r\n"


@pytest.fixture(scope="module")
def lines():
    return read(FOLDER / "mistral-are-you-listening.ndjson").lines


def test_one_chunk_is_one_record(url, lines):
    _, chunks = head_and_chunks(exchange(url, post_bytes("/api/generate", ASKED, more=CLOSE)))
    assert chunks == lines


def test_a_streamed_answer_has_these_headers_and_no_others(url):
    with connect(url) as connection:
        connection.sendall(post_bytes("/api/generate", ASKED, more="Accept-Encoding: gzip\r\n"))
        data = b""
        while not data.endswith(b"\r\n0\r\n\r\n"):
            data += connection.recv(65536)
    head, _ = head_and_chunks(data)
    assert head[0] == b"HTTP/1.1 200 OK"
    assert sorted(line.split(b":")[0].lower() for line in head[1:]) == [
        b"content-type",
        b"date",
        b"transfer-encoding",
    ]
    assert b"Content-Type: application/x-ndjson" in head


def test_an_old_client_gets_the_same_records_without_chunks(url, lines):
    answer = exchange(url, post_bytes("/api/generate", ASKED, version="1.0"))
    head, body = answer.split(b"\r\n\r\n", 1)
    assert b"chunked" not in head
    assert body == b"".join(lines)


def test_a_connection_serves_one_request_after_the_other(url, lines):
    both = post_bytes("/api/generate", {"model": "nosuch"})
    both += post_bytes("/api/generate", ASKED, more=CLOSE)
    refused, answered = exchange(url, both).split(b'not found"}', 1)
    assert refused.startswith(b"HTTP/1.1 404")
    assert head_and_chunks(answered)[1] == lines


def test_a_body_in_pieces_is_read_to_its_end(url, lines):
    request = post_bytes("/api/generate", ASKED, more=CLOSE)
    with connect(url) as connection:
        for i in range(0, len(request), 7):
            connection.sendall(request[i : i + 7])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert head_and_chunks(answer)[1] == lines


# ---- time: a recording of three records, 0.3 s before the first, 0.2 s between them


def record(second, text, **more):
    return {
        "created_at": f"2026-11-22T10:00:0{second}Z",
        "response": text,
        "done": bool(more),
        **more,
    }


@pytest.fixture
def slow(write_recording):
    folder = write_recording(
        {"model": "m", "prompt": "x"},
        record(0.3, "a"),
        record(0.5, "b"),
        record(0.7, "", done_reason="stop", total_duration=700_000_000),
    )
    with BuiltinServer.start(recordings=folder) as server:
        yield server.url


def arrivals(url):
    """Seconds from the request to the head of the answer, and to each of its records."""
    times, data = {}, b""
    with connect(url) as connection:
        start = time.monotonic()
        connection.sendall(post_bytes("/api/generate", {"model": "m", "prompt": "x"}, more=CLOSE))
        while piece := connection.recv(65536):
            data += piece
            for mark in (b"HTTP/1.1", b'"a"', b'"b"', b'"stop"'):
                if mark in data:
                    times.setdefault(mark, time.monotonic() - start)
    return list(times.values())


def test_records_come_at_the_recorded_pace_and_the_headers_with_the_first(slow):
    head, first, second, last = arrivals(slow)
    assert head >= 0.3 - TICK
    assert second >= 0.5 - TICK
    assert last >= 0.7 - TICK
    assert head <= first <= second <= last


def test_a_whole_answer_takes_as_long_as_its_records(slow):
    start = time.monotonic()
    request = {"model": "m", "prompt": "x", "stream": False}
    answer = exchange(slow, post_bytes("/api/generate", request, more=CLOSE))
    assert time.monotonic() - start >= 0.7 - TICK
    assert json.loads(answer.split(b"\r\n\r\n")[1])["response"] == "ab"
