"""The server in a page answers as the server on a port does: the same bytes, the same errors."""

import asyncio
import json
import re
import time

import pytest
import requests
from patience import PATIENCE
from urllib3.connectionpool import HTTPConnectionPool

from llamalab.page import server as page_server
from llamalab.standin.answers import recordings
from llamalab.standin.answers.recordings import FOLDER
from llamalab.standin.http import faults
from llamalab.standin.http.faults import FAULTS
from llamalab.standin.run import BuiltinServer

ASKED = {"model": "mistral", "prompt": "Are you listening?"}
RECORDING = FOLDER / "mistral-are-you-listening.ndjson"


@pytest.fixture(scope="module")
def on_a_port():
    with BuiltinServer.start(speed=0) as server:
        yield server.url


@pytest.fixture
def inside(monkeypatch):
    """A server in this interpreter, reached by `requests` until the test's end; its address."""
    monkeypatch.setattr(HTTPConnectionPool, "ConnectionCls", HTTPConnectionPool.ConnectionCls)
    page_server.connect()
    return page_server.PageServer.start(speed=0).url


def outcome(post, url: str, path: str, stream: bool) -> tuple:
    """What a student sees of an answer: status, headers, chunks; or the error's name."""
    chunks, head = [], ()
    silent = "/stall/" in path  # to the end: it is waited for, but not for long
    patience = 3 if silent else PATIENCE
    try:
        with post(url + path, json=ASKED, stream=stream, timeout=(PATIENCE, patience)) as response:
            head = response.status_code, response.reason, {**response.headers, "Date": ""}
            chunks = [response.content]
            if stream:
                chunks = list(response.iter_content(None))
    except requests.RequestException as error:
        return (*head, type(error).__name__)
    return (*head, chunks)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["", *(f"/fault/{name}" for name in FAULTS)])
def test_every_answer_is_the_same_as_on_a_port(on_a_port, inside, monkeypatch, path, stream):
    monkeypatch.setattr(faults, "SLOW_START", 0.05)
    monkeypatch.setattr(faults, "HUGE", 2**16)
    # Asked first, since both are at work in this process: the other addresses are not the page's.
    session = requests.Session()
    kind = HTTPConnectionPool.ConnectionCls
    HTTPConnectionPool.ConnectionCls = page_server.HTTPConnection
    wanted = outcome(session.post, on_a_port, f"{path}/api/generate", stream)
    HTTPConnectionPool.ConnectionCls = kind
    assert without_times(outcome(requests.post, inside, f"{path}/api/generate", stream)) == (
        without_times(wanted)
    )


def without_times(seen: tuple) -> str:
    """Records that a fault invents say when that was."""
    return re.sub(r"20\d\d-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)", "TIME", repr(seen))


def test_no_fragment_of_an_answer_comes_before_its_time(inside):
    server = page_server.PageServer.start(speed=10)
    start, came = time.monotonic(), []
    with requests.post(f"{server.url}/api/generate", json=ASKED, stream=True) as response:
        for line in response.iter_lines():
            came.append(time.monotonic() - start)
            assert json.loads(line)["model"] == "mistral"
    due = recordings.schedule(recordings.read(RECORDING).pauses, speed=10)
    assert due[0] == pytest.approx(0.225, abs=0.001)
    assert all(moment >= at for moment, at in zip(came, due, strict=True))


def test_nothing_listens_at_another_port_of_this_machine(inside):
    with pytest.raises(requests.ConnectionError) as caught:
        requests.get("http://127.0.0.1:9/api/version")
    assert "refused" in str(caught.value)


def test_two_answers_are_read_in_turns(inside):
    asked = {"json": ASKED, "stream": True}
    one, two = (requests.post(f"{inside}/api/generate", **asked).iter_lines() for _ in range(2))
    pairs = list(zip(one, two, strict=True))
    assert len(pairs) == 14
    assert all(first == second for first, second in pairs)


def test_a_reader_who_leaves_ends_the_answer(inside):
    server = page_server.SERVERS[page_server.PORT]
    with requests.post(f"{inside}/fault/stall/api/generate", json=ASKED, stream=True) as response:
        lines = response.iter_lines()  # its end would be the reader's
        next(lines)
        assert server.state.tasks
    assert not server.state.tasks


def test_it_works_while_another_loop_runs_a_task(inside):
    async def cell() -> tuple:
        content = requests.post(f"{inside}/api/generate", json=ASKED).content
        await asyncio.sleep(0)  # the loop outside is as it was
        return len(content), asyncio.current_task().get_name()

    async def notebook() -> tuple:
        return await asyncio.create_task(cell(), name="cell")

    assert asyncio.run(notebook()) == (1642, "cell")
