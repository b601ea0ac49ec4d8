"""The cases of each exercise with a function: what is given, what should come back, what to ask.

The expected values are literals, so that the answer to an exercise can be read without running
the code that the student is about to write. `script_cases` has the same for scripts.
"""

from collections.abc import Iterator
from typing import NamedTuple

import requests


class Raises(str):
    """Expected: an error whose message holds this text, instead of a value."""

    def __repr__(self) -> str:
        return f"an error that says {str(self)!r}" if self else "an error"


class Case(NamedTuple):
    """One call of the student's function, and what should come back.

    Where something else comes back a second time, `check` asks the question; it points, and does
    not tell. `llamalab.hint` then gives the hint.
    """

    given: object
    expected: object
    question: str
    hint: str


def _response(status: int, headers: dict[str, str]) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers)
    return response


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


class Cut:
    """Lines of an answer, as `iter_lines` gives them; after the last one the connection breaks."""

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

# Ordinary cases first; each meets one new mistake, so that its question is the right one.
EXERCISES: dict[str, list[Case]] = {
    "who_answered": [
        Case(
            {"model": "mistral", "done": False},
            "mistral",
            "Which key of the record has the name of the model?",
            'Square brackets read a key: record["model"].',
        ),
        Case(
            {"model": "tiny"},
            "tiny",
            "Where does the name come from: from the record, or from your code?",
            "The server decides who answers. Read the name from the record.",
        ),
    ],
    "status_and_type": [
        Case(
            _response(200, {"Content-Type": "application/x-ndjson"}),
            (200, "application/x-ndjson"),
            "A pair has two values in round brackets. Which are they, and which one comes first?",
            'Return both with a comma: response.status_code, response.headers["Content-Type"].',
        ),
        Case(
            _response(404, {"content-type": "application/json; charset=utf-8"}),
            (404, "application/json; charset=utf-8"),
            "This response has another status and type. Does your function read both from it?",
            "Take both values from `response`: its status_code and its headers.",
        ),
        Case(
            _response(403, {}),
            (403, None),
            "This response has no Content-Type. What do square brackets do with a missing key?",
            'response.headers.get("Content-Type") gives None where the header is missing.',
        ),
    ],
    "split_lines": [
        Case(
            b'{"done":true}',
            ['{"done":true}'],
            "Do you return a list? Is each item in it text?",
            'The lines are text in a list. .decode("utf-8") turns bytes into text.',
        ),
        Case(
            b'"Yes"\n" I"\n',
            ['"Yes"', '" I"'],
            "Where do you cut: only at newlines? And what comes after the last newline?",
            "Cut at newlines only. The last newline ends a line; it does not start a new one.",
        ),
        Case(
            b"",
            [],
            "No bytes were given. How many lines are there?",
            "No bytes, no lines: return an empty list.",
        ),
        Case(
            '"é 🙂"\n'.encode(),
            ['"é 🙂"'],
            "How many bytes does é have? Which encoding do you use to decode?",
            'é is two bytes and 🙂 is four. Decode with "utf-8".',
        ),
        Case(
            b'{"a":1}\n\n{"b":2}\n\n',
            ['{"a":1}', '{"b":2}'],
            "Two newlines come one after the other. What is between them?",
            "A blank line is empty, and `if line` is false for it. Leave such lines out.",
        ),
        Case(
            '"one\x85two\u2028three"\n'.encode(),
            ['"one\x85two\u2028three"'],
            "There is one newline here, so one line. Do you cut the text or the bytes?",
            "Text has more newlines than bytes: U+0085 and U+2028, too. Cut the bytes first: "
            r'content.split(b"\n"). Then decode each line.',
        ),
    ],
    "load_answers": [
        Case(
            ['{"done":false}'],
            [{"done": False}],
            "You need a list of dictionaries. What does json.loads make of one line?",
            "json.loads(line) turns one line into one dictionary. Collect them in a list.",
        ),
        Case(
            ['{"response":"Yes","done":false}', '{"response":"","done":true}'],
            [{"response": "Yes", "done": False}, {"response": "", "done": True}],
            "Two lines were given. How many dictionaries did you return, and in which order?",
            "Make one dictionary for each line, in order, the last one too.",
        ),
        Case(
            [],
            [],
            "No lines were given. How many dictionaries are there?",
            "No lines, no dictionaries: return an empty list.",
        ),
        Case(
            [r'{"response":"one\ntwo \u003c \u2028 é"}'],
            [{"response": "one\ntwo < \u2028 é"}],
            "Does json.loads read the JSON, or does your code read or change it?",
            "json.loads knows all the escapes of JSON. Give it the line as it is.",
        ),
        Case(
            ['{"done":false}', '{"response":"Yes","do'],
            Raises(""),
            "The last line is cut off. How does the caller of your function notice it?",
            "Let the error of json.loads out. You do not need `try` here.",
        ),
    ],
    "tokens_per_second": [
        Case(
            {"eval_count": 8, "eval_duration": 4_000_000_000},
            2.0,
            "Which of the two numbers do you divide by the other one? In which unit is the time?",
            "Speed is tokens divided by seconds, and 1e9 nanoseconds are one second.",
        ),
        Case(
            {"total_duration": 3_343_392_853, "eval_count": 13, "eval_duration": 1_083_890_000},
            11.993837751801382,
            "This record has more durations. Which one is the time for writing the tokens?",
            "Divide eval_count by eval_duration. The other durations are for other work.",
        ),
        Case(
            {"eval_count": 13},
            None,
            "This record has no eval_duration. What do you return when you cannot know the speed?",
            'Ask first: `if "eval_duration" not in answer`, return None.',
        ),
        Case(
            {"eval_duration": 4},
            None,
            "This record has no eval_count. What do you return when you cannot know the speed?",
            "A server leaves out what is zero. Ask for eval_count, too, before you divide.",
        ),
    ],
    "join_fragments": [
        Case(
            [{"response": "Yes", "done": False}, {"response": ",", "done": False}],
            "Yes,",
            "What is between the two fragments in your text? What should be there?",
            'Join the fragments with nothing in between: "".join(...).',
        ),
        Case(
            [{"response": " I\n", "done": False}, {"response": " é\n", "done": False}],
            " I\n é\n",
            "Which spaces or newlines of the fragments are missing in your text?",
            "Keep the spaces and newlines: they are part of the fragments. No strip() here.",
        ),
        Case(
            [],
            "",
            "No records were given. What is the text of nothing?",
            "No records, no text: return an empty string.",
        ),
        Case(
            [{"response": "Yes", "done": False}, {"response": " I am.", "done": True}],
            "Yes I am.",
            "Look at the last record. It is done; does it have text?",
            "The record with done: true may have text, too. Join all fragments.",
        ),
        Case(
            [{"response": "Yes", "done": False}, {"error": "out of memory"}],
            Raises("out of memory"),
            "The last record has no fragment. Which key does it have?",
            'A record with the key error has no text: raise ValueError(answer["error"]).',
        ),
    ],
    "time_to_first_token": [
        Case(
            [(0.5, YES), (0.9, END)],
            0.5,
            "Which pair is the first one with text? What is its time?",
            "Return the seconds of the first pair whose record has text, as soon as you see it.",
        ),
        Case(
            [(0.2, EMPTY), (0.6, YES)],
            0.6,
            "The fragment of the first record is empty. Is this already text?",
            "An empty fragment is not text. Go on to the next pair.",
        ),
        Case(
            [],
            None,
            "No pairs were given. What does your function return after the loop?",
            "No lines, no first token: return None after the loop.",
        ),
        Case(
            [(0.1, EMPTY), (0.3, END)],
            None,
            "No record has text here. What does your function return after the loop?",
            "Return None after the loop: you get there only if no record had text.",
        ),
        Case(
            [(3.3, b'{"response":"Yes, I am.","done":true}')],
            3.3,
            "Look at the only record. It is done; does it have text?",
            "The record with done: true may have text, too. Look at the text only.",
        ),
        Case(
            [(0.4, b""), (0.7, YES)],
            0.7,
            "The first line is empty. What does json.loads do with an empty line?",
            "A blank line is not JSON. Leave it out before json.loads: `if json_line`.",
        ),
        Case(
            [(0.1, b'{"error":"server busy, please try again"}')],
            None,
            "This record has no fragment. How do you read a key that may be missing?",
            'record.get("response") gives None where the key is missing.',
        ),
        Case(
            [(0.3, b'{"response":"","thinking":"Hm","done":false}'), (2.4, YES)],
            2.4,
            "The first record has text, but not of the answer. Which key has the answer's text?",
            'What the model thinks is not its answer. Look at the key "response" only.',
        ),
    ],
    "conversation": [
        Case(
            ["Be brief.", "What is a byte?"],
            [_message("system", "Be brief."), _message("user", "What is a byte?")],
            "Who says the first text, and who says the second one? Which keys does a message have?",
            'The first message is {"role": "system", "content": texts[0]}. The user says the next.',
        ),
        Case(
            ["Be brief.", "What is a byte?", "Eight bits.", "And a bit?"],
            [
                _message("system", "Be brief."),
                _message("user", "What is a byte?"),
                _message("assistant", "Eight bits."),
                _message("user", "And a bit?"),
            ],
            "Who says the third text, and who says the fourth one?",
            "After the system prompt they take turns: user, assistant, user, ...",
        ),
        Case(
            ["", *"abcde"],
            [_message("system", "")]
            + [_message("user" if text in "ace" else "assistant", text) for text in "abcde"],
            "How many texts were given, and how many messages did you return?",
            "Make one message for each text, however many there are. An empty text counts, too.",
        ),
        Case(
            ["Yes.", "Yes.", "Yes."],
            [_message("system", "Yes."), _message("user", "Yes."), _message("assistant", "Yes.")],
            "The same text comes three times. Do you look at its place or at its words?",
            "The place of a text says who speaks: use enumerate, not texts.index(text).",
        ),
        Case(
            [],
            [],
            "No texts were given. How many messages are there?",
            "No texts, no messages: return an empty list.",
        ),
    ],
    "survive": [
        Case(
            [YES, END],
            ("Yes", True),
            "A pair has two values. Which are they here? Which record says that all is complete?",
            "Return the text, and True if a record was done: `return text, True`.",
        ),
        Case(
            [YES, I_AM_END],
            ("Yes I am.", True),
            "Look at the last record. It is done; does it have text?",
            "The record with done: true may have text, too. Add its text before you return.",
        ),
        Case(
            [YES],
            ("Yes", False),
            "Was there a record with done: true?",
            "No record was done, so the answer is not complete: the second value is False.",
        ),
        Case(
            [],
            ("", False),
            "No lines were given. What is the text, and is it complete?",
            "Start with an empty text. After the loop: `return text, False`.",
        ),
        Case(
            [YES, ERROR],
            ("Yes", False),
            "The second record is an error. Which key does it not have?",
            "A missing key raises KeyError. Catch it, keep the text so far, and say False.",
        ),
        Case(
            Cut([YES, b'{"response":",","done":false}']),
            ("Yes,", False),
            "The connection breaks while the loop asks for the next line. Where is your `try`?",
            "Put `try` around the loop, with `except requests.RequestException`.",
        ),
        Case(
            [YES, b"504 Gateway", b'{"response":"?","done":true}'],
            ("Yes", False),
            "The second line is not JSON. Which error does json.loads raise? What do you do then?",
            "json.loads raises ValueError. Catch it and stop: do not trust what comes after it.",
        ),
        Case(
            [b'["Yes"]'],
            ("", False),
            "This line is JSON, but not a dictionary. Which error do you get from it?",
            'A list has no key "response": TypeError. Catch it, too.',
        ),
        Case(
            [b'{"status":"Yes"}'],
            ("", False),
            "This record is a dictionary. Which key does it not have?",
            "A missing key raises KeyError, with an error record or without. Catch it.",
        ),
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
            "Which of the three parts happen once, and which one happens for each token?",
            "Load once, read the prompt once, and write one token 500 times. 1e9 ns are 1 s.",
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
            "Which parts do you add up? Are they all of the total?",
            "Add up the three parts. The total has a little more in it, so do not use it.",
        ),
        Case(
            {"prompt_eval_duration": 500_000_000, "eval_count": 10, "eval_duration": 100_000_000},
            5.5,
            "The model was in memory already. How do you read a load_duration that is missing?",
            'What is zero is left out: last.get("load_duration", 0).',
        ),
        Case(
            {"load_duration": 1_000_000_000, "eval_count": 100, "eval_duration": 1_000_000_000},
            6.0,
            "There is no time for the prompt here. How do you read a key that may be missing?",
            'Read it as you read load_duration: last.get("prompt_eval_duration", 0).',
        ),
        Case(
            {"load_duration": 1_000_000_000},
            None,
            "No token was written here. Can you know how long one takes?",
            "Without eval_count you cannot know how long a token takes: return None.",
        ),
        Case(
            {"load_duration": 1_000_000_000, "eval_count": 13},
            None,
            "There is no eval_duration here. Can you know how long a token takes?",
            "Without eval_duration you cannot know how long a token takes: return None.",
        ),
    ],
}
