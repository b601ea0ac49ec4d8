r"""The exercises: `check("split_lines", split_lines)` says how a student's function does.

Upper floor, for notebooks. The expected values stand here as literals, so that the answer to an
exercise can be read without running the code that the student is about to write.

>>> check("who_answered", lambda record: record["model"])
OK: who_answered is right in all 2 cases.
>>> check("who_answered", lambda record: "mistral")
Not yet (1 of 2 right): who_answered({'model': 'smollm2:135m', 'done': False}) returned 'mistral'
  expected: 'smollm2:135m'
  hint:     read it from the record; the server decides who answers, not the question
"""

import contextlib
import copy
import io
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import requests

from llamalab.client import MODEL


class Raises(str):
    """Expected: an error whose message holds this text, instead of a value."""

    def __repr__(self) -> str:
        return f"an error that says {str(self)!r}" if self else "an error"


class Case(NamedTuple):
    """One call of the student's function, what should come back, what to say if it does not."""

    given: object
    expected: object
    hint: str


class Run(NamedTuple):
    """One run of the student's script: arguments; what it should print; its exit code; a hint."""

    arguments: list[str]
    output: str
    exit_code: int
    hint: str


def _response(status: int, **headers: str) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return response


_CUT = 'a newline for text, not for bytes; cut the bytes: content.split(b"\\n"), decode then'
_MEASURED = {
    **{"total_duration": 3_343_392_853, "load_duration": 1_583_037_589, "prompt_eval_count": 14},
    **{"prompt_eval_duration": 667_000_000, "eval_count": 13, "eval_duration": 1_083_890_000},
}

# Ordinary cases first; each meets one new slip, so that its hint is the right one.
EXERCISES: dict[str, list[Case]] = {
    "who_answered": [
        Case({"model": "mistral", "done": False}, "mistral", 'it is record["model"]'),
        Case(
            {"model": "smollm2:135m", "done": False},
            "smollm2:135m",
            "read it from the record; the server decides who answers, not the question",
        ),
    ],
    "status_and_type": [
        Case(
            _response(200, Content_Type="application/x-ndjson"),
            (200, "application/x-ndjson"),
            'a pair: (response.status_code, response.headers["Content-Type"])',
        ),
        Case(
            _response(404, content_type="application/json; charset=utf-8"),
            (404, "application/json; charset=utf-8"),
            "take both from the response; another answer has others",
        ),
        Case(
            _response(403),
            (403, None),
            'a refusal may have no Content-Type: response.headers.get("Content-Type") gives None',
        ),
    ],
    "split_lines": [
        Case(b'{"done":true}', ['{"done":true}'], 'a list of text, not bytes: .decode("utf-8")'),
        Case(
            b'{"response":"Yes"}\n{"response":" I"}\n',
            ['{"response":"Yes"}', '{"response":" I"}'],
            "cut at newlines only; a newline at the end does not begin another line",
        ),
        Case(b"", [], "no bytes, no lines: an empty list"),
        Case(
            '{"a":"é 🙂"}\n'.encode(), ['{"a":"é 🙂"}'], 'é is two bytes, 🙂 four: decode "utf-8"'
        ),
        Case(b'{"a":1}\n\n{"b":2}\n\n', ['{"a":1}', '{"b":2}'], "leave out the blank lines"),
        Case('{"a":"b\x85c"}\n'.encode(), ['{"a":"b\x85c"}'], f"U+0085 is {_CUT}"),
        Case('{"a":"b\u2028c"}\n'.encode(), ['{"a":"b\u2028c"}'], f"U+2028 is {_CUT}"),
    ],
    "load_answers": [
        Case(['{"done":false}'], [{"done": False}], "a list of dictionaries: json.loads(line)"),
        Case(
            ['{"response":"Yes","done":false}', '{"response":"","done":true}'],
            [{"response": "Yes", "done": False}, {"response": "", "done": True}],
            "one dictionary for each line, in order, the last one too",
        ),
        Case([], [], "no lines, no dictionaries: an empty list"),
        Case(
            ['{"response":"one\\ntwo \\u003c \\u2028 é"}'],
            [{"response": "one\ntwo < \u2028 é"}],
            "json.loads knows all the escapes of JSON; leave them to it",
        ),
        Case(
            ['{"done":false}', '{"response":"Yes","do'],
            Raises(""),
            "a line that was cut off must not vanish silently: let the error of json.loads out",
        ),
    ],
    "tokens_per_second": [
        Case(
            {"eval_count": 100, "eval_duration": 2_000_000_000},
            50.0,
            "eval_duration is in nanoseconds; a second has 1e9 of them",
        ),
        Case(
            _MEASURED,
            11.993837751801382,
            "divide eval_count by eval_duration; the other durations are for other work",
        ),
        Case({"eval_count": 13}, None, "no eval_duration, no speed: return None"),
        Case(
            {"done": True, "eval_duration": 1_083_890_000},
            None,
            "a server leaves out what is zero; no eval_count, no speed: return None",
        ),
    ],
    "join_fragments": [
        Case(
            [{"response": "Yes", "done": False}, {"response": ",", "done": False}],
            "Yes,",
            'join what is under the key response, with nothing in between: "".join(...)',
        ),
        Case(
            [{"response": " I\n", "done": False}, {"response": " é\n", "done": False}],
            " I\n é\n",
            "keep spaces and newlines: they come with the fragments",
        ),
        Case([], "", "no records, no text: an empty string"),
        Case(
            [{"response": "Yes", "done": False}, {"response": " I am.", "done": True}],
            "Yes I am.",
            "the record with done: true may carry text too",
        ),
        Case(
            [{"response": "Yes", "done": False}, {"error": "out of memory"}],
            Raises("out of memory"),
            'a record with the key error has no text: raise ValueError(record["error"])',
        ),
    ],
}

# The tiny server of these runs answers "I am" and the name of the model it was asked for.
SCRIPT_RUNS = [
    Run(["Who are you?"], f"I am {MODEL}.", 0, f"without --model the model is {MODEL!r}"),
    Run(["--model", "tiny", "Who are you?"], "I am tiny.", 0, "post the name after --model"),
    Run([], "", 2, "no prompt: the usage on sys.stderr, exit code 2"),
    Run(["--model"], "", 2, "--model without a name: the usage on sys.stderr, exit code 2"),
    Run(["--model", "tiny"], "", 2, "--model, but no prompt: the usage again, exit code 2"),
    Run(["--model", "nosuch", "Hi"], "", 3, "the server answers with status 404: exit code 3"),
    Run(["Stop in the middle"], "I am", 1, 'a record {"error": ...} came: exit code 1'),
    Run(["Nobody is there"], "", 1, "no server: one sentence on sys.stderr, exit code 1"),
]


def check(name: str, solution: Callable | str | None = None) -> None:
    """Say in one to three lines what a student's function gets right and what it misses.

    `solution` is the function, or for "generate_script" the name of the student's script.
    Never raises: what the function raises is part of what it says.
    """
    if name == "generate_script":
        print(_feedback_on_script(Path(str(solution or "my_script.py"))))
    elif not isinstance(name, str) or name not in EXERCISES:
        names = ", ".join([*EXERCISES, "generate_script"])
        print(f"There is no exercise {_show(name)}. There are: {names}")
    elif not callable(solution):
        print(f'Give check the function itself, without brackets: check("{name}", {name})')
    else:
        print(_feedback(name, solution))


def _feedback(name: str, function: Callable) -> str:
    printed = io.StringIO()
    for right, case in enumerate(EXERCISES[name]):
        given = copy.deepcopy(case.given)
        with contextlib.redirect_stdout(printed):
            did = _judge(function, given, case.expected)
        if did == _UNSOLVED and right == 0 and not printed.getvalue():
            return f"{name} is not solved yet: it returns nothing. Write its body."
        if did or repr(given) != repr(case.given):
            hint = case.hint
            if not did:
                did, hint = "changed what it was given", "build a new value, leave the given one"
            elif did == _UNSOLVED and printed.getvalue():
                hint = "it prints its result: `return` it instead"
            return (
                f"Not yet ({right} of {len(EXERCISES[name])} right): "
                f"{name}({_show(case.given)}) {did}\n"
                f"  expected: {_show(case.expected)}\n  hint:     {hint}"
            )
    note = "\n  (It also prints. Nobody who calls it needs that.)" if printed.getvalue() else ""
    return f"OK: {name} is right in all {len(EXERCISES[name])} cases.{note}"


_UNSOLVED = "returned None"


def _judge(function: Callable, given: object, expected: object) -> str:
    """What the function did instead of what was expected; "" where it did just that."""
    try:
        result = function(given)
        if result is ... or (result is None and expected is not None):
            return _UNSOLVED
        if isinstance(expected, Raises):
            return f"returned {_show(result)}"
        if isinstance(expected, float) and type(result) in (int, float):
            right = math.isclose(result, expected, rel_tol=1e-6)
        else:
            right = isinstance(result, type(expected)) and result == expected
        return "" if right else f"returned {_kind(result, expected)}{_show(result)}"
    except NotImplementedError:
        return _UNSOLVED
    except KeyboardInterrupt:
        return "was interrupted: does a loop in it never end?"
    except (Exception, SystemExit) as error:
        if isinstance(expected, Raises) and expected in str(error):
            return ""
        return f"raised {type(error).__name__}: {_show(error, str)}"


def _kind(result: object, expected: object) -> str:
    """Names the type where it is the type that is wrong."""
    if isinstance(result, type(expected)) or result is None or expected is None:
        return ""
    return f"a {type(result).__name__}, not a {type(expected).__name__}: "


def _show(value: object, as_text: Callable[[object], str] = repr, width: int = 110) -> str:
    """A value on one line, the middle of a long one left out."""
    text = " ".join(as_text(value).split("\n"))
    return text if len(text) <= width else f"{text[: width - 40]} ... {text[-35:]}"


def _feedback_on_script(script: Path) -> str:
    if not script.is_file():
        return f"There is no file {script} in this folder yet: run the cell that makes it."
    if "--model" not in script.read_text(encoding="utf-8", errors="replace"):
        return f"{script} is not solved yet: it does not know --model. Open it, change it, save it."
    with _tiny_server() as address:
        for right, run in enumerate(SCRIPT_RUNS):
            nobody = run.arguments == ["Nobody is there"]
            did = _run(script, run, "http://127.0.0.1:9" if nobody else address)
            if did:
                command = subprocess.list2cmdline(["python", script.name, *run.arguments])
                return (
                    f"Not yet ({right} of {len(SCRIPT_RUNS)} right): {command} {did}\n"
                    f"  expected: {run.output!r} and exit code {run.exit_code}\n"
                    f"  hint:     {run.hint}"
                )
    return f"OK: {script} is right in all {len(SCRIPT_RUNS)} runs."


def _run(script: Path, run: Run, address: str) -> str:
    """What the script did instead of what was expected; "" where it did just that."""
    try:
        ended = subprocess.run(
            [sys.executable, str(script), *run.arguments],
            env={
                **os.environ,
                "OLLAMA_HOST": address,
                "PYTHONIOENCODING": "utf-8",
                "no_proxy": "127.0.0.1",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=30,
        )
    except subprocess.TimeoutExpired:
        return "did not end within 30 seconds"
    except KeyboardInterrupt:
        return "was interrupted"
    if "Traceback" in ended.stderr:
        return f"ended in {_show(ended.stderr.strip().splitlines()[-1], str)}"
    if (ended.stdout.strip(), ended.returncode) != (run.output, run.exit_code):
        return f"printed {_show(ended.stdout.strip())}, exit code {ended.returncode}"
    if run.exit_code and not ended.stderr.strip():
        return f"said nothing on sys.stderr, exit code {ended.returncode}"
    return ""


@contextlib.contextmanager
def _tiny_server():
    """A server just for these runs, on a free port of this machine; yields its address."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer  # only this exercise

    class Tiny(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = asked["model"] != "nosuch"
            end = {"response": f" {asked['model']}.", "done": False}, {"response": "", "done": True}
            if asked["prompt"] == "Stop in the middle":
                end = ({"error": "out of memory"},)
            answer = [{"response": "I am", "done": False}, *end]
            if not known:
                answer = [{"error": "model 'nosuch' not found"}]
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write("".join(json.dumps(record) + "\n" for record in answer).encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Tiny) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
