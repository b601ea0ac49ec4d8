"""Why it went wrong: what the cause looks like, a question that points to it, and a hint.

A cause is found by looking at what came back. It is looked for before the case's own question is
asked, because it says more: a rounded number, a `return` inside the loop, bytes instead of text.
"""

import contextlib
import dis
import linecache
import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import NamedTuple

from llamalab.exercises.cases import Case, Raises
from llamalab.exercises.python_errors import KEYS, explain, explain_name, explain_name_in
from llamalab.exercises.script_cases import ScriptCase
from llamalab.exercises.script_judge import Found, Run


@dataclass
class Call:
    """One call of a student's function: its case, and what happened."""

    function: Callable
    case: Case
    returned: object = None
    error: BaseException | None = None
    printed: str = ""
    changed: bool = False  # what it was given


class Cause(NamedTuple):
    """`question` and `hint` may hold {what}, which `seen` finds: a name, a factor, several texts.

    `note` is said at once, where what came back does not show the mistake.
    """

    name: str
    question: str
    hint: str
    seen: Callable[[Call], object]  # false where it is not the cause
    note: str = ""


# What came back of a function -------------------------------------------------------------------


def cause_of(name: str, call: Call) -> Found | None:
    """The cause of a wrong call in an exercise."""
    for cause in [*SPECIAL.get(name, []), *CAUSES]:
        what = None
        with contextlib.suppress(Exception):  # what came back may be of any type
            what = cause.seen(call)
        if what:
            question, hint = (text.format(what=what) for text in (cause.question, cause.hint))
            return Found(cause.name, question, hint, cause.note)
    return None


def _number(value: object) -> bool:
    return type(value) in (int, float)


def _numbers(call: Call) -> bool:
    return _number(call.returned) and _number(call.case.expected)


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-6)


def _factor(call: Call) -> str:
    """By how much a number is off, if it is milli, micro or nano: "1,000 times too big"."""
    if _numbers(call) and call.case.expected:
        for power in (3, 6, 9):
            if _close(call.returned, call.case.expected * 10**power):
                return f"{10**power:,} times too big"
            if _close(call.returned, call.case.expected / 10**power):
                return f"{10**power:,} times too small"
    return ""


def _rounded(call: Call) -> bool:
    if not _numbers(call):
        return False
    exact = call.case.expected
    rounded = [float(int(exact)), *(round(exact, digits) for digits in range(6))]
    return call.returned in rounded and not _close(call.returned, exact)


def _has_bytes(call: Call) -> bool:
    values = call.returned if isinstance(call.returned, list) else [call.returned]
    return any(isinstance(value, bytes) for value in values)


def _returns_nothing(call: Call) -> bool:
    """Whether no line of the function gives a value back: each `return` is one of None."""
    if call.returned is not None or call.error or not isinstance(call.function, FunctionType):
        return False
    before, ends = None, []
    for step in dis.get_instructions(call.function):
        if step.opname == "RETURN_CONST":
            ends.append(step.argval)
        elif step.opname == "RETURN_VALUE":
            loaded = before is not None and before.opname.startswith("LOAD_CONST")
            ends.append(before.argval if loaded else ...)
        before = step
    return all(end is None for end in ends)


def is_empty(function: Callable) -> bool:
    """Whether a function has no body yet: it looks at nothing, and returns None."""
    if not isinstance(function, FunctionType):
        return False
    code = function.__code__
    steps = {step.opname for step in dis.get_instructions(code)}
    known = {"RESUME", "NOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE", "POP_TOP"}
    return steps <= known and not code.co_names


def _first_only(call: Call) -> bool:
    """Whether only the first item of several came back: as a list, alone, or as a text."""
    got, expected = call.returned, call.case.expected
    if isinstance(expected, list) and len(expected) > 1:
        return got in (expected[:1], expected[0])
    return _several_fragments(call) and got == call.case.given[0]["response"]


def _last_only(call: Call) -> bool:
    got, expected = call.returned, call.case.expected
    if isinstance(expected, list) and len(expected) > 1:
        return got in (expected[-1:], expected[-1])
    return _several_fragments(call) and got == call.case.given[-1]["response"]


def _several_fragments(call: Call) -> bool:
    """Whether a text is made of several records, none of which is the last of an answer."""
    records = call.case.given
    if not isinstance(call.case.expected, str) or not isinstance(records, list):
        return False
    return len(records) > 1 and all(record.get("done") is False for record in records)


def _message(call: Call, kind: type | tuple[type, ...]) -> str:
    return str(call.error) if isinstance(call.error, kind) else ""


def _name_and_hint(call: Call) -> tuple[str, str] | None:
    """The name that Python does not know, and what it probably should be."""
    if not isinstance(call.error, NameError) or not call.error.name:
        return None
    parameters = call.function.__code__.co_varnames[: call.function.__code__.co_argcount]
    name, parameter = call.error.name, (*parameters, "record")[0]
    given = getattr(call.case.given, "lines", call.case.given)  # of `Cut`
    return name, explain_name_in(name, given, call.case.expected, parameter)


def _meaning(call: Call) -> tuple[str, str] | None:
    return call.error and explain(f"{type(call.error).__name__}: {call.error}")


def _text_of_error(call: Call, text: str) -> bool:
    """Whether an error is expected, and its text came back in another way."""
    expected = call.case.expected
    return isinstance(expected, Raises) and bool(expected) and not call.error and expected in text


# The first one that is seen counts.
CAUSES: list[Cause] = [
    Cause(
        "interrupted",
        "You stopped it. Does a loop in your function ever end?",
        "Look at each `while`: something in the loop has to make its condition false.",
        lambda call: isinstance(call.error, KeyboardInterrupt),
    ),
    Cause(
        "changes what is given",
        "Which line of your function changes the value that it was given?",
        "Build a new value, and leave the given one as it is: no pop, no append on it.",
        lambda call: call.changed,
    ),
    Cause(
        "error given back",
        "The caller gets a value and does not notice the error. Which word stops the function?",
        "Write `raise` in place of `return`: a `raise` stops the function, and its caller.",
        lambda call: (
            isinstance(call.returned, BaseException) and isinstance(call.case.expected, Raises)
        ),
        note="You returned the error. `raise` it instead.",
    ),
    Cause(
        "text of the error given back",
        "The caller gets a text and takes it for the answer. How does the caller notice an error?",
        'Put the text into an error, and raise it: raise ValueError(answer["error"]).',
        lambda call: _text_of_error(call, str(call.returned)),
        note="You returned the error's text. Use `raise ValueError(...)` instead.",
    ),
    Cause(
        "text of the error printed",
        "A person can read what you print. How does the caller of your function notice it?",
        'Put the text into an error, and raise it: raise ValueError(answer["error"]).',
        lambda call: _text_of_error(call, call.printed),
        note="You printed the error's text. Use `raise ValueError(...)` instead.",
    ),
    Cause(
        "prints",
        "Your function prints its result. Does the function also give it back?",
        "Collect what you print in a variable, and give it back in the last line: `return`.",
        lambda call: call.returned is None and call.printed and call.error is None,
        note="`print` only shows it. Use `return`.",
    ),
    Cause(
        "returns nothing",
        "Which line gives the result back? Does it start with `return`?",
        "Add a last line to the function: `return` and the name of your result.",
        lambda call: call.case.expected is not None and _returns_nothing(call),
    ),
    Cause(
        "name",
        "Python does not know the name {what[0]} here. Where do you make it or import it?",
        "{what[1]}",
        _name_and_hint,
    ),
    Cause(
        "parameters",
        "`check` gives your function one value. How many names are in the brackets after its name?",
        "Your function needs one name in its brackets, as in the cell that the chapter gives you.",
        lambda call: re.search(r"positional argument", _message(call, TypeError)),
    ),
    Cause("error of Python", "{what[0]}", "{what[1]}", _meaning),
    Cause(
        "key of a list",
        "You read a key of a list. What is in this list?",
        "Go through the list with `for`, and read the key of each record.",
        lambda call: (
            re.search(r"list indices", _message(call, TypeError))
            and all(isinstance(item, dict) for item in call.case.given)
        ),
    ),
    Cause(
        "bytes with text",
        "Bytes and text do not mix. Which of the two is bytes, and which is text?",
        'Bytes have a b before the quotes: split(b"\\n") for bytes, split("\\n") for text.',
        lambda call: re.search(r"bytes-like object|not bytes", _message(call, TypeError)),
    ),
    Cause(
        "bytes",
        "Which of your values are bytes (with a b before the quotes)? What makes text of them?",
        '.decode("utf-8") turns bytes into text. Do it with each line.',
        lambda call: _has_bytes(call) and not isinstance(call.case.expected, bytes),
    ),
    Cause(
        "generator",
        "Is this already a list? What do you see when you print it?",
        "Square brackets make a list: [... for ... in ...]. Or put list( ) around it.",
        lambda call: isinstance(call.returned, Iterator) and isinstance(call.case.expected, list),
    ),
    Cause(
        "returns inside the loop",
        "Only the first item came back. Where is your `return`: inside the loop or after it?",
        "`return` ends the function at once. Move it to the left, so that it is after the loop.",
        _first_only,
    ),
    Cause(
        "keeps the last one",
        "Only the last item came back. Where do you collect the items?",
        "Make the empty list (or text) before the loop, and add to it inside the loop.",
        _last_only,
    ),
    Cause(
        "fragments in a list",
        "You have the fragments in a list. How do you make one text of them?",
        'The method join of a text does it: "".join(fragments).',
        lambda call: (
            isinstance(call.case.expected, str)
            and isinstance(call.returned, list)
            and "".join(call.returned) == call.case.expected
        ),
    ),
    Cause(
        "text of a value",
        "Is your result a number or a text? Look for quotes around it.",
        "Return the value as it is, without str( ) or an f-string.",
        lambda call: isinstance(call.returned, str) and call.returned == str(call.case.expected),
    ),
    Cause(
        "rounded",
        "Your number is nearly right. Do you round the number?",
        "Return all digits: no round( ), int( ) or //. Who shows the number may round it.",
        _rounded,
    ),
    Cause(
        "unit",
        "Your number is {what}. Which unit do you have, and which one is asked for?",
        "A second has 1e3 milliseconds and 1e9 nanoseconds. The durations are in nanoseconds.",
        _factor,
    ),
]


def _speed_of(call: Call) -> Iterator[tuple[str, float]]:
    """Each duration in a record, and the speed that it gives."""
    for key, value in call.case.given.items():
        if key.endswith("_duration"):
            yield key, call.case.given["eval_count"] / value * 1e9


def _any_unit(number: float, expected: float) -> bool:
    return any(_close(number * 10**power, expected) for power in (0, 3, 6, 9))


def _stops_at_first(call: Call) -> bool:
    nothing = call.returned is None and call.error is None and not call.printed
    return nothing and call.case.expected is not None and len(call.case.given) > 1


# Causes of one exercise; they come before the others.
SPECIAL: dict[str, list[Cause]] = {
    "tokens_per_second": [
        Cause(
            "wrong duration",
            "You divide by {what}. Which duration is the time for writing the tokens?",
            "Use eval_duration. {what} has other work in it.",
            lambda call: next(
                (
                    key
                    for key, speed in _speed_of(call)
                    if key != "eval_duration" and _any_unit(call.returned, speed)
                ),
                None,
            ),
        ),
        Cause(
            "upside down",
            "Which of the two numbers do you divide by the other one? You have time per token.",
            "Tokens per second: the tokens come first, then divided by the seconds.",
            lambda call: any(
                _close(call.returned * 10**power, 1e9 / call.case.expected)
                for power in (0, 3, 6, 9)
            ),
        ),
    ],
    "seconds_for_500": [
        Cause(
            "wrong duration",
            "You multiply total_duration. The total has more in it: what is not done 500 times?",
            "Multiply only eval_duration / eval_count by 500. Loading and reading happen once.",
            lambda call: _any_unit(
                500 * call.case.given["total_duration"] / call.case.given["eval_count"] / 1e9,
                call.returned,
            ),
        ),
    ],
    "time_to_first_token": [
        Cause(
            "pair",
            "What is in a pair, and in which order? How do you take a pair apart?",
            "Each pair is (seconds, line): `for seconds, line in arrivals:` takes it apart.",
            lambda call: re.search(r"tuple indices|not tuple", _message(call, TypeError)),
        ),
        Cause(
            "line as a dictionary",
            "You read a key of the line. Is the line a dictionary already?",
            "Each pair is (seconds, line). The line is bytes: make a dictionary of it first, with "
            "json.loads.",
            lambda call: re.search(
                r"^byte indices|'bytes' object has no attribute 'get'",
                _message(call, (TypeError, AttributeError)),
            ),
        ),
        Cause(
            "returns inside the loop",
            "A later pair has text. Does your loop end at the first pair? Where is `return None`?",
            "Move `return None` to the left, so that it is after the loop. No `else` is needed.",
            lambda call: _stops_at_first(call) and not _returns_nothing(call),
        ),
    ],
    "survive": [
        Cause(
            "returns inside the loop",
            "Only the first line was read. Where is your `return`: inside the loop or after it?",
            "Inside the loop, return only at the record that is done. The other one is after it.",
            lambda call: (
                call.case.expected[1]
                and len(call.case.given) > 1
                and call.returned == ("Yes", False)
            ),
        ),
    ],
}


def older_version(function: Callable) -> bool:
    """Whether the newest cell that defines this function stopped with an error.

    Then the name still means the version before. IPython keeps the text of each cell in `In`,
    also of cells with an error, and the source of each function that a cell has made. So the
    function is an older one where a later cell than its own has a `def` with its name. Where
    this cannot be known (no IPython, a cell with %%time), it is False.
    """
    main = sys.modules.get("__main__")
    cells = getattr(main, "In", None)
    code = getattr(function, "__code__", None)
    if not isinstance(cells, list) or code is None:
        return False
    name = code.co_name
    if getattr(main, name, None) is not function:
        return False  # not what the name means now, so given on purpose
    source = "".join(linecache.getlines(code.co_filename)).rstrip()
    defines = re.compile(rf"^(async )?def {re.escape(name)}\b", re.MULTILINE)
    places = [place for place, cell in enumerate(cells) if defines.search(cell)]
    own = [place for place, cell in enumerate(cells) if source and cell.rstrip() == source]
    return bool(places and own) and places[-1] > own[-1]


# What came back of a script ---------------------------------------------------------------------


def cause_of_script(run: Run, case: ScriptCase) -> Found | None:
    """The cause of a wrong run."""
    last = (run.errors.strip().splitlines() or [""])[-1]
    if not run.traceback and (own := case.cause(run)):
        return own
    if run.exit_code is None:
        return Found(
            "no end",
            "The script did not end. Does it wait for something that never comes?",
            "At the end of its input, a loop over sys.stdin ends by itself. Give post a timeout.",
        )
    if re.match(r"(SyntaxError|IndentationError|TabError)", last):
        return Found(
            "syntax",
            "Python cannot read your script. Which line does it name, and what is before it?",
            f"Python says: {last}. Compare brackets, quotes, colons and spaces with the chapter.",
        )
    if name := re.match(r"NameError: name '(\w+)'", last):
        owner = "answer" if name[1] in KEYS else ""
        return Found(
            "name",
            f"Python does not know the name {name[1]} here. Where do you make it or import it?",
            explain_name(name[1], owner=owner),
        )
    if meaning := explain(last):
        return Found("error of Python", *meaning)
    asks = bool(case.lines or case.arguments)
    if asks and not run.requests and (run.exit_code == 0 or "Connection" in run.errors):
        return Found(
            "another address",
            "No request came to the server of this run. Where does your script take its address "
            "from?",
            'The address is in os.environ["OLLAMA_HOST"]; the path is added to it.',
        )
    if run.exit_code and not (run.errors + run.printed).strip():
        return Found(
            "silent",
            f"The exit code is {run.exit_code}. What does a user see on the screen?",
            "Print one sentence before you end: print(..., file=sys.stderr).",
        )
    return None
