"""Recording an answer: what is kept is what came, and nothing that was there is lost."""

import errno
import json
import os
import subprocess
import sys

import pytest
import requests
from patience import PATIENCE
from tiny_server import chunk, head, tiny_server, whole

import llamalab
from llamalab import cli
from llamalab.errors import BrokenStream, ModelNotFound
from llamalab.recorder import NotRecorded, file_name
from llamalab.standin.answers import recordings
from llamalab.standin.run import BuiltinServer

PROMPT = "Are you listening?"
DOCUMENT = recordings.FOLDER / "mistral-are-you-listening.ndjson"
HISTORY = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Où est l'été ? \u2028 🙂"},
]


def record(second: int, text: str, path: str = "/api/generate", **more) -> bytes:
    """A record as a server sends it; with its own order of keys and its own spaces."""
    said = {"message": {"role": "assistant", "content": text}}
    said = said if path == "/api/chat" else {"response": text}
    made = {"done": False, **said, "created_at": f"2026-01-01T00:00:0{second}.5Z", **more}
    return json.dumps({"model": "other", **made}).encode() + b"\n"


def answer(*records: bytes) -> bytes:
    return head() + b"".join(map(chunk, records)) + chunk(b"")


def bodies(server: str, path: str, request: dict) -> bytes:
    return requests.post(server + path, json=request, timeout=PATIENCE).content


def test_a_recording_of_a_replayed_recording_is_the_same_file(tmp_path):
    file = llamalab.record(PROMPT, tmp_path / "again.ndjson")
    assert file == tmp_path / "again.ndjson"
    assert file.read_bytes() == DOCUMENT.read_bytes()


def test_any_servers_bytes_are_kept_as_they_came(tmp_path):
    records = record(0, "Yes"), record(1, " é\x85"), record(2, "", done=True, total_duration=9)
    with tiny_server(answer(*records)) as server:
        file = llamalab.record("Hm?", tmp_path / "a.ndjson", "m", server, options={"seed": 1})
    first, body = file.read_bytes().split(b"\n", 1)
    request = {"model": "m", "prompt": "Hm?", "options": {"seed": 1}}
    assert json.loads(first) == {"path": "/api/generate", "json": request}
    assert body == b"".join(records)


def test_a_recorded_chat_is_replayed_by_a_server_byte_for_byte(tmp_path):
    records = record(0, "Ici.", "/api/chat"), record(1, "", "/api/chat", done=True)
    with tiny_server(answer(*records)) as server:
        llamalab.record(HISTORY, tmp_path / "a.ndjson", "m", server, options={"temperature": 0})
    request = {"model": "m", "messages": HISTORY, "options": {"temperature": 0}}
    with BuiltinServer.start(speed=0, recordings=tmp_path) as replay:
        assert bodies(replay.url, "/api/chat", request) == b"".join(records)
        other = {**request, "options": {"temperature": 1}}
        assert b"only as recordings" in bodies(replay.url, "/api/chat", other)


def test_a_recorded_chat_is_replayed_as_server_sent_events_too(tmp_path):
    last = record(2, "", "/api/chat", done=True, done_reason="length", eval_count=2)
    records = record(0, "Ici", "/api/chat"), record(1, ".", "/api/chat"), last
    with tiny_server(answer(*records)) as server:
        llamalab.record(HISTORY, tmp_path / "a.ndjson", "m", server, options={"num_predict": 2})
    request = {"model": "m", "messages": HISTORY, "max_tokens": 2, "stream": True}
    with BuiltinServer.start(speed=0, recordings=tmp_path) as replay:
        body = bodies(replay.url, "/v1/chat/completions", request)
        one_piece = bodies(replay.url, "/v1/chat/completions", {**request, "stream": False})
        not_recorded = bodies(replay.url, "/v1/chat/completions", {**request, "max_tokens": 3})
    *events, end, nothing = body.split(b"\n\n")
    assert (end, nothing) == (b"data: [DONE]", b"")
    events = [json.loads(event.removeprefix(b"data: ")) for event in events]
    assert {(event["model"], event["created"]) for event in events} == {
        ("other", 1767225600),
        ("other", 1767225601),
        ("other", 1767225602),
    }
    assert [event["choices"][0]["delta"] for event in events] == [
        {"role": "assistant", "content": "Ici"},
        {"content": "."},
        {},
    ]
    assert events[-1]["choices"][0]["finish_reason"] == "length"
    whole = json.loads(one_piece)
    assert whole["choices"][0]["message"]["content"] == "Ici."
    assert whole["usage"] == {"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 2}
    assert "only as recordings" in json.loads(not_recorded)["error"]["message"]


def test_a_file_that_is_there_stays_and_the_server_is_not_asked(tmp_path):
    file, seen = tmp_path / "mine.ndjson", []
    file.write_text("mine")
    with tiny_server(answer(record(0, "Yes", done=True)), seen) as server:
        with pytest.raises(NotRecorded, match="is there already") as caught:
            llamalab.record("Hm?", file, server=server)
        assert (file.read_text(), seen) == ("mine", [])
        assert "--force" in caught.value.do
        llamalab.record("Hm?", file, server=server, force=True)
    assert file.read_text() != "mine"


def test_a_file_that_somebody_makes_meanwhile_stays(tmp_path):
    file = tmp_path / "a.ndjson"

    def meanwhile(connection):
        file.write_text("theirs")
        connection.sendall(answer(record(0, "Yes", done=True)))

    with tiny_server(meanwhile) as server, pytest.raises(NotRecorded, match="is there already"):
        llamalab.record("Hm?", file, server=server)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["theirs"]


@pytest.mark.parametrize(
    ("came", "error"),
    [
        (head() + chunk(record(0, "Yes")), BrokenStream),  # cut off
        (answer(record(0, "Yes")), BrokenStream),  # no last record
        (answer(record(0, "Yes"), b'{"error":"out of memory"}\n'), BrokenStream),
        (whole("404 Not Found", b'{"error":"model \'m\' not found"}'), ModelNotFound),
        (answer(b'{"response":"Yes","done":true}\n'), NotRecorded),  # when was that?
    ],
)
def test_an_answer_that_is_not_whole_leaves_nothing_behind(tmp_path, came, error):
    with tiny_server(came) as server, pytest.raises(error):
        llamalab.record("Hm?", tmp_path / "a.ndjson", "m", server)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_answer_does_not_replace_the_recording_it_was_to_replace(tmp_path):
    file = tmp_path / "a.ndjson"
    file.write_text("mine")
    with tiny_server(answer(record(0, "Yes"))) as server, pytest.raises(BrokenStream):
        llamalab.record("Hm?", file, server=server, force=True)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("folder", ["nosuch", "a-file"])
def test_where_nothing_can_be_written_the_server_is_not_asked(tmp_path, folder):
    (tmp_path / "a-file").write_text("mine")
    seen = []
    came = answer(record(0, "Yes", done=True))
    with tiny_server(came, seen) as server, pytest.raises(NotRecorded, match="cannot be written"):
        llamalab.record("Hm?", tmp_path / folder / "a.ndjson", server=server)
    assert seen == []


def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path):
    def full(fragment):
        raise OSError(errno.ENOSPC, "No space left on device")

    came = answer(record(0, "Yes", done=True))
    with tiny_server(came) as server, pytest.raises(NotRecorded, match="No space left"):
        llamalab.record("Hm?", tmp_path / "a.ndjson", server=server, show=full)
    assert list(tmp_path.iterdir()) == []


def test_an_answer_in_one_piece_is_no_recording(tmp_path):
    with pytest.raises(NotRecorded, match="stream"):
        llamalab.record(PROMPT, tmp_path / "a.ndjson", stream=False)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("Are you listening?", "mistral-are-you-listening.ndjson"),
        ("../../etc/passwd", "mistral-etc-passwd.ndjson"),
        ("Où? 🙂", "mistral-ou.ndjson"),
        ("word " * 100, "mistral" + "-word" * 10 + "-wo.ndjson"),
    ],
)
def test_a_files_name_is_one_on_every_system(prompt, name):
    assert file_name("mistral", prompt) == name


def test_the_command_shows_the_answer_and_says_where_it_is(tmp_path):
    def run(*more: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "llamalab", "record", PROMPT, *more]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, env=os.environ)

    done = run()
    said = "Yes, I am listening. How may I assist you today?\nRecorded: " + DOCUMENT.name + "\n"
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, said, b"")
    assert (tmp_path / DOCUMENT.name).read_bytes() == DOCUMENT.read_bytes()
    again = run()
    assert (again.returncode, again.stdout) == (1, b"")
    assert b"--force" in again.stderr
    assert run("--force").returncode == 0


def test_the_command_records_a_chat(tmp_path, capsys):
    file, seen = tmp_path / "chat.ndjson", []
    came = answer(record(0, "Yes", "/api/chat", done=True))
    with tiny_server(came, seen) as server:
        arguments = ["--chat", "--model", "m", "--server", server, "--to", str(file)]
        assert cli.main(["record", "Hm?", *arguments]) == 0
    assert seen[0].startswith(b"POST /api/chat ")
    (request, _) = file.read_text().splitlines()
    messages = [{"role": "user", "content": "Hm?"}]
    assert json.loads(request)["json"] == {"model": "m", "messages": messages}
    assert capsys.readouterr().out == f"Yes\nRecorded: {file}\n"


def test_prompts_in_other_alphabets_get_names_of_their_own():
    prompts = ["你好", "Привет", "Привет!", "🙂", "🙃", "Ça va ?"]
    names = [file_name("mistral", prompt) for prompt in prompts]
    assert len(set(names)) == len(names)
    assert all(name.isascii() and len(name) <= 67 for name in names)
