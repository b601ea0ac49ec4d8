"""The command `llamalab`: what a person types, and what comes back."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest
from patience import PATIENCE
from tiny_server import chunk, head, tiny_server

import llamalab
from llamalab import cli

SENTENCE = "Yes, I am listening. How may I assist you today?\n"


def record(response: str, done: bool = False) -> bytes:
    return chunk(json.dumps({"response": response, "done": done}).encode() + b"\n")


def run(*argv: str, **environment: str) -> subprocess.CompletedProcess:
    """Run the command as a person does; its output as bytes."""
    command = [sys.executable, "-m", "llamalab", *argv]
    return subprocess.run(command, capture_output=True, env=os.environ | environment)


def usage_error(capsys, *argv: str) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main(list(argv))
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_ask_prints_the_answer_and_nothing_else():
    done = run("ask", "Are you listening?")
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, SENTENCE, b"")


def test_ask_takes_a_question_without_quotes(capsys):
    assert cli.main(["ask", "Are", "you", "listening?"]) == 0
    assert capsys.readouterr().out == SENTENCE


def test_ask_asks_the_server_and_the_model_it_is_told(capsys):
    seen = []
    with tiny_server(head() + record("Oui", done=True) + chunk(b""), seen) as url:
        assert cli.main(["ask", "Ça va ?", "--server", url, "--model", "petit"]) == 0
    assert capsys.readouterr().out == "Oui\n"
    body = json.loads(seen[0].partition(b"\r\n\r\n")[2])
    assert (body["model"], body["prompt"]) == ("petit", "Ça va ?")


def test_ask_without_an_answer_s_text_fails_and_says_why(capsys):
    thought = b'{"response":"","thinking":"Hm","done":true,"done_reason":"length"}\n'
    with tiny_server(head() + chunk(thought) + chunk(b"")) as url:
        assert cli.main(["ask", "?", "--server", url]) == 1
    said = capsys.readouterr()
    assert (said.out, len(said.err.splitlines())) == ("", 1)
    assert "with thinking" in said.err


def test_ask_shows_each_fragment_as_soon_as_it_is_there():
    first_was_read = threading.Event()

    def answer(connection):
        connection.sendall(head() + record("Yes"))
        assert first_was_read.wait(PATIENCE)
        connection.sendall(record(", I am", done=True) + chunk(b""))

    with tiny_server(answer) as url:
        command = [sys.executable, "-m", "llamalab", "ask", "?", "--server", url]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as asking:
            assert asking.stdout.read(3) == b"Yes"
            first_was_read.set()
            assert asking.stdout.read().decode() == ", I am\n"
    assert asking.returncode == 0


def test_a_server_that_is_not_there_is_said_in_a_few_lines(unused_address):
    done = run("ask", "?", "--server", unused_address)
    said = done.stderr.decode()
    assert (done.returncode, done.stdout) == (1, b"")
    assert said.startswith(f"No server answers at {unused_address}.")
    assert "Do:" in said
    assert len(said.splitlines()) <= 4


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signal")
def test_ctrl_c_while_an_answer_arrives_ends_with_130():
    over = threading.Event()

    def endless(connection):
        connection.sendall(head() + record("Yes"))
        over.wait(PATIENCE)

    with tiny_server(endless) as url:
        command = [sys.executable, "-m", "llamalab", "ask", "?", "--server", url]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, **pipes) as asking:
            assert asking.stdout.read(3) == b"Yes"
            asking.send_signal(signal.SIGINT)
            rest, said = asking.communicate()
        over.set()
    assert (asking.returncode, rest) == (130, b"\n")
    assert b"Traceback" not in said


def test_a_reader_who_leaves_is_no_error():
    with tiny_server(head() + record("Yes" * 50_000) + record("", done=True) + chunk(b"")) as url:
        command = [sys.executable, "-m", "llamalab", "ask", "?", "--server", url]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, **pipes) as asking:
            assert asking.stdout.read(3) == b"Yes"
            asking.stdout.close()
            assert asking.stderr.read() == b""


@pytest.mark.parametrize("argv", [["ask"], ["ask", ""], ["ask", " "]])
def test_ask_without_a_question_says_how_it_is_used(capsys, argv):
    assert "usage: llamalab ask" in usage_error(capsys, *argv)


def test_no_command_means_lab():
    assert cli.parse([]).run is cli.lab
    assert cli.parse(["--no-browser", "--port", "9000"]).port == 9000
    assert cli.parse(["./my lesson"]).folder == "./my lesson"


def test_a_slip_in_a_command_makes_no_folder(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "did you mean `ask`?" in usage_error(capsys, "aks", "Are you listening?")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "argv",
    [["--port", "70000"], ["--port", "x"], ["serve", "--speed", "-1"], ["serve", "--speed", "nan"]],
)
def test_a_number_that_makes_no_sense_is_refused(capsys, argv):
    assert "invalid" in usage_error(capsys, *argv)


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"\n  {name} " in said


def test_the_version_is_the_package_s():
    done = run("--version")
    assert done.stdout.decode().split() == ["llamalab", llamalab.__version__]


def test_the_command_loads_nothing_heavy_before_it_needs_it():
    code = "import sys, llamalab.cli; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    heavy = {"starlette", "uvicorn", "zmq", "IPython", "jupyterlab", "psutil", "packaging"}
    assert not {*heavy, "llamalab.checkup.checks"} & set(loaded)


def test_serve_says_in_a_sentence_that_a_port_is_taken(capsys):
    with tiny_server(b"") as url:
        port = url.rpartition(":")[2]
        assert cli.main(["serve", "--port", port]) == 1
    said = capsys.readouterr().err
    assert port in said
    assert "Traceback" not in said
