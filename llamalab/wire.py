"""The lesson in four pure functions: bytes -> lines -> records -> text.

A student writes each of them by hand before meeting it here. They do what the student's code
does, and stay right where the first idea goes wrong: U+0085 inside a text, a blank line, an
error in the middle of an answer.

    response.content --split_lines--> lines --load_answers--> records --join_fragments--> text

Sources: the NDJSON specification (https://github.com/ndjson/ndjson-spec), RFC 8259 (JSON),
Ollama's API reference (https://docs.ollama.com/api).
"""

import json
from collections.abc import Iterable, Iterator
from itertools import chain

from llamalab.errors import BadAnswer, BrokenStream, LlamalabError, shorten


def split_lines(content: bytes) -> list[str]:
    r"""Cut the body of an answer into its lines, without their newlines.

    Cuts the *bytes*, where a newline is `\n` or `\r\n` and nothing else: once decoded,
    `str.splitlines()` would also cut at U+0085 or U+2028, ordinary characters in a JSON string.
    Blank lines are dropped, and the last newline may be missing. Raises `BadAnswer` where
    the bytes are not UTF-8 (RFC 8259, section 8.1, asks for it).

    >>> split_lines(b'{"response":"Yes"}\n{"response":","}\n')
    ['{"response":"Yes"}', '{"response":","}']
    """
    return list(lines_of([content]))


def load_answers(lines: Iterable[str]) -> list[dict]:
    """Turn each line into a record (a dict).

    Raises `BadAnswer`, which shows the line, where one is not a JSON object.

    >>> load_answers(['{"response":"Yes","done":false}'])
    [{'response': 'Yes', 'done': False}]
    """
    return [load_record(line) for line in lines]


def join_fragments(answers: Iterable[dict]) -> str:
    """Join the fragments of an answer into its text, the last record's included.

    Takes the records of `/api/generate` and of `/api/chat`. Raises `BrokenStream` at an
    `{"error": ...}` record, with the text that came before it in `.partial`.

    >>> join_fragments([{"response": "Yes", "done": False}, {"response": "", "done": True}])
    'Yes'
    """
    return "".join(fragments_of(answers))


def tokens_per_second(answer: dict) -> float | None:
    """How fast the tokens came, from the last record: `eval_count` over `eval_duration` (ns).

    None where the record does not say: Ollama leaves out metrics that are zero.

    >>> round(tokens_per_second({"eval_count": 13, "eval_duration": 1_083_890_000}), 2)
    11.99
    >>> tokens_per_second({"response": "Yes", "done": False}) is None
    True
    """
    count, nanoseconds = answer.get("eval_count"), answer.get("eval_duration")
    if not count or not nanoseconds:
        return None
    return count / nanoseconds * 1e9


def lines_of(chunks: Iterable[bytes]) -> Iterator[str]:
    """`split_lines` for a body that is still arriving: each line as soon as its newline is there.

    >>> list(lines_of([b'{"a":', b'1}\\n{"b":2', b"}"]))
    ['{"a":1}', '{"b":2}']
    """
    rest = bytearray()
    try:
        for chunk in chain(chunks, [b"\n"]):  # the end of the body ends its last line
            rest += chunk
            if b"\n" in chunk:
                *whole, rest = rest.split(b"\n")
                for line in whole:
                    if line.strip():
                        yield line.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadAnswer("The answer is not UTF-8 text.", why=str(error), do="ask again") from None


def fragments_of(answers: Iterable[dict]) -> Iterator[str]:
    """`join_fragments`, one at a time; what goes wrong on the way knows the text before it."""
    text = ""
    try:
        for answer in answers:
            fragment = fragment_of(answer)
            text += fragment
            yield fragment
    except LlamalabError as error:
        error.partial = text
        raise


def load_record(line: str) -> dict:
    """One line, one record: the step `load_answers` repeats, for callers that read line by line.

    >>> load_record('{"response":"Yes","done":false}')["response"]
    'Yes'
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        if line.lstrip().startswith("<"):
            why, do = "it is a web page: a proxy or a Wi-Fi login answered instead", "log in there"
        else:
            why, do = str(error), "ask again"
        raise BadAnswer(f"A line is not JSON: {shorten(line)}", why=why, do=do) from None
    if not isinstance(record, dict):
        raise BadAnswer(f"A line is JSON, but no record: {shorten(line)}", do="ask again")
    return record


def fragment_of(answer: dict) -> str:
    """The text one record carries: its `response`, or in a chat its `message`'s `content`.

    A message may lack `content`: a model that calls a tool, or still thinks, says no text.

    >>> fragment_of({"message": {"role": "assistant", "content": "Hello"}, "done": False})
    'Hello'
    """
    if "error" in answer:
        what = "The server gave up before the answer's end."
        raise BrokenStream(what, why=str(answer["error"]), do="ask again")
    try:
        fragment = answer["response"] if "response" in answer else _content(answer["message"])
    except (KeyError, AttributeError):
        fragment = None
    if not isinstance(fragment, str):
        raise BadAnswer(f"A record carries no text: {shorten(str(answer))}", do="ask again")
    return fragment


def _content(message: dict) -> str:
    content = message.get("content")
    return "" if content is None else content
