"""check(): the right solution passes, a typical wrong one gets the right hint, nothing raises."""

import json
import sys
from pathlib import Path

import pytest
import requests

import llamalab
from llamalab.exercises.cases import EXERCISES
from llamalab.exercises.checking import check

GENERATE = Path(__file__).parents[2] / "notebooks" / "generate.py"


def conversation(texts):
    roles = ["system", *["user", "assistant"] * len(texts)]
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]


def survive(lines, errors=(requests.RequestException, ValueError, KeyError, TypeError)):
    text = ""
    try:
        for answer in map(json.loads, lines):
            text += answer["response"]
            if answer["done"]:
                return text, True
    except errors:
        pass
    return text, False


def time_to_first_token(arrivals):
    for seconds, line in arrivals:
        if line and json.loads(line).get("response"):
            return seconds
    return None


def seconds_for_500(last):
    if "eval_count" not in last or "eval_duration" not in last:
        return None
    once = last.get("load_duration", 0) + last.get("prompt_eval_duration", 0)
    return (once + 500 * last["eval_duration"] / last["eval_count"]) / 1e9


SOLUTIONS = {
    "who_answered": lambda record: record["model"],
    "status_and_type": lambda answer: (answer.status_code, answer.headers.get("Content-Type")),
    "split_lines": llamalab.split_lines,
    "load_answers": llamalab.load_answers,
    "tokens_per_second": llamalab.tokens_per_second,
    "join_fragments": llamalab.join_fragments,
    "conversation": conversation,
    "survive": survive,
    "time_to_first_token": time_to_first_token,
    "seconds_for_500": seconds_for_500,
}


@pytest.fixture
def said(capsys):
    """What check prints about a solution; it must not raise, and returns None."""

    def said(name, *solution):
        assert check(name, *solution) is None
        out = capsys.readouterr().out
        assert 1 <= len(out.splitlines()) <= 3
        return out

    return said


def test_every_exercise_has_its_solution_here():
    assert {*SOLUTIONS, "generate_script"} == EXERCISES.keys()


@pytest.mark.parametrize("name", SOLUTIONS)
def test_the_right_solution_passes_every_case(said, name):
    assert said(name, SOLUTIONS[name]).startswith(f"OK: {name} is right in all")


@pytest.mark.parametrize("name", SOLUTIONS)
def test_a_starter_is_told_kindly_that_it_is_not_solved_yet(said, name):
    def starter(_): ...

    def refuses(_):
        raise NotImplementedError

    for unsolved in (starter, refuses, lambda _: ...):
        assert said(name, unsolved).startswith(f"{name} is not solved yet: ")


def without_keys(lines):
    """survive, as whoever looks for the key error writes it and forgets the other keys."""
    text = ""
    try:
        for answer in map(json.loads, lines):
            if "error" in answer:
                break
            text += answer["response"]
            if answer["done"]:
                return text, True
    except (requests.RequestException, ValueError, TypeError):
        pass
    return text, False


def thinks_or_speaks(line):
    """Whether a line shows anything at all: not the same as text of the answer."""
    record = json.loads(line or b"{}")
    return record.get("response") or record.get("thinking")


# By exercise: a part of what students should read, and what they have written.
SLIPS = {
    "who_answered": [
        ("the server decides who answers", lambda record: "mistral"),
        ("raised KeyError: 'name'", lambda record: record["name"]),
    ],
    "status_and_type": [
        ("a list, not a tuple", lambda r: [r.status_code, "application/x-ndjson"]),
        ("take both from the response", lambda r: (200, r.headers["Content-Type"])),
        ("gives None", lambda r: (r.status_code, r.headers["Content-Type"])),
    ],
    "split_lines": [
        ('not bytes: .decode("utf-8")', lambda content: content.splitlines()),
        ("raised TypeError", lambda content: content.split("\n")),
        ("the last one begins no line", lambda content: content.decode().split("\n")),
        ("cut at newlines only", lambda content: content.decode().split()),
        ("é is two bytes", lambda content: content.decode("latin-1").splitlines()),
        ("blank lines", lambda content: content.decode().splitlines()),
        (
            "U+0085 and U+2028 are newlines for text",
            lambda content: [line for line in content.decode().splitlines() if line],
        ),
    ],
    "load_answers": [
        ("raised TypeError", lambda lines: json.loads(lines)),
        ("a generator, not a list", lambda lines: (json.loads(line) for line in lines)),
        ("the last one too", lambda lines: [json.loads(lines[0])]),
        ("returned [{'done': 0}]", lambda lines: [{"done": 0} for _ in lines]),
    ],
    "tokens_per_second": [
        ("1e9 nanoseconds", lambda a: a["eval_count"] / a["eval_duration"]),
        (
            "divide eval_count by eval_duration",
            lambda a: a["eval_count"] / a.get("total_duration", a["eval_duration"]) * 1e9,
        ),
        ("no eval_duration", lambda a: a["eval_count"] / a["eval_duration"] * 1e9),
        (
            "zero is left out",
            lambda a: (
                a.get("eval_count", 0) / a["eval_duration"] * 1e9
                if a.keys() - {"eval_count"}
                else None
            ),
        ),
    ],
    "join_fragments": [
        ("in between", lambda answers: " ".join(a["response"] for a in answers)),
        ("a list, not a str", lambda answers: [a["response"] for a in answers]),
        ("spaces", lambda answers: "".join(a["response"].strip() for a in answers)),
        (
            "the record with done: true may carry text too",
            lambda answers: "".join(a["response"] for a in answers if not a.get("done")),
        ),
        ("key error", lambda answers: "".join(a["response"] for a in answers)),
        ("key error", lambda a: "".join(r.get("response", "") for r in a)),
    ],
    "conversation": [
        ("the first text is", lambda texts: [{"role": "user", "content": text} for text in texts]),
        (
            "they take turns",
            lambda texts: [
                {"role": "user" if place else "system", "content": text}
                for place, text in enumerate(texts)
            ],
        ),
        ("as long as you like", lambda texts: conversation(texts[:4])),
        ("takes its turn, too", lambda texts: conversation(list(filter(None, texts)))),
        (
            "its place says who speaks",
            lambda texts: [conversation(texts)[texts.index(text)] for text in texts],
        ),
        ("an empty list", lambda texts: conversation(texts[:1] or [""]) + conversation(texts)[1:]),
        ("leave the given one", lambda texts: conversation([texts.pop(0), *texts])),
    ],
    "survive": [
        ("a pair", lambda lines: "".join(json.loads(x)["response"] for x in lines)),
        ("may carry text too", lambda lines: (json.loads(lines[0])["response"], True)),
        (
            "however well it reads",
            lambda lines: ("".join(json.loads(x)["response"] for x in lines), True),
        ),
        ("no lines: no text", lambda lines: (survive(lines)[0], json.loads([*lines][-1])["done"])),
        ("a record with the key error has no text", lambda lines: survive(lines, ())),
        ("except requests.RequestException", lambda lines: survive(lines, (KeyError,))),
        (
            "a line that is no JSON raises ValueError",
            lambda lines: survive(lines, (KeyError, requests.RequestException)),
        ),
        (
            "a line may be JSON and no dictionary",
            lambda lines: survive(lines, (KeyError, ValueError, OSError)),
        ),
        ("a record may lack a key", without_keys),
    ],
    "time_to_first_token": [
        ("an empty fragment is no text", lambda pairs: pairs[0][0]),
        ("the seconds of the first pair", lambda pairs: pairs[-1][0]),
        (
            "no lines, no first token",
            lambda pairs: next(s for s, line in pairs if json.loads(line)["response"]),
        ),
        ("no lines, no first token", lambda pairs: time_to_first_token(pairs) if pairs else 0),
        (
            "no line carries text",
            lambda pairs: (
                next(s for s, line in pairs if json.loads(line)["response"]) if pairs else None
            ),
        ),
        (
            "the record with done: true",
            lambda pairs: next(
                (s for s, line in pairs if not (a := json.loads(line))["done"] and a["response"]),
                None,
            ),
        ),
        (
            "a blank line is no record",
            lambda pairs: next((s for s, line in pairs if json.loads(line)["response"]), None),
        ),
        (
            "a record may have no fragment",
            lambda pairs: next(
                (s for s, line in pairs if line and json.loads(line)["response"]), None
            ),
        ),
        (
            "what the model thinks is not its answer",
            lambda pairs: next((s for s, line in pairs if thinks_or_speaks(line)), None),
        ),
    ],
    "seconds_for_500": [
        (
            "load once, read the prompt once",
            lambda last: last["total_duration"] / last["eval_count"] * 500 / 1e9,
        ),
        (
            "add up the three parts",
            lambda last: (
                (last["total_duration"] + (500 / last["eval_count"] - 1) * last["eval_duration"])
                / 1e9
            ),
        ),
        (
            '.get("load_duration", 0)',
            lambda last: seconds_for_500({"load_duration": last["load_duration"], **last}),
        ),
        (
            "the prompt may cost nothing",
            lambda last: seconds_for_500(
                {"prompt_eval_duration": last["prompt_eval_duration"], **last}
            ),
        ),
        (
            "no token was written",
            lambda last: seconds_for_500({"eval_count": last["eval_count"], **last}),
        ),
        (
            "without eval_duration",
            lambda last: (
                seconds_for_500({"eval_duration": last["eval_duration"], **last})
                if "eval_count" in last
                else None
            ),
        ),
    ],
}


@pytest.mark.parametrize(
    ("name", "hint", "slip"), [(name, *slip) for name, slips in SLIPS.items() for slip in slips]
)
def test_a_typical_slip_gets_the_right_hint(said, name, hint, slip):
    out = said(name, slip)
    assert out.startswith("Not yet (")
    assert "expected: " in out
    assert hint in out


def test_an_error_that_is_swallowed_is_noticed(said):
    def swallows(lines):
        answers = []
        for line in lines:
            try:
                answers.append(json.loads(line))
            except ValueError:
                continue
        return answers

    assert "must not vanish silently" in said("load_answers", swallows)


def test_printing_instead_of_returning_is_noticed_and_not_shown(said):
    out = said("who_answered", lambda record: print(record["model"]))
    assert "it prints its result" in out
    assert not out.startswith("mistral")


def test_printing_beside_returning_is_right_and_mentioned(said):
    def chatty(record):
        print("looking ...")
        return record["model"]

    out = said("who_answered", chatty)
    assert out.startswith("OK")
    assert "It also prints" in out


def test_changing_the_input_is_noticed(said):
    def eats(answers):
        text = ""
        while answers:
            text += answers.pop(0)["response"]
        return text

    assert "changed what it was given" in said("join_fragments", eats)


def test_a_function_that_is_interrupted_or_exits_does_not_take_the_notebook_with_it(said):
    def interrupted(_):
        raise KeyboardInterrupt

    assert "interrupted" in said("split_lines", interrupted)
    assert "raised SystemExit" in said("split_lines", lambda _: sys.exit("bye"))


def test_a_value_that_cannot_be_shown_does_not_raise(said):
    class Odd:
        def __repr__(self):
            raise ValueError("odd")

    assert "(Odd, which cannot be shown)" in said("split_lines", lambda _: Odd())


def test_an_error_that_cannot_be_shown_does_not_raise(said):
    class OddError(BaseException):
        def __str__(self):
            raise ValueError("odd")

    def fails(_):
        raise OddError

    assert "raised OddError: (OddError, which cannot be shown)" in said("who_answered", fails)


def test_a_long_value_is_shortened(said):
    assert len(said("split_lines", lambda _: ["x" * 10_000]).splitlines()[0]) < 300


def test_the_result_instead_of_the_function_is_noticed(said):
    assert "without brackets" in said("split_lines", ["a line"])
    assert "without brackets" in said("split_lines")


@pytest.mark.parametrize("name", ["no_such_exercise", llamalab.split_lines, None, ["a"]])
def test_an_unknown_name_lists_the_exercises(said, name):
    out = said(name, llamalab.split_lines)
    for exercise in EXERCISES:
        assert exercise in out


# The script ------------------------------------------------------------------------------------


def solved(script: str) -> str:
    """What a student makes of generate.py."""
    for old, new in [
        ("import json\n", "import argparse\nimport json\n"),
        ("def post(server, prompt):", "def post(server, prompt, model):"),
        ('{"model": MODEL,', '{"model": model,'),
        (
            "        yield from response",
            "        if response.status_code == 404:\n"
            '            raise LookupError(response.json()["error"])\n'
            "        yield from response",
        ),
        ("def ask(server, prompt):", "def ask(server, prompt, model):"),
        ("post(server, prompt))", "post(server, prompt, model))"),
        (
            "    except (requests.",
            "    except LookupError as error:\n"
            "        print(error, file=sys.stderr)\n"
            "        return 3\n"
            "    except (requests.",
        ),
        (
            script[script.index("    help = arguments in") : script.index("\n\n\nif __name__")],
            "    parser = argparse.ArgumentParser()\n"
            '    parser.add_argument("--model", default=MODEL)\n'
            '    parser.add_argument("prompt")\n'
            "    a = parser.parse_args(arguments)\n"
            '    server = server_address(os.environ.get("OLLAMA_HOST", ""))\n'
            "    return ask(server, a.prompt, a.model)",
        ),
    ]:
        assert script.count(old) == 1, old
        script = script.replace(old, new)
    return script


@pytest.fixture
def my_script(tmp_path, monkeypatch):
    """Writes the student's script into a folder of its own; check finds it there."""
    monkeypatch.chdir(tmp_path)
    return lambda text: Path("my_script.py").write_text(text, encoding="utf-8")


def long(*values):
    """A case that only runs with `-m long`: each runs the script up to eight times."""
    return pytest.param(*values, marks=pytest.mark.long)


def test_a_script_that_is_not_there_is_named(said, my_script):
    assert said("generate_script", "my_script.py").startswith("There is no file my_script.py")
    assert said("generate_script").startswith("There is no file my_script.py")


def test_the_copy_of_generate_is_not_solved_yet(said, my_script):
    my_script(GENERATE.read_text(encoding="utf-8"))
    assert "my_script.py is not solved yet" in said("generate_script", "my_script.py")


def test_a_solved_script_passes_every_run(said, my_script):
    my_script(solved(GENERATE.read_text(encoding="utf-8")))
    assert said("generate_script", "my_script.py") == "OK: my_script.py is right in all 8 cases.\n"


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("default=MODEL)", 'default="tiny")', "without --model the model is 'mistral'"),
        long('{"model": model,', '{"model": MODEL,', "post the name after --model"),
        long("return 3", "return 1", "the status is 404: exit code 3"),
        long("return 1\n", "return 0\n", "came: exit code 1"),
    ],
)
def test_a_slip_in_the_script_gets_the_right_hint(said, my_script, old, new, hint):
    my_script(changed(old, new))
    out = said("generate_script", "my_script.py")
    assert out.startswith("Not yet (")
    assert out.splitlines()[-1].endswith(hint)


@pytest.mark.parametrize(
    ("old", "new", "did"),
    [
        ("import requests\n", "import requests\nx = (\n", "SyntaxError: '(' was never closed"),
        long(
            "requests.RequestException, ", "", "RuntimeError: requests.exceptions.ConnectionError"
        ),
        long("print(error, file=sys.stderr)", "pass", "nothing on sys.stderr, but exit code 3"),
    ],
)
def test_what_the_script_did_is_said(said, my_script, old, new, did):
    my_script(changed(old, new))
    assert did in said("generate_script", "my_script.py").splitlines()[0]


def changed(old: str, new: str) -> str:
    """The solved script with one slip in it."""
    script = solved(GENERATE.read_text(encoding="utf-8"))
    assert script.count(old) == 1
    return script.replace(old, new)
