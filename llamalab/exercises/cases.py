"""The cases of each exercise: what is given, what should come back, and a hint if it does not.

The expected values stand here as literals, so that the answer to an exercise can be read without
running the code that the student is about to write.
"""

from collections.abc import Iterator
from typing import NamedTuple

import requests

from llamalab.client import MODEL


class Raises(str):
    """Expected: an error whose message holds this text, instead of a value."""

    def __repr__(self) -> str:
        return f"an error that says {str(self)!r}" if self else "an error"


class Ended(NamedTuple):
    """Expected of a script: what it prints, and its exit code."""

    printed: str
    exit_code: int


class Case(NamedTuple):
    """One call of the student's function, what should come back, what to say if it does not."""

    given: object
    expected: object
    hint: str


def _response(status: int, headers: dict[str, str]) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers)
    return response


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


class Cut:
    """Lines of an answer, as `iter_lines` gives them; behind the last one the connection breaks."""

    def __init__(self, lines: list[bytes]):
        self.lines = lines

    def __iter__(self) -> Iterator[bytes]:
        yield from self.lines
        raise requests.exceptions.ChunkedEncodingError("Response ended prematurely")

    def __repr__(self) -> str:
        return f"{self.lines!r}, and then the connection breaks"


# Lines of an answer, which several cases put together.
YES = b'{"response":"Yes","done":false}'
EMPTY = b'{"response":"","done":false}'
END = b'{"response":"","done":true}'
I_AM_END = b'{"response":" I am.","done":true}'
ERROR = b'{"error":"out of memory"}'

# Ordinary cases first; each meets one new slip, so that its hint is the right one.
EXERCISES: dict[str, list[Case]] = {
    "who_answered": [
        Case({"model": "mistral", "done": False}, "mistral", 'it is record["model"]'),
        Case({"model": "tiny"}, "tiny", "the server decides who answers: read it from the record"),
    ],
    "status_and_type": [
        Case(
            _response(200, {"Content-Type": "application/x-ndjson"}),
            (200, "application/x-ndjson"),
            'a pair: (response.status_code, response.headers["Content-Type"])',
        ),
        Case(
            _response(404, {"content-type": "application/json; charset=utf-8"}),
            (404, "application/json; charset=utf-8"),
            "take both from the response; another answer has others",
        ),
        Case(
            _response(403, {}),
            (403, None),
            'a refusal may have no Content-Type: response.headers.get("Content-Type") gives None',
        ),
    ],
    "split_lines": [
        Case(b'{"done":true}', ['{"done":true}'], 'a list of text, not bytes: .decode("utf-8")'),
        Case(
            b'"Yes"\n" I"\n', ['"Yes"', '" I"'], "cut at newlines only; the last one begins no line"
        ),
        Case(b"", [], "no bytes, no lines: an empty list"),
        Case('"é 🙂"\n'.encode(), ['"é 🙂"'], 'é is two bytes, 🙂 four: decode "utf-8"'),
        Case(b'{"a":1}\n\n{"b":2}\n\n', ['{"a":1}', '{"b":2}'], "leave out the blank lines"),
        Case(
            '"one\x85two\u2028three"\n'.encode(),
            ['"one\x85two\u2028three"'],
            "U+0085 and U+2028 are newlines for text, not for bytes; cut the bytes: "
            r'content.split(b"\n"), decode then',
        ),
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
            [r'{"response":"one\ntwo \u003c \u2028 é"}'],
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
            {"eval_count": 8, "eval_duration": 4_000_000_000}, 2.0, "1e9 nanoseconds are a second"
        ),
        Case(
            {"total_duration": 3_343_392_853, "eval_count": 13, "eval_duration": 1_083_890_000},
            11.993837751801382,
            "divide eval_count by eval_duration; the other durations are for other work",
        ),
        Case({"eval_count": 13}, None, "no eval_duration, no speed: return None"),
        Case({"eval_duration": 4}, None, "zero is left out; no eval_count, no speed: return None"),
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
    "time_to_first_token": [
        Case(
            [(0.5, YES), (0.9, END)],
            0.5,
            "the seconds of the first pair whose record has text; return them at once",
        ),
        Case(
            [(0.2, EMPTY), (0.6, YES)], 0.6, "an empty fragment is no text: go on to the next pair"
        ),
        Case([], None, "no lines, no first token: return None behind the loop"),
        Case([(0.1, EMPTY), (0.3, END)], None, "no line carries text: return None behind the loop"),
        Case(
            [(3.3, b'{"response":"Yes, I am.","done":true}')],
            3.3,
            "the record with done: true may carry text too",
        ),
        Case(
            [(0.4, b""), (0.7, YES)],
            0.7,
            "a blank line is no record: leave it out before json.loads",
        ),
        Case(
            [(0.1, b'{"error":"server busy, please try again"}')],
            None,
            'a record may have no fragment: .get("response")',
        ),
        Case(
            [(0.3, b'{"response":"","thinking":"Hm","done":false}'), (2.4, YES)],
            2.4,
            "what the model thinks is not its answer: look under the key response only",
        ),
    ],
    "conversation": [
        Case(
            ["Be brief.", "What is a byte?"],
            [_message("system", "Be brief."), _message("user", "What is a byte?")],
            'the first text is {"role": "system", "content": texts[0]}, the second the user\'s',
        ),
        Case(
            ["Be brief.", "What is a byte?", "Eight bits.", "And a bit?"],
            [
                _message("system", "Be brief."),
                _message("user", "What is a byte?"),
                _message("assistant", "Eight bits."),
                _message("user", "And a bit?"),
            ],
            "behind the system prompt they take turns: user, assistant, user, ...",
        ),
        Case(
            ["", *"abcde"],
            [_message("system", "")]
            + [_message("user" if text in "ace" else "assistant", text) for text in "abcde"],
            "it may be as long as you like, and an empty text takes its turn, too",
        ),
        Case(
            ["Yes.", "Yes.", "Yes."],
            [_message("system", "Yes."), _message("user", "Yes."), _message("assistant", "Yes.")],
            "the same text may come again: its place says who speaks, not its words",
        ),
        Case([], [], "no texts, no messages: an empty list"),
    ],
    "survive": [
        Case([YES, END], ("Yes", True), "a pair: the text, and True if a record was done"),
        Case([YES, I_AM_END], ("Yes I am.", True), "the record with done: true may carry text too"),
        Case(
            [YES],
            ("Yes", False),
            "no record was done: the text is not whole, however well it reads",
        ),
        Case([], ("", False), "no lines: no text, and it is not whole"),
        Case(
            [YES, ERROR],
            ("Yes", False),
            "a record with the key error has no text: keep what came before, and say False",
        ),
        Case(
            Cut([YES, b'{"response":",","done":false}']),
            ("Yes,", False),
            "the connection breaks in the loop: except requests.RequestException, around it",
        ),
        Case(
            [YES, b"504 Gateway", b'{"response":"?","done":true}'],
            ("Yes", False),
            "a line that is no JSON raises ValueError; what comes behind it is not to be trusted",
        ),
        Case([b'["Yes"]'], ("", False), "a line may be JSON and no dictionary: TypeError"),
        Case([b'{"status":"Yes"}'], ("", False), "a record may lack a key: KeyError"),
    ],
    "seconds_for_500": [
        Case(
            {
                "total_duration": 8_000_000_000,
                "load_duration": 4_000_000_000,
                "prompt_eval_duration": 2_000_000_000,
                "eval_count": 10,
                "eval_duration": 2_000_000_000,
            },
            106.0,
            "load once, read the prompt once, write 500 times one token; 1e9 ns are a second",
        ),
        Case(
            {
                "total_duration": 3_343_392_853,
                "load_duration": 1_583_037_589,
                "prompt_eval_count": 14,
                "prompt_eval_duration": 667_000_000,
                "eval_count": 13,
                "eval_duration": 1_083_890_000,
            },
            43.938114512076925,
            "add up the three parts (the total holds a little more), and do not round the sum",
        ),
        Case(
            {"prompt_eval_duration": 500_000_000, "eval_count": 10, "eval_duration": 100_000_000},
            5.5,
            'in memory already, so zero, so left out: .get("load_duration", 0)',
        ),
        Case(
            {"load_duration": 1_000_000_000, "eval_count": 100, "eval_duration": 1_000_000_000},
            6.0,
            "the prompt may cost nothing, too: get it as you get load_duration",
        ),
        Case(
            {"load_duration": 1_000_000_000},
            None,
            "no token was written, so nobody knows how long one takes: return None",
        ),
        Case(
            {"load_duration": 1_000_000_000, "eval_count": 13},
            None,
            "without eval_duration nobody knows how long a token takes: return None",
        ),
    ],
    # A script as a function: its arguments go in, its end comes out. `script_judge` answers it.
    "generate_script": [
        Case(["Who?"], Ended(f"I am {MODEL}.", 0), f"without --model the model is {MODEL!r}"),
        Case(["--model", "tiny", "Who?"], Ended("I am tiny.", 0), "post the name after --model"),
        Case([], Ended("", 2), "no prompt: the usage on sys.stderr, exit code 2"),
        Case(["--model"], Ended("", 2), "--model without a name: the usage on sys.stderr, code 2"),
        Case(["--model", "tiny"], Ended("", 2), "--model, but no prompt: the usage again, code 2"),
        Case(["--model", "nosuch", "Who?"], Ended("", 3), "the status is 404: exit code 3"),
        Case(["Stop here"], Ended("I am", 1), 'a record {"error": ...} came: exit code 1'),
        Case(["Hang up"], Ended("", 1), "no answer: one sentence on sys.stderr, exit code 1"),
    ],
}
