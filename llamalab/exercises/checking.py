r"""The exercises and guesses: `check` says how a student's work does, and helps step by step.

The first time, it shows what was given, what came back and what was expected. The second time
that the same thing goes wrong, it also asks a question. `hint` tells more each time it is called,
and `solution` shows the code. How often something went wrong is kept in this process only.

>>> check("who_answered", lambda record: record["model"])
OK: who_answered is right in all 2 cases.
>>> check("who_answered", lambda record: "mistral")
Not yet: who_answered is right in 1 of 2 cases.
  given:    {'model': 'tiny'}
  returned: 'mistral'
  expected: 'tiny'
"""

import ast
import contextlib
import copy
import io
import math
import pprint
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import requests

from llamalab.exercises import guessing
from llamalab.exercises.cases import EXERCISES, Case, Raises
from llamalab.exercises.causes import (
    Call,
    Found,
    cause_of,
    cause_of_script,
    is_empty,
    older_version,
)
from llamalab.exercises.guesses import GUESSES
from llamalab.exercises.script_cases import SCRIPTS, ScriptCase
from llamalab.exercises.script_judge import Judge, Run
from llamalab.exercises.solutions import SOLUTIONS
from llamalab.lesson.progress import remember

WIDTH = 88  # characters of a line that shows a value
ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")  # in memory: it differs each time


def check(name: str, answer: Callable | str | object = None, data: object = None) -> None:
    """Say how a student's function, script or guess does, and help where it is not right yet.

    `answer` is the function itself, the name of a script's file, or the guess; `data` is what a
    guess is about, if that is the student's own. Raises nothing: what the function raises is part
    of what it says.
    """
    if isinstance(name, str) and name in GUESSES:
        print(guessing.feedback(name, GUESSES[name], answer, data))
    elif not _known(name):
        print(_unknown(name, [*EXERCISES, *SCRIPTS, *GUESSES]))
    elif name in SCRIPTS:
        print(_feedback_on_script(name, answer))
    elif not callable(answer):
        print(f'Give check the function itself, without brackets: check("{name}", {name})')
    else:
        print(_feedback(name, answer, EXERCISES[name]))


def hint(name: str) -> None:
    """Print a step towards the solution; each call tells more.

    After a wrong check, the first step is about what went wrong there.

    >>> hint("load_answers")
    Hint: `json.loads` turns one line into one dictionary.
    """
    if not _known(name):
        return print(_unknown(name, [*EXERCISES, *SCRIPTS]))
    tries, steps = _tries[name], SOLUTIONS[name].steps
    first = [tries.why.hint] if tries.why else []
    new = [text for text in (*first, *steps) if text and text not in tries.told]
    text = new[0] if new else steps[-1]
    tries.told.append(text)
    print(f"Hint: {text}")
    if len(new) <= 1:
        print(f'  That was the last hint. llamalab.solution("{name}") shows the solution.')
    return None


def solution(name: str) -> None:
    """Print the solution of an exercise, and another way to write it where there is one."""
    if not _known(name):
        return print(_unknown(name, [*EXERCISES, *SCRIPTS]))
    print(SOLUTIONS[name].code.rstrip())
    if SOLUTIONS[name].another:
        print(f"\n\n# Another way to write it:\n\n{SOLUTIONS[name].another.rstrip()}")
    return None


@dataclass
class _Tries:
    """What went wrong in one exercise so far: how often, the last time, what was told."""

    failures: Counter = field(default_factory=Counter)
    why: Found | None = None
    told: list[str] = field(default_factory=list)


_tries: defaultdict[str, _Tries] = defaultdict(_Tries)


def wrong_with(name: str, answer: Callable | str) -> Found | None:
    """What `check` finds wrong in a function or a script; None where nothing is."""
    _tries.pop(name, None)
    check(name, answer)
    return _tries.pop(name, _Tries()).why


def forget() -> None:
    """Forget all failures, as after a restart of the kernel."""
    _tries.clear()


def _known(name: object) -> bool:
    return isinstance(name, str) and (name in EXERCISES or name in SCRIPTS)


def _unknown(name: object, names: list[str]) -> str:
    return f"There is no exercise {_show(name)}. There are: {', '.join(names)}"


def _say(name: str, happened: str, why: Found) -> str:
    """What happened; the second time, a question, too."""
    tries = _tries[name]
    tries.failures[why.name] += 1
    tries.why = why
    if why.note:
        happened += f"\n  {why.note}"
    if tries.failures[why.name] == 1:
        return happened
    return f'{happened}\n  question: {why.question}\n  more help: llamalab.hint("{name}")'


def _done(name: str, title: str, count: int, cases: str) -> str:
    _tries.pop(name, None)
    remember(name)
    return f"OK: {title} is right in all {count} {cases}."


# A function -------------------------------------------------------------------------------------


def _feedback(name: str, function: Callable, cases: list[Case]) -> str:
    if older_version(function):
        return (
            f"Your newest cell with {name} stopped with an error, so Python only knows the "
            "version before it.\n  Run that cell again, correct its error, and then check again."
        )
    printed = ""
    for right, case in enumerate(cases):
        call = _call(function, case)
        printed += call.printed
        if _is_right(call):
            continue
        if right == 0 and _is_unsolved(call):
            return f"{name} is not solved yet: it returns nothing. Write its body."
        why = cause_of(name, call) or Found(f"case {right}", case.question, case.hint)
        happened = f"Not yet: {name} is right in {right} of {len(cases)} cases."
        happened += f"\n  given:    {_show_lines(case.given)}{_outcome(call)}"
        happened += f"\n  expected: {_show_lines(case.expected)}"
        return _say(name, happened, why)
    note = "\n  (It also prints. A caller does not need that.)" if printed else ""
    return _done(name, name, len(cases), "cases") + note


def _call(function: Callable, case: Case) -> Call:
    given, call, printed = copy.deepcopy(case.given), Call(function, case), io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            call.returned = function(given)
    except BaseException as error:
        call.error = error
    call.printed = printed.getvalue()
    call.changed = repr(given) != repr(case.given)
    return call


def _is_right(call: Call) -> bool:
    result, expected = call.returned, call.case.expected
    if call.error is not None:
        return (
            isinstance(expected, Raises)
            and isinstance(call.error, Exception)
            and not isinstance(call.error, NotImplementedError)
            and expected in _show(call.error, str, width=10_000)
        )
    if call.changed:
        return False
    if isinstance(expected, float) and type(result) in (int, float):
        return math.isclose(result, expected, rel_tol=1e-6)
    try:  # 0 == False, but a record that says 0 is a different one
        return bool(result == expected) and repr(result) == repr(expected)
    except Exception:
        return False


def _is_unsolved(call: Call) -> bool:
    return (
        call.returned is ...
        or isinstance(call.error, NotImplementedError)
        or (call.returned is None and is_empty(call.function))
    )


def _outcome(call: Call) -> str:
    """What happened, on separate lines: printed, raised, returned, changed."""
    expected, result = call.case.expected, call.returned
    said = f"\n  printed:  {_show(call.printed.rstrip())}" if call.printed and not result else ""
    if isinstance(call.error, KeyboardInterrupt):
        return f"{said}\n  raised:   KeyboardInterrupt (you stopped it)"
    if call.error is not None:
        return f"{said}\n  raised:   {type(call.error).__name__}: {_show(call.error, str)}"
    said += f"\n  returned: {_show_lines(result)}"
    if not (result is None or expected is None or isinstance(expected, (type(result), Raises))):
        said += f" ({_a(result)}, not {_a(expected)})"
    if call.changed:
        said += " (and changed the value that was given)"
    return said


def _a(value: object) -> str:
    """The type of a value with its article: "a list", "an int"."""
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _show_lines(value: object) -> str:
    """A value, complete, on a few lines below each other; if it needs more, on one, shortened."""
    if isinstance(value, requests.Response):
        return f"{value!r} with headers {dict(value.headers)}"
    with contextlib.suppress(Exception):  # its repr may raise anything
        text = pprint.pformat(value, width=WIDTH, sort_dicts=False)
        lines = ADDRESS.sub("", text).split("\n")
        if len(lines) <= 8 and max(map(len, lines)) <= WIDTH:
            return "\n            ".join(lines)  # below the value, not below its name
    return _show(value)


def _show(value: object, as_text: Callable[[object], str] = repr, width: int = 110) -> str:
    """A value on one line, the middle of a long one left out, and no address in memory."""
    try:
        text = " ".join(as_text(value).split("\n"))
    except Exception:
        text = f"({type(value).__name__}, which cannot be shown)"
    text = ADDRESS.sub("", text)
    return text if len(text) <= width else f"{text[: width - 40]} ... {text[-35:]}"


# A script ---------------------------------------------------------------------------------------


def _feedback_on_script(name: str, file: object) -> str:
    if not isinstance(file, (str, Path)) or not str(file).endswith(".py"):
        return f'Give check the name of your script: check("{name}", "my_script.py")'
    script, exercise = Path(file), SCRIPTS[name]
    if not script.is_file():
        return f"{name} is not solved yet: there is no file {script} in this folder."
    text = script.read_text(encoding="utf-8", errors="replace")
    why = _gap(text) or exercise.unsolved(text)
    if why:
        return f"{name} is not solved yet: {script} is not complete; {why}."
    print(f"Running {script.name} ...", flush=True)  # it takes some seconds
    with Judge(script) as judge:
        return _feedback_on_runs(name, script, exercise.cases, judge)


def _feedback_on_runs(name: str, script: Path, cases: list[ScriptCase], judge: Judge) -> str:
    for right, case in enumerate(cases):
        if case.asked != cases[0].asked:  # the first run was right: all others at the same time
            for later in cases:
                judge.start(*later.asked)
        run = judge.run(*case.asked)
        if not run.traceback and _did(case, run, judge):
            continue
        why = cause_of_script(run, case) or Found(f"case {right}", case.question, case.hint)
        happened = f"Not yet: {script.name} is right in {right} of {len(cases)} runs."
        happened += f"\n{_terminal(run, case)}\n  expected: {case.expected}"
        return _say(name, happened, why)
    return _done(name, script.name, len(cases), "runs")


def _did(case: ScriptCase, run: Run, judge: Judge) -> bool:
    try:
        return case.right(run, judge)
    except Exception:  # its requests may be of any form
        return False


def _gap(text: str) -> str:
    """Where a `...` is left in a script, "" if none is."""
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError):
        return ""  # Python itself says it better
    lines = [node.lineno for node in nodes if isinstance(node, ast.Constant) and node.value is ...]
    return f"there is still a gap (...) in line {min(lines)}" if lines else ""


def _terminal(run: Run, case: ScriptCase) -> str:
    """A run as a terminal shows it: what was typed, both outputs, the exit code."""
    lines = [f"  $ {run.typed}"]
    lines += [f"  < {line}" for line in case.lines]  # typed while it ran
    lines += [f"  {_show(line, str)}" for line in _ends_of(run.printed, 6)]
    lines += [f"  {_show(line, str)}" for line in _ends_of(_own(run), 6)]
    code = "it did not end" if run.exit_code is None else run.exit_code
    if case.fault:
        lines.insert(1, f"  (the server's first answer breaks: fault {case.fault!r})")
    return "\n".join([*lines, f"  exit code: {code}"])


def _own(run: Run) -> str:
    """What is on stderr; of a traceback only the script's own lines, and the error."""
    _, traceback, text = run.errors.rpartition("Traceback (most recent call last):\n")
    if not traceback:
        return run.errors
    script, own, lines = run.typed.split()[1], False, []
    for line in text.splitlines():
        if line.startswith("  File "):
            own = f'"{script}"' in line
        if own or not line.startswith(" "):
            lines.append(line)
    return traceback + "\n".join(lines)


def _ends_of(text: str, count: int) -> list[str]:
    """The last lines of a text."""
    lines = text.rstrip().splitlines()
    return lines if len(lines) <= count else ["...", *lines[-count:]]
