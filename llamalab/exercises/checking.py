r"""The exercises: `check("split_lines", split_lines)` says how a student's function does.

>>> check("who_answered", lambda record: record["model"])
OK: who_answered is right in all 2 cases.
>>> check("who_answered", lambda record: "mistral")
Not yet (1 of 2 right): who_answered({'model': 'tiny'}) returned 'mistral'
  expected: 'tiny'
  hint:     the server decides who answers: read it from the record
"""

import contextlib
import copy
import io
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

from llamalab.exercises import script_judge
from llamalab.exercises.cases import EXERCISES, Case, Raises


def check(name: str, solution: Callable | str | None = None) -> None:
    """Say in one to three lines what a student's function gets right and what it misses.

    `solution` is the function, or for "generate_script" the name of the student's script.
    Raises nothing: what the function raises is part of what it says.
    """
    if not isinstance(name, str) or name not in EXERCISES:
        print(f"There is no exercise {_show(name)}. There are: {', '.join(EXERCISES)}")
    elif name == "generate_script":
        print(_feedback_on_script(Path(str(solution or "my_script.py"))))
    elif not callable(solution):
        print(f'Give check the function itself, without brackets: check("{name}", {name})')
    else:
        print(_feedback(name, solution, EXERCISES[name]))


_UNSOLVED = "returned None"
_CHANGED = "changed what it was given"


def _feedback(name: str, function: Callable, cases: list[Case]) -> str:
    printed = io.StringIO()
    for right, case in enumerate(cases):
        with contextlib.redirect_stdout(printed):
            did = _judge(function, case)
        if not did:
            continue
        hint = case.hint
        if did == _CHANGED:
            hint = "build a new value, leave the given one"
        elif did == _UNSOLVED and printed.getvalue():
            hint = "it prints its result: `return` it instead"
        elif did == _UNSOLVED and right == 0:
            return f"{name} is not solved yet: it returns nothing. Write its body."
        return (
            f"Not yet ({right} of {len(cases)} right): {name}({_show(case.given)}) {did}\n"
            f"  expected: {_show(case.expected)}\n  hint:     {hint}"
        )
    note = "\n  (It also prints. Nobody who calls it needs that.)" if printed.getvalue() else ""
    return f"OK: {name} is right in all {len(cases)} cases.{note}"


def _judge(function: Callable, case: Case) -> str:
    """What the function did instead of what was expected; "" where it did just that."""
    given, expected = copy.deepcopy(case.given), case.expected
    try:
        result = function(given)
        if result is ... or (result is None and expected is not None):
            return _UNSOLVED
        if isinstance(expected, float) and type(result) in (int, float):
            right = math.isclose(result, expected, rel_tol=1e-6)
        else:  # 0 == False, but a record that says 0 is another one
            right = result == expected and repr(result) == repr(expected)
        if right:
            return "" if repr(given) == repr(case.given) else _CHANGED
        if isinstance(result, type(expected)) or isinstance(expected, Raises) or expected is None:
            return f"returned {_show(result)}"
        return (
            f"returned a {type(result).__name__}, not a {type(expected).__name__}: {_show(result)}"
        )
    except NotImplementedError:
        return _UNSOLVED
    except KeyboardInterrupt:
        return "was interrupted: does a loop in it never end?"
    except BaseException as error:
        if isinstance(expected, Raises) and expected in _show(error, str, width=10_000):
            return ""
        return f"raised {type(error).__name__}: {_show(error, str)}"


def _show(value: object, as_text: Callable[[object], str] = repr, width: int = 110) -> str:
    """A value on one line, the middle of a long one left out."""
    try:
        text = " ".join(as_text(value).split("\n"))
    except Exception:
        text = f"({type(value).__name__}, which cannot be shown)"
    return text if len(text) <= width else f"{text[: width - 40]} ... {text[-35:]}"


def _feedback_on_script(script: Path) -> str:
    if not script.is_file():
        return f"There is no file {script} in this folder yet: run the cell that makes it."
    if "--model" not in script.read_text(encoding="utf-8", errors="replace"):
        return f"{script} is not solved yet: it does not know --model. Open it, change it, save it."
    with script_judge.server() as address:
        run = partial(script_judge.run, script, address)
        return _feedback(script.name, run, EXERCISES["generate_script"])
