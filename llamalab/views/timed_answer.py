"""What a view is given, made into one thing: records, the text in each, when each came.

A view also shows answers that broke: nothing here raises because of what a server has sent.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from llamalab.errors import BadAnswer, LlamalabError
from llamalab.standin.answers.recordings import FOLDER, pauses
from llamalab.wire import fragment_of, lines_of, load_record

# The parts of an answer's time, in their order, and the metric (ns) that measures each.
PARTS = {
    "load": "load_duration",
    "read": "prompt_eval_duration",
    "write": "eval_duration",
}
REST = "rest"  # what `total_duration` has left: waiting in the queue, and what is not measured


@dataclass(frozen=True)
class TimedAnswer:
    """An answer as the views read it; one item of `fragments` and of `came` for each record."""

    records: list[dict]
    fragments: list[str]  # the text it carries, "" where it carries none
    came: list[float] | None  # seconds after the question; None where the records do not say
    broken: str  # why the answer is not complete; "" if it is

    @property
    def last(self) -> dict:
        """The record that ends the answer and measures it; {} where none came."""
        last = self.records[-1] if self.records else {}
        return last if last.get("done") is True else {}

    @property
    def text(self) -> str:
        return "".join(self.fragments)

    @property
    def timed_from_question(self) -> bool:
        """Whether `came` counts from the question; without a total, from the first record."""
        return number(self.last, "total_duration") is not None

    @property
    def first(self) -> int:
        """The place of the first record that carries text; 0 if none does."""
        return next((i for i, fragment in enumerate(self.fragments) if fragment), 0)


def read(x: Any) -> TimedAnswer:
    """Read an Answer, a body (bytes), a list of records, or a recording (path or short name).

    Raises `LlamalabError` where `x` is none of these, or there is no such recording.

    >>> answer = read("mistral-are-you-listening")
    >>> answer.text, len(answer.records), round(answer.came[0], 2)
    ('Yes, I am listening. How may I assist you today?', 14, 2.25)
    """
    broken = ""
    if hasattr(x, "records"):
        records = list(x.records)
    elif isinstance(x, (bytes, bytearray)):
        records, broken = _records_of(bytes(x))
    elif isinstance(x, (str, os.PathLike)):
        records, broken = _records_of(_file(x).read_bytes())
    else:
        records = _list(x)
    fragments, trouble = _fragments(records)
    return TimedAnswer(records, fragments, _came(records), broken or trouble)


def number(record: dict, key: str) -> int | None:
    """A metric of a record; None where it is missing: Ollama leaves out what is zero."""
    value = record.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def parts_of(last: dict) -> dict[str, float | None]:
    """Where the time of an answer went, in seconds; None where its last record does not say.

    >>> parts_of({"total_duration": 3_000_000_000, "load_duration": 1_000_000_000})
    {'load': 1.0, 'read': None, 'write': None, 'rest': 2.0}
    """
    found = {part: number(last, key) for part, key in PARTS.items()}
    total = number(last, "total_duration")
    known = sum(ns for ns in found.values() if ns)
    found[REST] = None if total is None else max(0, total - known)
    return {part: None if ns is None else ns / 1e9 for part, ns in found.items()}


def _records_of(content: bytes) -> tuple[list[dict], str]:
    """The records of a body, as far as they are complete; and what is wrong with the next one."""
    records = []
    try:
        for record in map(load_record, lines_of([content])):
            if records or not record.keys() >= {"path", "json"}:  # a recording's first line
                records.append(record)
    except BadAnswer as error:
        return records, error.what
    return records, ""


def _file(x: str | os.PathLike) -> Path:
    path = Path(x)
    for file in (path, FOLDER / f"{path}.ndjson", FOLDER / path):
        if file.is_file():
            return file
    names = ", ".join(file.stem for file in sorted(FOLDER.glob("*.ndjson")))
    what = f"There is no recording {str(x)!r}."
    raise LlamalabError(what, why=f"the recordings here are {names}", do="use one of these names")


def _list(x: Any) -> list[dict]:
    records = list(x) if isinstance(x, Iterable) and not isinstance(x, dict) else None
    if records is None or not all(isinstance(record, dict) for record in records):
        what = f"A view cannot show a {type(x).__name__}."
        raise LlamalabError(
            what, do="give it an answer, response.content, a list of records, or a recording's name"
        )
    return records


def _fragments(records: list[dict]) -> tuple[list[str], str]:
    """The text in each record, and why the answer is not complete."""
    fragments, broken = [], ""
    for record in records:
        try:
            fragments.append(fragment_of(record))
        except LlamalabError as error:
            fragments.append("")
            broken = broken or (f"{error.what} It said: {error.why}" if error.why else error.what)
    if not broken and not (records and records[-1].get("done") is True):
        broken = "The answer was cut off: no last record (done: true) came."
    return fragments, broken


def _came(records: list[dict]) -> list[float] | None:
    if not any("created_at" in record for record in records):
        return None
    try:
        return list(accumulate(pauses(records)))
    except (TypeError, ValueError):  # a created_at or a total_duration that is none
        return None
