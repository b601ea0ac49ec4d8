"""A model for tests of the chat: what it does is in the question, and it notes who leaves.

    with slow_model() as model:
        model.url, model.asked, model.gone

"slow": fragment after fragment, until the reader has gone. "pause": two fragments, then silence.
"silent": not even a status line. "error", "cut": two fragments, then an error record or the end.
"limit": the model stops because it has used up its tokens. "busy": no answer, but a 503. Anything
else: "You said: ..." in three fragments.
"""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from patience import PATIENCE

BEAT = 0.02  # seconds between two fragments
TIME = "2026-11-23T12:00:00.5Z"


class SlowModel(ThreadingHTTPServer):
    """The server; `asked` are the requests, `gone` is set once a reader has left early."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[dict] = []
        self.gone = threading.Event()


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SlowModel

    def do_GET(self) -> None:
        names = ["mistral:latest", "tiny:latest", "slow:latest"]
        body = json.dumps({"models": [{"name": name} for name in names]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(request)
        self.close_connection = True
        try:
            self.answer(request["messages"][-1]["content"])
        except OSError:
            self.server.gone.set()

    def answer(self, question: str) -> None:
        if question == "silent":
            return self.wait_for_leaving()
        if question == "busy":
            return self.send_error(503)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if question == "slow":
            while True:
                self.say("tick ")
        for fragment in ("You ", "said: ", question):
            if fragment == question in ("pause", "error", "cut"):
                break
            self.say(fragment)
        match question:
            case "pause":
                return self.wait_for_leaving()
            case "error":
                self.send({"error": "the llama has left"})
            case "cut":
                return None  # no last chunk either
            case "limit":
                self.send(self.record("", done=True, done_reason="length"))
            case _:
                self.send(self.record("", done=True, eval_count=3, eval_duration=30_000_000))
        self.wfile.write(b"0\r\n\r\n")

    def say(self, fragment: str) -> None:
        self.send(self.record(fragment, done=False))
        if self.left(BEAT):
            raise ConnectionResetError

    def record(self, content: str, **more) -> dict:
        message = {"role": "assistant", "content": content}
        return {"model": "slow", "created_at": TIME, "message": message, **more}

    def send(self, record: dict) -> None:
        line = json.dumps(record).encode() + b"\n"
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")

    def wait_for_leaving(self) -> None:
        if self.left(PATIENCE):
            self.server.gone.set()

    def left(self, seconds: float) -> bool:
        """Whether the reader closes the connection within this time."""
        self.connection.settimeout(seconds)
        try:
            return self.connection.recv(1) == b""
        except TimeoutError:
            return False
        finally:
            self.connection.settimeout(None)

    def log_message(self, *args) -> None:
        """Nothing: a test's output is the test's."""


@contextlib.contextmanager
def slow_model() -> Iterator[SlowModel]:
    """A running SlowModel."""
    with SlowModel() as server:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        yield server
        server.shutdown()
