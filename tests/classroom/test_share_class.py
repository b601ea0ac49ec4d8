"""A class at work through the real nginx: sixty students, and a model server that fails."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import threading
import time

import pytest
import requests
from nginx_class import (
    INSTALL,
    NGINX,
    RECORDED,
    all_at_once,
    nginx_class,
)
from patience import PATIENCE
from tiny_server import free_port, head, tiny_server

from llamalab.standin.answers.local_model import local_model
from llamalab.standin.answers.recordings import FOLDER
from llamalab.standin.answers.remote_model import remote_model
from llamalab.standin.ollama.protocol import record
from llamalab.standin.run import BuiltinServer

STUDENTS = 60
RECORDING = FOLDER / "mistral-are-you-listening.ndjson"


@pytest.fixture(autouse=True)
def _nginx(need):
    need(*NGINX, do=INSTALL)


@pytest.fixture
def recordings(tmp_path):
    """A folder with a recorded answer for each student, at Mistral's pace, that names them."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    asked, *records = RECORDING.read_text(encoding="utf-8").splitlines()
    for number in range(STUDENTS):
        mine = json.loads(asked)
        mine["json"]["prompt"] = f"I am number {number}."
        lines = [json.loads(line) for line in records]
        for line in lines[:-1]:
            line["response"] += f"<{number}>"
        text = "\n".join(map(json.dumps, [mine, *lines])) + "\n"
        (folder / f"{number}.ndjson").write_text(text, encoding="utf-8")
    return folder


class Together:
    """A source that begins no recorded answer before all students have asked for theirs.

    So nginx has all of them in hand at once, however slowly they ask.
    """

    def __init__(self, source, asked: list):
        self.source, self.asked = source, asked

    def __getattr__(self, name: str):
        return getattr(self.source, name)

    async def answer(self, path: str, request: dict):
        if request["model"] == "mistral":
            self.asked.append(request)
            while len(self.asked) < STUDENTS:
                await asyncio.sleep(0.01)
        async with contextlib.aclosing(self.source.answer(path, request)) as lines:
            async for line in lines:
                yield line


def fragments(answer: requests.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line)["response"] for line in answer.iter_lines()]


@pytest.mark.usefixtures("model_file")
@pytest.mark.parametrize("asking", [6, pytest.param(STUDENTS, marks=pytest.mark.long)])
def test_sixty_students_at_three_servers_get_their_own_answers(recordings, tmp_path, asking):
    folders = [recordings, FOLDER]
    with (
        BuiltinServer.start(recordings=folders, engine=local_model()) as first,
        BuiltinServer.start(recordings=folders, engine=borrowed(first)) as second,
        BuiltinServer.start(recordings=folders, engine=borrowed(first)) as third,
        nginx_class(tmp_path / "c", first.url, second.url, third.url, count=STUDENTS) as a_class,
    ):
        requests.post(f"{first.url}/api/generate", json=live(0))  # loads the model
        together: list[dict] = []
        for server in (first, second, third):
            server.app.state.source = Together(server.app.state.source, together)
        known = {student: a_class.students[student] for student in range(STUDENTS)}
        all_read = threading.Barrier(STUDENTS)

        def lesson(number: int) -> tuple[list[str], str]:
            auth, options = known[number][1:], {"timeout": 10 * PATIENCE, "stream": True}
            url = f"{a_class.address}/api/generate"
            asked = {"model": "mistral", "prompt": f"I am number {number}."}
            with requests.post(url, json=asked, auth=auth, **options) as answer:
                recorded = fragments(answer)
            all_read.wait(PATIENCE)
            if number >= asking:
                return recorded, ""
            with requests.post(url, json=live(number), auth=auth, **options) as answer:
                return recorded, "".join(fragments(answer))

        answers = all_at_once(STUDENTS, lesson)
        for number, (recorded, said) in enumerate(answers):
            assert len(recorded) == 14
            assert all(fragment.endswith(f"<{number}>") for fragment in recorded[:-1])
            assert number >= asking or json.loads(said) == str(number)
        log = a_class.log()
        assert [line["status"] for line in log] == ["200"] * (STUDENTS + asking)
        assert {line["complete"] for line in log} == {"OK"}
        shares = [line["upstream"] for line in log[:STUDENTS]]
        assert sorted(map(shares.count, set(shares))) == [STUDENTS // 3] * 3


def borrowed(server: BuiltinServer):
    """The model of another built-in server: one is loaded, not three."""
    return remote_model(f"{server.url}/v1", "smollm2:135m")


def live(number: int) -> dict:
    """A question to the model that only this student's answer fits."""
    only = {"type": "string", "enum": [str(number)]}
    asked = {"model": "smollm2:135m", "prompt": "Who?", "format": only, "system": ""}
    return asked | {"options": {"num_predict": 20}}


@contextlib.contextmanager
def served(*options: str):
    """The built-in server as a separate process: the process and its address."""
    port = free_port()
    command = [sys.executable, "-m", "llamalab", "serve", "--port", str(port), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
        try:
            assert f"http://127.0.0.1:{port}" in process.stdout.readline()
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


class Held:
    """A source whose answers begin at once, and end when the event is set."""

    def __init__(self, end: threading.Event):
        self.end = end

    def has(self, model: str) -> bool:
        return True

    async def answer(self, path: str, request: dict):
        yield json.dumps(record(path, "m", "Yes")).encode() + b"\n"
        while not self.end.is_set():
            await asyncio.sleep(0.01)
        yield json.dumps(record(path, "m", done_reason="stop")).encode() + b"\n"


def test_a_server_that_is_killed_costs_its_running_answers_only(tmp_path):
    killed = threading.Event()
    with (
        served("--fault", "stall", "--speed", "0") as (process, doomed),
        BuiltinServer.start() as second,
        BuiltinServer.start() as third,
        nginx_class(tmp_path, doomed, second.url, third.url, count=12) as a_class,
    ):
        for server in (second, third):
            server.app.state.source = Held(killed)
        students = a_class.students
        begun = threading.Barrier(13)

        def ask(number: int) -> bool:
            auth, options = students[number][1:], {"timeout": PATIENCE, "stream": True}
            url = f"{a_class.address}/api/generate"
            with requests.post(url, json=RECORDED, auth=auth, **options) as answer:
                lines = answer.iter_lines(chunk_size=1)
                next(lines)
                begun.wait(PATIENCE)
                return json.loads([*lines][-1])["done"]

        def kill() -> None:
            begun.wait(PATIENCE)
            process.kill()
            process.wait()
            killed.set()

        killer = threading.Thread(target=kill)
        killer.start()
        results = all_at_once(12, ask)
        killer.join(PATIENCE)
        lost = {line["student"] for line in a_class.log() if line["upstream"] in doomed}
        assert len(lost) == 4
        assert {students[n].login for n, r in enumerate(results) if r is not True} == lost
        # The next ones do not notice: nginx passes over the server that is gone.
        answers = all_at_once(12, lambda n: a_class.ask("/api/generate", n, RECORDED))
        assert [answer.status_code for answer in answers] == [200] * 12


def test_a_server_that_fails_before_its_answer_has_begun_is_passed_over(tmp_path):
    asked = []

    def hang_up(connection: socket.socket) -> None:
        asked.append(time.monotonic())
        connection.close()

    whole = b'{"response":"Yes","done":true}\n'
    good = head("200 OK", f"Content-Length: {len(whole)}") + whole
    with (
        tiny_server(hang_up) as bad,
        tiny_server(good) as other,
        nginx_class(tmp_path, bad, other) as a_class,
    ):
        answers = [a_class.ask("/api/generate", 0, {"model": "m"}) for _ in range(4)]
    assert [answer.json()["response"] for answer in answers] == ["Yes"] * 4
    assert len(asked) > 1  # `share` looks who answers, and nginx has asked it, too
