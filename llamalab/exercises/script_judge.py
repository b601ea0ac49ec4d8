"""The judge of a student's script: a model server for its runs, and how each run ends."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from llamalab.exercises.cases import Ended


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The address of a small model server for as long as the block lasts."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


def run(script: Path, address: str, arguments: list[str]) -> Ended:
    """The script's end. Raises `RuntimeError` where that is a traceback, or silent trouble."""
    ours = {"OLLAMA_HOST": address, "PYTHONIOENCODING": "utf-8", "no_proxy": "127.0.0.1"}
    ended = subprocess.run(
        [sys.executable, str(script), *arguments],
        env=os.environ | ours,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=30,
    )
    if '  File "' in ended.stderr:  # Python's own; a SyntaxError does not say "Traceback"
        raise RuntimeError(ended.stderr.strip().splitlines()[-1])
    if ended.returncode and not ended.stderr.strip():
        raise RuntimeError(f"nothing on sys.stderr, but exit code {ended.returncode}")
    return Ended(ended.stdout.strip(), ended.returncode)


class _Handler(BaseHTTPRequestHandler):
    """A model server for these runs; it says "I am" and the model it was asked for."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fragments = ("I am", f" {asked['model']}.", "")
        answer = [{"response": fragment, "done": not fragment} for fragment in fragments]
        status = 200
        if asked["prompt"] == "Hang up":
            return
        if asked["prompt"] == "Stop here":
            answer[1:] = [{"error": "out of memory"}]
        if asked["model"] == "nosuch":
            status, answer = 404, [{"error": "model 'nosuch' not found"}]
        self.send_response(status)
        self.end_headers()
        self.wfile.write("".join(json.dumps(record) + "\n" for record in answer).encode())

    def log_message(self, *_) -> None:
        pass
