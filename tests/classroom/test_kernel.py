"""The kernel of a presented chapter: it does not wait for ever, and asks the spare server."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import requests
from patience import PATIENCE
from tiny_server import chunk, head, tiny_server

from llamalab.classroom.presenting import kernel

LINE = b'{"response":"Yes"}\n'


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """`requests` and the environment are as they were after each test."""
    monkeypatch.setattr(requests.Session, "send", requests.Session.send)
    for name in ("OLLAMA_HOST", kernel.LIVE, kernel.RECORDINGS, kernel.SWITCH, kernel.LIMIT):
        monkeypatch.setenv(name, os.environ.get(name, ""))


@pytest.fixture
def silent():
    """A server that takes the request and never answers, until the test's end."""
    over = threading.Event()
    with tiny_server(lambda connection: over.wait(PATIENCE)) as url:
        yield url
        over.set()


@pytest.fixture
def stalled():
    """A server that sends one record and then nothing, until the test's end."""
    over = threading.Event()

    def answer(connection):
        connection.sendall(head() + chunk(LINE))
        over.wait(PATIENCE)

    with tiny_server(answer) as url:
        yield url
        over.set()


def test_a_post_to_a_silent_server_ends_with_one_sentence(silent):
    kernel.limit_waiting(0.2)
    with pytest.raises(requests.Timeout) as caught:
        requests.post(f"{silent}/api/generate", json={})
    (shown,) = caught.value._render_traceback_()
    said = f"Nothing arrived from {silent} for 0.2 seconds, so this cell stopped waiting."
    assert shown == f"NoAnswer: {said}"


def test_the_sentence_shows_no_key(silent):
    kernel.limit_waiting(0.2)
    with pytest.raises(kernel.NoAnswer) as caught:
        requests.post(silent.replace("//", "//ada:SECRET@"), json={})
    assert "SECRET" not in str(caught.value)
    assert "ada" not in str(caught.value)


def test_an_answer_that_stops_in_the_middle_ends_with_the_sentence_too(stalled):
    kernel.limit_waiting(0.2)
    with pytest.raises(kernel.NoAnswer, match="Nothing arrived"):
        requests.post(stalled, json={})
    kernel.limit_waiting(PATIENCE)
    lines = after_the_first_line(stalled)
    with pytest.raises(kernel.NoAnswer, match="Nothing arrived"):
        next(lines)


def after_the_first_line(url: str, **options) -> Iterator[bytes]:
    """The lines of an answer of which the first one has come; the next one is soon missed."""
    answer = requests.post(url, json={}, stream=True, **options)
    lines = answer.iter_lines(chunk_size=None)
    assert next(lines) == LINE.strip()
    answer.raw.connection.sock.settimeout(0.1)
    return lines


def test_a_cell_that_is_stopped_says_so_in_one_sentence():
    with pytest.raises(KeyboardInterrupt) as caught, kernel.in_a_sentence("http://a:1/api", 30):
        raise KeyboardInterrupt
    (shown,) = caught.value._render_traceback_()
    assert shown == "KeyboardInterrupt: stopped while waiting for http://a:1."


def test_a_cell_s_own_timeout_stays_as_it_is(silent, stalled):
    kernel.limit_waiting(PATIENCE)
    with pytest.raises(requests.ReadTimeout) as caught:
        requests.post(silent, json={}, timeout=(PATIENCE, 0.1))
    assert not isinstance(caught.value, kernel.NoAnswer)
    lines = after_the_first_line(stalled, timeout=PATIENCE)
    with pytest.raises(requests.ConnectionError) as caught:
        next(lines)
    assert not isinstance(caught.value, kernel.NoAnswer)


def test_other_errors_stay_as_they_are(unused_address):
    kernel.limit_waiting(PATIENCE)
    with pytest.raises(requests.ConnectionError) as caught:
        requests.post(unused_address, json={})
    assert not isinstance(caught.value, kernel.NoAnswer)


def test_a_good_answer_is_the_same_with_the_limit():
    recorded = os.environ["OLLAMA_HOST"] + "/api/generate"
    question = {"model": "mistral", "prompt": "Are you listening?"}
    before = requests.post(recorded, json=question).content
    kernel.limit_waiting(PATIENCE)
    assert requests.post(recorded, json=question).content == before
    streamed = requests.post(recorded, json=question, stream=True)
    assert list(streamed.iter_lines()) == before.splitlines()


@pytest.fixture
def switch(monkeypatch, tmp_path):
    """Two servers, of which the first is in use."""
    file = tmp_path / "recordings-in-use"
    monkeypatch.setenv(kernel.LIVE, "http://192.0.2.7:11434")
    monkeypatch.setenv(kernel.RECORDINGS, "http://127.0.0.1:9999")
    monkeypatch.setenv("OLLAMA_HOST", "http://192.0.2.7:11434")
    monkeypatch.setenv(kernel.SWITCH, str(file))
    return file


def test_the_variables_with_the_live_server_s_address_name_the_recordings(switch, monkeypatch):
    names = {
        "SERVER": "http://192.0.2.7:11434",
        "url": "http://192.0.2.7:11434/api/generate",
        "other": "http://192.0.2.7:114345/api",
        "answers": ["http://192.0.2.7:11434"],
        "text": "Yes",
    }
    before = dict(names)
    kernel.use(kernel.RECORDINGS, names)
    changed = {
        "SERVER": "http://127.0.0.1:9999",
        "url": "http://127.0.0.1:9999/api/generate",
    }
    assert names == before | changed
    assert os.environ["OLLAMA_HOST"] == "http://127.0.0.1:9999"
    monkeypatch.setattr(kernel, "who_answers", lambda *_, **__: "Ollama 0.33.0")
    kernel.use(kernel.LIVE, names)
    assert names == before
    assert os.environ["OLLAMA_HOST"] == "http://192.0.2.7:11434"


def test_the_recordings_stay_in_use_where_the_live_server_is_dead(
    switch, unused_address, monkeypatch
):
    monkeypatch.setenv(kernel.LIVE, unused_address)
    kernel.use(kernel.RECORDINGS, {})
    names = {"SERVER": "http://127.0.0.1:9999"}
    with pytest.raises(requests.ConnectionError, match="so the recordings stay in use"):
        kernel.use(kernel.LIVE, names)
    assert switch.exists()
    assert names == {"SERVER": "http://127.0.0.1:9999"}
    assert os.environ["OLLAMA_HOST"] == "http://127.0.0.1:9999"


def test_a_kernel_that_starts_later_uses_the_recordings_too(switch):
    kernel.prepare()
    assert os.environ["OLLAMA_HOST"] == "http://192.0.2.7:11434"
    kernel.use(kernel.RECORDINGS, {})
    os.environ["OLLAMA_HOST"] = "http://192.0.2.7:11434"
    kernel.prepare()
    assert os.environ["OLLAMA_HOST"] == "http://127.0.0.1:9999"


def test_a_script_of_chapter_05_keeps_the_address_that_the_chapter_gives_it(switch):
    switch.touch()
    os.environ["OLLAMA_HOST"] = "http://127.0.0.1:9"
    kernel.prepare()
    assert os.environ["OLLAMA_HOST"] == "http://127.0.0.1:9"


def test_a_script_that_a_cell_runs_has_the_limit_as_well(silent, tmp_path):
    from llamalab.classroom.presenting.stage import FOR_EACH_PYTHON

    (tmp_path / "sitecustomize.py").write_text(FOR_EACH_PYTHON)
    script = f"import requests; requests.post({silent!r}, json={{}})"
    known = os.environ | {"PYTHONPATH": str(tmp_path), kernel.LIMIT: "0.2"}
    done = subprocess.run([sys.executable, "-c", script], env=known, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].endswith("0.2 seconds, so this cell stopped waiting.")
