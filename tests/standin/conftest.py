"""One built-in server for each test module, without pauses; a folder to put recordings in."""

import json
from pathlib import Path

import pytest

from llamalab.standin.run import BuiltinServer


@pytest.fixture(scope="module")
def server():
    with BuiltinServer.start(speed=0) as server:
        yield server


@pytest.fixture(scope="module")
def url(server):
    return server.url


@pytest.fixture
def write_recording(tmp_path):
    """Write a recording made of records (dicts) or raw lines (bytes); returns its folder."""

    def write(request, *lines, path="/api/generate", name="some.ndjson") -> Path:
        head = json.dumps({"path": path, "json": request}).encode()
        body = [x if isinstance(x, bytes) else json.dumps(x).encode() + b"\n" for x in lines]
        (tmp_path / name).write_bytes(head + b"\n" + b"".join(body))
        return tmp_path

    return write
