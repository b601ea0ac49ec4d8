"""The judge of a student's script: it runs the script as a terminal does, and keeps what happens.

The script asks a small model server of the judge (its address is in OLLAMA_HOST). What this
server says depends on the request, so that a script cannot know it in advance:

    /api/generate   I am MODEL. You asked: PROMPT
    /api/chat       Well, you said: THE LAST MESSAGE

`script_cases` has the runs of each exercise and says which of them are right.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from llamalab import find

TIMEOUT = 30  # seconds for one run
SILENCE = 4  # seconds without data, four times as long as a timeout may be (see `hurry`)
AT_A_TIME = 4  # runs
HURRY = Path(__file__).with_name("hurry.py")
PATIENCE = 3  # seconds until a chat's first fragment has to be on the screen
FIRST = "Well"  # the first fragment of a chat's answer

# What a fault breaks: an answer that the built-in server has as a recording, so without a model.
RECORDED = "What is my cat called?"
RECORDED_DATA = {
    "model": "mistral",
    "messages": [{"role": "user", "content": RECORDED}],
    "options": {"temperature": 0, "num_predict": 20},
}


class Run(NamedTuple):
    """One run of a script: what was typed, what came out, what the server was asked.

    `requests` has path and body of each request. `streamed` says whether the first fragment of
    the first chat answer was printed before the second one was sent.
    """

    typed: str
    printed: str
    errors: str
    exit_code: int | None  # None: it did not end
    requests: list[tuple[str, dict]]
    streamed: bool

    @property
    def traceback(self) -> bool:
        """Whether Python stopped it (a SyntaxError does not say "Traceback")."""
        return '  File "' in self.errors

    @property
    def words(self) -> Counter:
        return Counter(re.findall(r"\w+", f"{self.printed} {self.errors}"))


class Found(NamedTuple):
    """Why it went wrong, and what to say: `note` at once, `question` the second time."""

    name: str
    question: str
    hint: str
    note: str = ""


class Judge:
    """Runs a script, several runs at a time; runs that are the same are made once.

    Each `run` has its own server. With `fault`, its first answer comes from the built-in
    server's address for this fault, byte for byte; the second one is a good answer again. Where
    that server falls silent ("stall"), the script's timeouts are shortened by `hurry`.

    At the end of `with`, runs that are not needed any more are stopped. In a web page there are no
    programs and no threads: there, a script runs inside the page, when its run is asked for.
    """

    def __init__(self, script: Path):
        self.script = script
        self._runs: dict[tuple, Future[Run]] = {}
        self._pool = ThreadPoolExecutor(AT_A_TIME)
        self._running: list[subprocess.Popen] = []
        self._over = False

    def __enter__(self) -> "Judge":
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True  # a script that starts from now on stops itself
        for script in self._running:
            script.kill()
        self._pool.shutdown(cancel_futures=True)

    def start(
        self, arguments: tuple[str, ...], lines: tuple[str, ...] = (), fault: str = ""
    ) -> None:
        """Begin a run, if it was not begun before, and do not wait for its end."""
        asked = (arguments, lines, fault)
        if asked not in self._runs and not find.page():
            address = _fault_address(fault) if fault else ""
            self._runs[asked] = self._pool.submit(self._run, *asked, address)

    def run(self, arguments: tuple[str, ...], lines: tuple[str, ...] = (), fault: str = "") -> Run:
        self.start(arguments, lines, fault)
        asked = (arguments, lines, fault)
        if asked not in self._runs:
            self._runs[asked] = Future()
            self._runs[asked].set_result(self._run(*asked))
        return self._runs[asked].result()

    def _run(
        self, arguments: tuple[str, ...], lines: tuple[str, ...], fault: str, address: str = ""
    ) -> Run:
        desk, inside = Desk(fault), find.page()
        if inside:
            if fault:
                find.server(quiet=True, builtin=True)
            outcome = inside.judge(self.script, arguments, lines, desk)
        else:
            outcome = self._run_as_a_program(arguments, lines, desk, address)
        printed, errors, exit_code = outcome
        typed = " ".join(["python", self.script.name, *map(_quoted, arguments)])
        for name in (str(self.script.resolve()), str(self.script)):
            errors = errors.replace(name, self.script.name)
        return Run(typed, printed, errors, exit_code, desk.requests, bool(desk.streamed))

    def _run_as_a_program(
        self, arguments: tuple[str, ...], lines: tuple[str, ...], desk: "Desk", address: str
    ) -> tuple[str, str, int | None]:
        """Both outputs of the script and its exit code; its server is one of this process's."""
        first = [str(HURRY)] if desk.fault == "stall" else []
        with _server(desk, address) as server:
            ours = {"PYTHONIOENCODING": "utf-8", "no_proxy": "127.0.0.1"}
            ours["PYTHONUNBUFFERED"] = ""  # else a script without flush=True would stream, too
            ours["OLLAMA_HOST"] = f"http://127.0.0.1:{server.server_port}"
            script = subprocess.Popen(
                [sys.executable, *first, str(self.script), *arguments],
                env=os.environ | ours,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            self._running.append(script)
            if self._over:
                script.kill()
            with script:
                return _ended(script, lines, server)

    def said(self, run: Run, plain: Run) -> int:
        """How many words a run has said that are not in a plain run, nor in a recorded answer."""
        return (run.words - plain.words - _recorded_words()).total()


def _quoted(argument: str) -> str:
    return argument if re.fullmatch(r"[\w:.-]+", argument) else f'"{argument}"'


def _ended(
    script: subprocess.Popen, lines: tuple[str, ...], server: "_Server"
) -> tuple[str, str, int | None]:
    """Both outputs and the exit code; notes when the first fragment of a chat is printed."""
    outputs: dict[str, bytes] = {"stdout": b"", "stderr": b""}

    def read(name: str) -> None:
        while data := getattr(script, name).read1(65536):
            outputs[name] += data
            if FIRST.encode() in outputs["stdout"]:
                server.first_seen.set()

    readers = [threading.Thread(target=read, args=(name,), daemon=True) for name in outputs]
    for reader in readers:
        reader.start()
    with contextlib.suppress(OSError):  # it ended without reading
        script.stdin.write("".join(f"{line}\n" for line in lines).encode())
    with contextlib.suppress(OSError):
        script.stdin.close()
    exit_code, latest = None, time.monotonic() + TIMEOUT
    try:
        while exit_code is None and time.monotonic() < latest and not server.left_in_silence():
            with contextlib.suppress(subprocess.TimeoutExpired):
                exit_code = script.wait(min(TIMEOUT, 0.2))
    finally:
        script.kill()
    for reader in readers:
        reader.join()
    printed, errors = (data.decode("utf-8", "replace") for data in outputs.values())
    return printed.replace("\r\n", "\n"), errors.replace("\r\n", "\n"), exit_code


def _fault_address(fault: str) -> str:
    """The built-in server's address for a fault; which server the lesson uses stays the same."""
    before = find.address()
    builtin = find.server(quiet=True, builtin=True)
    if builtin != before:
        find.server(quiet=True)
    return f"{builtin}/fault/{fault}"


def _recorded_words() -> Counter:
    file = Path(__file__).parents[1] / "recordings" / "smollm2-chat-cat-alone.ndjson"
    records = [json.loads(line) for line in file.read_bytes().splitlines()[1:]]
    return Counter(re.findall(r"\w+", "".join(each["message"]["content"] for each in records)))


class Desk:
    """What the judge's server says to each request, and what it was asked.

    `fault` is what the first chat meets. `seen` says whether the first fragment of an answer is on
    the screen by now: the one who runs the script knows that.
    """

    recorded = json.dumps(RECORDED_DATA).encode()  # what a fault breaks the answer to

    def __init__(self, fault: str = ""):
        self.fault = fault
        self.requests: list[tuple[str, dict]] = []
        self.streamed: bool | None = None  # known after the first answer
        self.seen: Callable[[], bool] = lambda: False

    def breaks(self, path: str, body: bytes) -> bool:
        """Whether this request gets the broken answer, the only one: the next is good again."""
        if path != "/api/chat" or not self.fault:
            return False
        with contextlib.suppress(ValueError):
            self.requests.append((path, json.loads(body)))
        self.fault = ""
        return True

    def replies(self, path: str, body: bytes) -> Iterator[int | bytes]:
        """The status, then the lines; nothing at all where the server hangs up."""
        try:
            asked = json.loads(body)
            self.requests.append((path, asked))
            if path == "/api/chat":
                yield from self._chat(asked["messages"][-1]["content"])
            elif path == "/api/generate":
                yield from self._generate(asked["model"], asked["prompt"])
            else:
                yield from _lines([{"error": "page not found"}], status=404)
        except (ValueError, KeyError, TypeError, IndexError) as error:  # a request like no other
            yield from _lines([{"error": f"bad request: {error}"}], status=400)

    def _generate(self, model: str, prompt: str) -> Iterator[int | bytes]:
        fragments = ["I am", f" {model}.", f" You asked: {prompt}"]
        records: list[dict] = [{"response": text, "done": False} for text in fragments]
        records.append({"response": "", "done": True})
        if prompt == "Hang up":
            return
        if prompt == "Stop here":
            records[1:] = [{"error": "out of memory"}]
        if prompt == "Lose the end":
            del records[-1]
        yield from _lines(records)

    def _chat(self, said: str) -> Iterator[int | bytes]:
        fragments = [FIRST, ", you said: ", said, ""]
        records = [
            {"message": {"role": "assistant", "content": text}, "done": not text}
            for text in fragments
        ]
        for number, line in enumerate(_lines(records)):
            if number == 2 and len(self.requests) == 1:  # the status and the first line have gone
                self.streamed = self.seen()
            yield line


def _lines(records: list[dict], status: int = 200) -> Iterator[int | bytes]:
    yield status
    for record in records:
        yield json.dumps(record).encode() + b"\n"


class _Server(ThreadingHTTPServer):
    """The judge's server for a script that is a program."""

    def __init__(self, desk: Desk, fault_address: str):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.desk, self.fault_address = desk, fault_address
        self.first_seen = threading.Event()
        desk.seen = lambda: self.first_seen.wait(PATIENCE)
        self.silent_since: float | None = None  # while a broken answer waits for its next bytes
        self.upstream: socket.socket | None = None
        self.over = threading.Event()

    def left_in_silence(self) -> bool:
        """Whether the script still waits for bytes of its first answer, and for too long."""
        since = self.silent_since
        waits = since is not None and len(self.desk.requests) == 1
        return waits and time.monotonic() - since > SILENCE

    def handle_error(self, request, client_address) -> None:
        pass  # the script has gone: nothing for the student's notebook


@contextlib.contextmanager
def _server(desk: Desk, fault_address: str) -> Iterator[_Server]:
    with _Server(desk, fault_address) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server
        finally:
            server.over.set()
            if server.upstream:
                with contextlib.suppress(OSError):  # it has ended
                    server.upstream.shutdown(socket.SHUT_RDWR)
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"  # chunked: each record can be read as soon as it is sent

    def do_POST(self) -> None:
        self.close_connection = True  # after this answer
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.desk.breaks(self.path, body):
            return self._break()
        replies = self.server.desk.replies(self.path, body)
        status = next(replies, None)
        if status is not None:
            self._begin(status)
            for line in replies:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.write(b"0\r\n\r\n")
        return None

    def _begin(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()

    def _break(self) -> None:
        """The built-in server's broken answer, byte for byte, until it closes the connection."""
        address = urlsplit(self.server.fault_address)
        head = f"POST {address.path}/api/chat HTTP/1.1\r\nHost: {address.netloc}\r\n"
        head += f"Connection: close\r\nContent-Length: {len(Desk.recorded)}\r\n\r\n"
        with (
            contextlib.suppress(OSError),
            socket.create_connection((address.hostname, address.port), TIMEOUT) as upstream,
        ):
            self.server.upstream = upstream
            upstream.sendall(head.encode() + Desk.recorded)
            while data := self._next_bytes(upstream):
                self.wfile.write(data)
        if address.path.endswith("/stall"):  # silent to the end, also if the other server stops
            self.server.silent_since = time.monotonic()
            self.server.over.wait(TIMEOUT)

    def _next_bytes(self, upstream: socket.socket) -> bytes:
        self.server.silent_since = time.monotonic()
        data = upstream.recv(65536)
        self.server.silent_since = None
        return data

    def log_message(self, *_) -> None:
        pass
