"""The guesses: what a chapter asks before a cell with a surprise, and what is right.

A guess has a name such as "02-how-many": the chapter's number, a dash, words. Its question stands
in the notebook as Markdown, with the same letters; the code cell below it is

    llamalab.check("02-how-many", "?")

and the student writes a letter, a number or a text in place of the question mark.
"""

from collections.abc import Callable
from typing import NamedTuple


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


GUESSES: dict[str, Guess] = {
    "02-how-many": Guess(
        "You split the text of the answer at each newline. How many pieces do you get?",
        {},
        15,
        "`split` cuts at each newline, and the text ends with one. So there is one piece more "
        "than newlines. The last piece is empty.",
        measure=lambda text: text.count("\n") + 1,
    ),
    "07-my-name": Guess(
        "You tell the model your name. Then you ask for it in a new request. Does the model know?",
        {"a": "yes", "b": "no", "c": "only for some minutes"},
        "b",
        "The server keeps nothing of a request. A model only knows what is in the request itself.",
    ),
}
