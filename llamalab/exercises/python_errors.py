"""What an error of Python probably means in this lesson: a question and a hint for it.

The same for a function and for a script: both are told by the error's last line, such as
"NameError: name 'model' is not defined".
"""

import json
import re
from collections.abc import Iterator

import requests

MODULES = ("json", "os", "re", "requests", "sys")
PYTHON = {"true": "True", "false": "False", "null": "None"}  # JSON's words
HOMES = {
    "argv": "sys.argv",
    "environ": "os.environ",
    "loads": "json.loads",
    "post": "requests.post",
    "stderr": "sys.stderr",
    "stdin": "sys.stdin",
}
# The keys of a record, and of the messages in a request.
KEYS = ("content", "done", "error", "message", "model", "prompt", "response", "role")

NOT_A_DICTIONARY = (
    "You read a key. Is the value before the brackets a dictionary?",
    "Only a dictionary has keys. A line is bytes or text: make a dictionary of it first, with "
    "json.loads.",
)
# The first pattern that is found counts; {0} is its first group.
MISTAKES: list[tuple[str, str, str]] = [
    (
        r"AttributeError: '(?:str|bytes)' object has no attribute 'read'",
        "Python wants to read a file here. Which function of json takes a text?",
        "`json.load` reads a file. You need `json.loads`, with an s.",
    ),
    (r"TypeError: (?:byte|string) indices must be integers", *NOT_A_DICTIONARY),
    (r"AttributeError: '(?:str|bytes)' object has no attribute 'get'", *NOT_A_DICTIONARY),
    (
        r"TypeError: the JSON object must be str, bytes or bytearray, not dict",
        "What do you give to json.loads: a line, or a dictionary?",
        "This is a dictionary already. Read its keys, without json.loads.",
    ),
    (
        r"TypeError: the JSON object must be str, bytes or bytearray, not Response",
        "What do you give to json.loads: one line, or the complete response?",
        "Go through the lines, and give each one to json.loads: response.iter_lines().",
    ),
    (
        rf"AttributeError: 'dict' object has no attribute '({'|'.join(KEYS)}|\w+_\w+)'",
        "How do you read a key of a dictionary: with a dot, or with square brackets?",
        'Write ["{0}"] in place of .{0}: a dictionary has keys.',
    ),
    (
        r"AttributeError: 'str' object has no attribute 'decode'",
        "Which of your values are bytes, and which ones are text already?",
        "Only bytes have `decode`. This value is text already: leave `decode` out.",
    ),
]


def explain(error: str) -> tuple[str, str] | None:
    """A question and a hint for the last line of an error; None where nothing is known of it.

    >>> explain("AttributeError: 'str' object has no attribute 'read'")[1]
    '`json.load` reads a file. You need `json.loads`, with an s.'
    """
    for pattern, question, hint in MISTAKES:
        if found := re.match(pattern, error):
            return question, hint.format(*found.groups())
    return None


def explain_name(name: str, quoted: bool = False, owner: str = "", dot: bool = False) -> str:
    """A hint for a name that Python does not know.

    `owner` has it as a key, or as an attribute where `dot` is true; `quoted` names are texts.

    >>> explain_name("model", owner="record")
    '`model` is a key, not a variable: record["model"].'
    """
    if owner and dot:
        return f"`{name}` is a part of `{owner}`: {owner}.{name}."
    if owner:
        return f'`{name}` is a key, not a variable: {owner}["{name}"].'
    if quoted:
        return f'`{name}` is a text, not a variable. Put it in quotes: "{name}".'
    if name in PYTHON:
        return f"JSON writes {name}, but Python writes {PYTHON[name]}."
    if name in HOMES:
        return f"Write it with its module: {HOMES[name]}."
    if name in MODULES:
        return f"`{name}` is a module. Run `import {name}` first."
    return f"Look for {name} in your code. Make it before this line, or correct its spelling."


def explain_name_in(name: str, given: object, expected: object, parameter: str) -> str:
    """The hint for a name in a function that gets `given` as its `parameter`."""
    if isinstance(given, requests.Response) and hasattr(given, name):
        return explain_name(name, owner=parameter, dot=True)
    if name in keys_of(given):
        return explain_name(name, owner=parameter if isinstance(given, dict) else "answer")
    return explain_name(name, quoted=name in {*keys_of(expected), *texts_in(expected)})


def keys_of(value: object) -> set[str]:
    """The keys of all dictionaries in a value; a line of JSON is read, too."""
    if isinstance(value, dict):
        return {*value}.union(*map(keys_of, value.values()))
    if isinstance(value, (list, tuple)):
        return set().union(*map(keys_of, value))
    if isinstance(value, (str, bytes)):
        try:
            inside = json.loads(value)
        except ValueError:
            return set()
        return keys_of(inside) if isinstance(inside, (dict, list)) else set()
    return set()


def texts_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts_in(item)
    elif isinstance(value, dict):
        yield from texts_in(list(value.values()))
