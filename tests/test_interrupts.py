"""Ctrl-C, and a kernel's interrupt, at any moment: the reader ends, and the model stops.

Most readers run in this very process, as in a notebook's kernel: the connection has to be closed
by the reader, not by the end of a process. A few run in a real kernel, as a student's cells.
"""

import asyncio
import contextlib
import importlib.util
import io
import queue
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
import survival
from jupyter_client.manager import start_new_kernel
from patience import PATIENCE
from tiny_server import chunk, head, tiny_server

import llamalab
from llamalab import cli
from llamalab.standin.run import BuiltinServer

GENERATE = Path(__file__).parent.parent / "notebooks" / "generate.py"
LINE = b'{"model":"m","response":"Yes","done":false}\n'
MOMENTS = {
    "before the first byte": [],
    "in the middle of a line": [LINE, LINE[:20]],
    "while it stalls": [LINE, LINE],
}
AGAIN = 4  # seconds later, Ctrl-C is pressed again: now and then Python cannot raise it at once
ANSWERED = 10  # seconds for a kernel to answer; interrupted again while it does, it never would

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="there, a thread cannot press Ctrl-C for another"
)


class Model:
    """A source that says its lines and then nothing, for ever; or the lines for ever."""

    def __init__(self, *lines: bytes, again: bool = False):
        self.lines, self.again = lines, again
        self.busy, self.stopped = threading.Event(), threading.Event()

    def has(self, model: str) -> bool:
        return True

    async def answer(self, path: str, request: dict):
        try:
            for line in self.lines:
                yield line
            self.busy.set()
            while self.again:
                yield LINE
            await asyncio.Event().wait()
        finally:
            self.stopped.set()


@pytest.fixture(scope="module")
def server():
    with BuiltinServer.start(speed=0) as server:
        yield server


@pytest.fixture
def model(server):
    """`model(*lines)` puts another model behind the server, for as long as the test lasts."""
    kept = server.app.state.source

    def model(*lines: bytes, again: bool = False) -> Model:
        server.app.state.source = Model(*lines, again=again)
        return server.app.state.source

    yield model
    server.app.state.source = kept


@contextlib.contextmanager
def ctrl_c(model: Model, delay: float = 0.0):
    """Press Ctrl-C as soon as the model is at work, and again as long as the reader goes on."""
    over, reader = threading.Event(), threading.main_thread().ident

    def press() -> None:
        assert model.busy.wait(PATIENCE)
        time.sleep(delay)
        while not over.is_set():
            signal.pthread_kill(reader, signal.SIGINT)
            over.wait(AGAIN)

    thread = threading.Thread(target=press)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def read_stream(url: str) -> None:
    for _fragment in llamalab.stream("Hi", server=url):
        pass


def interrupted_after_a_fragment(url: str) -> None:
    for _fragment in llamalab.stream("Hi", server=url):
        raise KeyboardInterrupt


def ask(url: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        ended_with_130(cli.main(["ask", "Hi", "--server", url]))


def generate_py(url: str) -> None:
    spec = importlib.util.spec_from_file_location("generate", GENERATE)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with contextlib.redirect_stdout(io.StringIO()):
        ended_with_130(script.ask(url, "Hi"))


def ended_with_130(code: int) -> None:
    """A program's way to say that it was interrupted, said here as a function says it."""
    assert code == 130
    raise KeyboardInterrupt


READERS = {
    "generate": lambda url: llamalab.generate("Hi", server=url),
    "stream": read_stream,
    "chat": lambda url: llamalab.chat([{"role": "user", "content": "Hi"}], server=url),
    "ask": ask,
    "generate.py": generate_py,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_stops_the_model(server, model, monkeypatch, moment, reader):
    monkeypatch.setenv("no_proxy", "*")  # which generate.py would write into this process
    source = model(*MOMENTS[moment])
    with pytest.raises(KeyboardInterrupt), ctrl_c(source):
        READERS[reader](server.url)
    assert source.stopped.wait(PATIENCE)


def test_an_interrupt_in_the_loop_of_the_reader_stops_the_model(server, model):
    source = model(LINE)
    with pytest.raises(KeyboardInterrupt):
        interrupted_after_a_fragment(server.url)
    assert source.stopped.wait(PATIENCE)


def test_an_interrupt_at_any_moment_leaves_the_next_question_its_own_answer(server, model):
    """No rest of an old answer stays in a connection that is used again."""
    recordings = server.app.state.source
    for _ in range(25):
        source = model(LINE, again=True)
        with pytest.raises(KeyboardInterrupt), ctrl_c(source, delay=random.random() / 50):
            read_stream(server.url)
        assert source.stopped.wait(PATIENCE)
        server.app.state.source = recordings
        answer = llamalab.generate("Are you listening?", server=server.url)
        assert answer == "Yes, I am listening. How may I assist you today?"


# ---- at each line, one after another: where chance would find a gap only now and then


def stalls_after(lines: list[bytes], closed: list[threading.Event]):
    """An answer that stalls; each sets its own event when its reader has gone."""

    def answer(connection: socket.socket) -> None:
        closed.append(threading.Event())
        gone = closed[-1]
        connection.sendall(head() + b"".join(map(chunk, lines)))
        while connection.recv(65536):
            pass
        gone.set()

    return answer


@contextlib.contextmanager
def interrupted_at(number: int):
    """Raise KeyboardInterrupt at that line of the helper; yields how many there have been."""
    count = [0]

    def trace(frame, event, argument):
        if Path(frame.f_code.co_filename).parent != Path(llamalab.__file__).parent:
            return None
        if event in ("call", "line"):
            count[0] += 1
            if count[0] == number:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(None)


def read_two_fragments(url: str, number: int) -> int:
    """Read until the answer stalls, interrupted at one line; returns how many lines that took."""
    with interrupted_at(number) as count:
        fragments = llamalab.stream("Hi", server=url)
        assert [next(fragments), next(fragments)] == ["Yes", "Yes"]
    fragments.close()
    return count[0]


def test_an_interrupt_at_any_line_of_the_helper_closes_the_connection():
    closed, kept = [], []  # a notebook keeps the error, and with it all that its frames hold
    with tiny_server(stalls_after([LINE, LINE], closed)) as url:
        for number in range(1, read_two_fragments(url, 0)):
            try:
                read_two_fragments(url, number)
            except KeyboardInterrupt as interrupt:
                kept.append(interrupt)
        for gone in closed:
            assert gone.wait(PATIENCE)
    assert len(kept) > 50


# ---- the square button of a notebook

QUESTION = '{"model": "mistral", "prompt": "Hi"}'
HELPER = {
    "generate": 'llamalab.generate("Hi")',
    "stream": 'for fragment in llamalab.stream("Hi"): pass',
    "a slow loop over stream": 'for fragment in llamalab.stream("Hi"): time.sleep(PATIENCE)',
}
BY_HAND = {  # a student's own code: `requests` closes what it waits for, and nothing else does
    "chapter 01": f'response = requests.post(SERVER + "/api/generate", json={QUESTION})',
    "chapter 09": f'{survival.last_loop()}\nask_and_survive(SERVER + "/api/generate", {QUESTION})',
}
PRESSED = [(cell, moment) for cell in HELPER for moment in MOMENTS]
PRESSED += [(cell, "before the first byte") for cell in BY_HAND]


@pytest.fixture(scope="module")
def kernel(server):
    manager, client = start_new_kernel(kernel_name="python3")
    first = f"import json, os, time, requests, llamalab; {PATIENCE = }; SERVER = {server.url!r}"
    client.execute(f"{first}; os.environ['OLLAMA_HOST'] = SERVER", reply=True)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.mark.parametrize(("cell", "moment"), PRESSED)
def test_a_kernel_s_interrupt_ends_the_cell_and_stops_the_model(
    server, model, kernel, cell, moment
):
    manager, client = kernel
    recordings, source = server.app.state.source, model(*MOMENTS[moment])
    asked = client.execute((HELPER | BY_HAND)[cell], stop_on_error=False)  # the next is not aborted
    assert source.busy.wait(PATIENCE)
    reply, end = None, time.monotonic() + PATIENCE
    while reply is None and time.monotonic() < end:
        manager.interrupt_kernel()
        with contextlib.suppress(queue.Empty):
            reply = client.get_shell_msg(timeout=ANSWERED)
    assert reply["parent_header"]["msg_id"] == asked
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert source.stopped.wait(PATIENCE)
    server.app.state.source = recordings
    right = 'assert llamalab.generate("Are you listening?").startswith("Yes, I am listening.")'
    assert client.execute(right, reply=True)["content"]["status"] == "ok"
