"""A script in a page: the same output, exit code and verdict as of a program."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from urllib3.connectionpool import HTTPConnectionPool

from llamalab import find
from llamalab.exercises.script_cases import SCRIPTS
from llamalab.exercises.script_judge import Judge, Run
from llamalab.exercises.solutions import SOLUTIONS
from llamalab.page import door, scripts
from llamalab.page import server as page_server

RUNS = [(name, case) for name, script in SCRIPTS.items() for case in script.cases]


@pytest.fixture
def script(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("my_script.py")


def as_a_program(script: Path, arguments: list[str], typed: str) -> tuple:
    done = subprocess.run(
        [sys.executable, script, *arguments],
        input=typed,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHON_COLORS": "0"},
    )
    return done.stdout, done.stderr, done.returncode


def in_a_page(script: Path, arguments: list[str], typed: str) -> tuple:
    out, err = bytearray(), bytearray()
    code = scripts.run(script, arguments, out.extend, err.extend, typed)
    return out.decode(), err.decode(), code


@pytest.mark.parametrize(
    "source",
    [
        "import sys; print(sys.argv, __name__)",
        "import sys; sys.exit('No answer.')",
        "import sys; sys.exit(3)",
        "import sys; print('café ☕'); print('oops', file=sys.stderr); sys.exit()",
        "print(input('? ')); input()",
        "def f():\n    return {}['done']\n\nf()",
        "print(1 +",
        "import os, sys; os.environ['X'] = '1'; sys.stdout.reconfigure(errors='replace')",
        "from helper import word\nprint(word)",
    ],
)
def test_a_script_does_what_a_program_does(script, source):
    script.write_text(source, "utf-8")
    Path("helper.py").write_text("word = 'helped'")
    before = sys.argv, sys.path, sys.stdout, dict(os.environ), sys.modules["__main__"]
    wanted = as_a_program(script, ["a b", "--x"], "typed\n")
    out, err, code = in_a_page(script, ["a b", "--x"], "typed\n")
    folder = str(script.parent.absolute())
    assert (out, err.replace(folder + os.sep, ""), code) == (
        wanted[0],
        wanted[1].replace(folder + os.sep, ""),
        wanted[2],
    )
    assert before == (sys.argv, sys.path, sys.stdout, dict(os.environ), sys.modules["__main__"])
    sys.modules.pop("helper", None)


def test_a_script_without_an_end_is_stopped(script):
    script.write_text("while True: pass")
    assert scripts.run(script, [], print, print, seconds=0.2) is None


def test_a_script_that_is_not_there_is_what_python_says(script):
    assert in_a_page(script, [], "") == as_a_program_without_a_file(script)


def as_a_program_without_a_file(script: Path) -> tuple:
    out, err, code = as_a_program(script, [], "")
    return out, err.replace(sys.executable, "python"), code


@pytest.mark.parametrize("line", ["ls", "python", "python -c pass", "pip install x"])
def test_other_commands_are_answered_with_a_sentence(line):
    said = bytearray()
    assert scripts.command(line, said.extend) == 127
    assert "no terminal" in said.decode()


@pytest.mark.parametrize(("name", "case"), RUNS)
def test_the_judge_sees_the_same_in_a_page(script, monkeypatch, name, case):
    script.write_text(SOLUTIONS[name].code)
    for limit in ("TIMEOUT", "SILENCE", "PATIENCE"):  # a right script is never too slow
        monkeypatch.setattr(f"llamalab.exercises.script_judge.{limit}", 60)
    with Judge(script) as judge:
        wanted = judge.run(*case.asked)
    in_page(monkeypatch)
    assert without_port(Judge(script).run(*case.asked)) == without_port(wanted)


def test_a_script_without_a_timeout_is_found_in_a_page(script, monkeypatch):
    code = SOLUTIONS["chat_script"].code.replace(", timeout=(5, 330)", "")
    assert "timeout" not in code
    script.write_text(code)
    (case,) = [case for case in SCRIPTS["chat_script"].cases if case.fault == "stall"]
    in_page(monkeypatch)
    assert Judge(script).run(*case.asked).exit_code is None


def in_page(monkeypatch) -> None:
    """Let the judge believe that this is a web page."""
    monkeypatch.setattr(HTTPConnectionPool, "ConnectionCls", HTTPConnectionPool.ConnectionCls)
    page_server.connect()
    monkeypatch.setattr(find, "page", lambda: door)
    monkeypatch.setattr(find, "_builtin", page_server.PageServer.start(speed=0))
    monkeypatch.setattr(find, "_found", {})
    monkeypatch.delenv("OLLAMA_HOST")


def without_port(run: Run) -> Run:
    return run._replace(errors=re.sub(r":\d{4,5}\b", ":PORT", run.errors))
