"""The guesses: what a chapter asks before a cell with a surprise, and what is right.

A guess has a name such as "02-how-many": the chapter's number, a dash, words. Its question stands
in the notebook as Markdown, with the same letters; the code cell below it is

    llamalab.check("02-how-many", "?")

and the student writes a letter, a number or a text in place of the question mark.
"""

from collections.abc import Callable
from typing import NamedTuple

from llamalab.client import Answer


class Guess(NamedTuple):
    """One question, and what is right.

    `choices` maps letters to texts; it is empty where any number or text may be guessed. `right`
    is a letter where there are choices, else the number or the text. `near` is how far off a
    number may be: 0.2 lets 80 and 120 pass for 100.

    `measure` takes what the student gives as the third argument of `check` and returns what is
    right there (a letter, a text of the choices, or a number): an answer of another server has
    other numbers. `right` may be None where only `measure` knows; `check` then asks for the data.

    `why` is one or two sentences. In it, {right} becomes what is right: here "14".

    >>> Guess("How many lines?", {}, 14, "There are {right} newlines.", measure=len).measure(["{}"])
    1
    """

    question: str
    choices: dict[str, str]
    right: object
    why: str
    measure: Callable[[object], object] | None = None
    near: float = 0

    def answer(self) -> str:
        """What is right, for those who may know it: an instructor.

        >>> GUESSES["01-json"].answer(), GUESSES["02-how-many"].answer()
        ('c, an error', 'usually 15')
        """
        if self.right is None:
            return "see the cells below"
        words = f"{self.right}, {self.choices[self.right]}" if self.choices else f"{self.right}"
        return f"usually {words}" if self.measure else words


def _longest(record: dict) -> str:
    """The letter of the longest part of an answer's time; a missing key means zero."""
    keys = {"a": "load_duration", "b": "prompt_eval_duration", "c": "eval_duration"}
    return max(keys, key=lambda letter: record.get(keys[letter], 0))


def _pieces(answer: Answer) -> str:
    """The letter for an answer of one record, of one for each word or less, or of more."""
    records = len(answer.records)
    return "a" if records == 1 else "b" if records <= len(answer.split()) else "c"


def _longer_prompt(records: tuple[dict, dict]) -> str:
    """Which of two requests gave the model more tokens to read: "a" or "b"."""
    first, second = (record.get("prompt_eval_count", 0) for record in records)
    return "a" if first > second else "b"


GUESSES: dict[str, Guess] = {
    "00-how-many": Guess(
        "How many records did the server send for your answer?",
        {
            "a": "one: the sentence",
            "b": "exactly one for each word",
            "c": "more records than words",
        },
        "c",
        "A record holds a fragment of the text. Often that is one word, but a long word may need "
        "several, and a comma or a full stop has its own.",
        measure=_pieces,
    ),
    "00-who": Guess(
        "You asked for mistral. Which model wrote your answer?",
        {"a": "mistral", "b": "another model", "c": "the record does not say"},
        "b",
        "The server decides which model answers, and each record names it under the key model.",
        measure=lambda record: (
            "c" if "model" not in record else "a" if record["model"].startswith("mistral") else "b"
        ),
    ),
    "01-json": Guess(
        "response.json() reads the body as JSON. What does it give you here?",
        {"a": "one dictionary", "b": "a list of dictionaries", "c": "an error"},
        "c",
        "The body is not one JSON object but many, one after another.",
    ),
    "02-how-many": Guess(
        "You split the text at each newline. How many pieces do you get?",
        {},
        15,
        "`split` cuts at each newline, and the text ends with one. So there is one piece more "
        "than newlines. The last piece is empty.",
        measure=lambda text: text.count("\n") + 1,
    ),
    "02-bytes": Guess(
        "café! has five characters. How many bytes are these in UTF-8?",
        {},
        6,
        "The letter é needs two bytes, each of the other four characters needs one.",
    ),
    "03-which-json": Guess(
        "How many of these five texts are JSON?",
        {},
        2,
        'Only {"done": true} and null. JSON writes true with a small letter and uses double '
        "quotes. A comma before the last bracket is not allowed.",
    ),
    "03-where-time": Guess(
        "Which of the three took longest for your answer?",
        {"a": "loading the model", "b": "reading the prompt", "c": "writing the answer"},
        "a",
        "The last record says so: load_duration, prompt_eval_duration and eval_duration.",
        measure=_longest,
    ),
    "04-one-record": Guess(
        "The loop gets one record with done: true. What does it print?",
        {"a": "the whole text", "b": "only an empty line", "c": "an error"},
        "b",
        "The loop prints the text of a record only if its done is False.",
    ),
    "05-how-many": Guess(
        "The server is off. How many lines does Python print?",
        {"a": "one", "b": "about ten", "c": "more than thirty"},
        "c",
        "requests calls other libraries, and the traceback shows every step of them all.",
        measure=lambda lines: "a" if len(lines) < 5 else "b" if len(lines) <= 30 else "c",
    ),
    "06-faster": Guess(
        "You read each line as soon as it arrives. What becomes faster?",
        {"a": "only the first line", "b": "only the last line", "c": "both"},
        "a",
        "The model writes as fast as before, so the last line arrives at about the same time. "
        "Only you do not wait any more: you get the first line as soon as it is written.",
    ),
    "07-my-cat": Guess(
        "You tell the model the name of your cat, and ask for it in a new request. Does it know?",
        {"a": "yes", "b": "no", "c": "only for some minutes"},
        "b",
        "The server keeps nothing of a request. A model only knows what is in the request itself.",
    ),
    "07-more-tokens": Guess(
        "Which of the two requests gave the model more tokens to read?",
        {"a": "the first one, with one message", "b": "the second one, with two messages"},
        None,
        "`prompt_eval_count` says it. The cell below shows both numbers, and the text says why.",
        measure=_longer_prompt,
    ),
    "08-second-run": Guess(
        "The same question again: which of the three parts takes as long as before?",
        {"a": "loading the model", "b": "reading the prompt", "c": "writing the answer"},
        "c",
        "The model is in memory now, and the server still knows the prompt. "
        "But each token of the answer has to be written again.",
    ),
    "08-same-tale": Guess(
        "You have five tales with temperature 0. How many different ones are there?",
        {},
        1,
        "With temperature 0 the model takes the most likely token each time. So a model nearly "
        "always repeats itself. Only a busy server sometimes calculates a little differently.",
        measure=lambda tales: len(set(tales)),
    ),
    "09-what-is-left": Guess(
        "Five records arrived before the connection broke. What do you have of the answer?",
        {"a": "five records", "b": "five records and a half", "c": "nothing"},
        "c",
        "`post` waits for the complete answer. If the connection breaks, it raises an error and "
        "gives you no response at all.",
    ),
    "09-complete": Guess(
        "Is this answer complete?",
        {"a": "yes", "b": "no", "c": "the text alone cannot tell"},
        "c",
        "The text looks complete. Only a record with `done: True` tells you that it is.",
    ),
}
