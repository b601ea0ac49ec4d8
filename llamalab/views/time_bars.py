"""Bars of time: load the model, read the prompt, write the answer, for several answers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from llamalab.client import Answer
from llamalab.errors import LlamalabError
from llamalab.views import base
from llamalab.views.timed_answer import PARTS, REST, TimedAnswer, number, parts_of, read
from llamalab.wire import tokens_per_second


def time_bars(answers: Iterable[Any] | Mapping[str, Any]) -> base.View:
    """Where the time went, for several answers: a bar each, and their tokens per second.

    `answers` is a list, or a dict whose keys name them; each is an Answer, a body (bytes), a list
    of records, or a recording. What a last record does not say is shown as a dash, and named.

    >>> time_bars(["mistral-are-you-listening"])
    answer                       load    read   write    rest     all  tokens  tokens/s
    -------------------------  ------  ------  ------  ------  ------  ------  --------
    mistral-are-you-listening  1.58 s  0.67 s  1.08 s  9.5 ms  3.34 s      13      12.0
    """
    return TimeBars(answers)


class TimeBars(base.View):
    """The view of `time_bars`."""

    def __init__(self, answers: Iterable[Any] | Mapping[str, Any]):
        if isinstance(answers, (str, bytes)) or not isinstance(answers, Iterable):
            what = "The bars compare several answers."
            raise LlamalabError(what, do="llamalab.time_bars([answer, another])")
        if isinstance(answers, Mapping):
            self.answers = {str(name): read(x) for name, x in answers.items()}
        else:
            named = [_named(i, x) for i, x in enumerate(answers, start=1)]
            names = [name for name, _ in named]  # of two files with one name, both are shown
            self.answers = {
                name if names.count(name) == 1 else f"{i} {name}": answer
                for i, (name, answer) in enumerate(named, start=1)
            }

    def text(self) -> str:
        if not self.answers:
            return "No answers to compare."
        heads = ["answer", *PARTS, REST, "all", "tokens", "tokens/s"]
        rows = [self._row(name, answer) for name, answer in self.answers.items()]
        return "\n".join([base.table(heads, rows, left=["answer"]), *self._missing()])

    def _row(self, name: str, answer: TimedAnswer) -> list[str]:
        last, total = answer.last, number(answer.last, "total_duration")
        count, speed = number(last, "eval_count"), tokens_per_second(last)
        return [
            name,
            *map(base.seconds, parts_of(last).values()),
            base.seconds(None if total is None else total / 1e9),
            "–" if count is None else f"{count:,}",
            "–" if speed is None else f"{speed:.1f}",
        ]

    def _missing(self) -> list[str]:
        """A sentence for each answer whose last record leaves something out."""
        said = []
        for name, answer in self.answers.items():
            keys = ("total_duration", *PARTS.values(), "eval_count")
            missing = [key for key in keys if number(answer.last, key) is None]
            if answer.broken:
                said.append(f"{name} is not complete: {answer.broken}")
            elif missing:
                said.append(f"{name} does not say (zero is left out): {', '.join(missing)}.")
        return ["", *said] if said else []

    def picture(self) -> bytes | None:
        if not self.answers:
            return None
        count = len(self.answers)
        ends = [sum(filter(None, parts_of(it.last).values())) for it in self.answers.values()]
        room = max(ends) * 1.28 or 1  # to the right of the bars stands the speed
        with base.drawing("where the time went", 7.2, 1.1 + 0.62 * count) as (axes, png):
            for row, (answer, end) in enumerate(zip(self.answers.values(), ends, strict=True)):
                at = 0.0
                for part, spent in parts_of(answer.last).items():
                    if spent:
                        base.draw_part(axes, part, spent, at, room, spent, row)
                        at += spent
                style = {"va": "center", "fontsize": 10.5, "color": base.TEXT}
                axes.text(end, row, f"  {_speed(answer)}", **style)
            axes.set_yticks(range(count), list(self.answers), parse_math=False)
            axes.set_ylim(count - 0.4, -0.5)
            axes.set_xlim(0, room)
        return png.getvalue()

    def build(self) -> Any:
        return base.card(self._png, self.text(), label=f"Where the time went.\n{self.text()}")


def _named(i: int, x: Any) -> tuple[str, TimedAnswer]:
    """An answer's name: its recording's, or its place and its model."""
    answer = read(x)
    if isinstance(x, (str, os.PathLike)) and not isinstance(x, Answer):
        name = os.path.basename(x).removesuffix(".ndjson")
        return name, answer
    model = answer.records[0].get("model", "") if answer.records else ""
    return f"{i} {model}".strip(), answer


def _speed(answer: TimedAnswer) -> str:
    speed = tokens_per_second(answer.last)
    return "speed not said" if speed is None else f"{speed:.1f} tokens/s"
