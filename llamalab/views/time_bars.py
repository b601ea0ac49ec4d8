"""Bars of time: loading, reading the prompt, generating, for several answers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from llamalab.client import Answer
from llamalab.errors import LlamalabError
from llamalab.views import look
from llamalab.views.reading import PARTS, REST, Reading, number, parts_of, read
from llamalab.wire import tokens_per_second


def time_bars(answers: Iterable[Any] | Mapping[str, Any]) -> look.View:
    """Where the time went, for several answers: a bar each, and their tokens per second.

    `answers` is a list, or a dict whose keys name them; each is an Answer, a body (bytes), a list
    of records, or a recording. What a last record does not say is shown as a dash, and named.

    >>> time_bars(["mistral-are-you-listening"])
    answer                       load  prompt  generation    rest     all  tokens  tokens/s
    -------------------------  ------  ------  ----------  ------  ------  ------  --------
    mistral-are-you-listening  1.58 s  0.67 s      1.08 s  9.5 ms  3.34 s      13      12.0
    """
    return TimeBars(answers)


class TimeBars(look.View):
    """The view of `time_bars`."""

    def __init__(self, answers: Iterable[Any] | Mapping[str, Any]):
        if isinstance(answers, (str, bytes)) or not isinstance(answers, Iterable):
            what = "The bars compare several answers."
            raise LlamalabError(what, do="llamalab.time_bars([answer, another])")
        if isinstance(answers, Mapping):
            self.readings = {str(name): read(x) for name, x in answers.items()}
        else:
            named = [_named(i, x) for i, x in enumerate(answers, start=1)]
            names = [name for name, _ in named]  # of two files with one name, both are shown
            self.readings = {
                name if names.count(name) == 1 else f"{i} {name}": reading
                for i, (name, reading) in enumerate(named, start=1)
            }

    def text(self) -> str:
        if not self.readings:
            return "No answers to compare."
        heads = ["answer", *PARTS, REST, "all", "tokens", "tokens/s"]
        rows = [self._row(name, reading) for name, reading in self.readings.items()]
        return "\n".join([look.table(heads, rows, left=["answer"]), *self._missing()])

    def _row(self, name: str, reading: Reading) -> list[str]:
        last, total = reading.last, number(reading.last, "total_duration")
        count, speed = number(last, "eval_count"), tokens_per_second(last)
        return [
            name,
            *map(look.seconds, parts_of(last).values()),
            look.seconds(None if total is None else total / 1e9),
            "–" if count is None else f"{count:,}",
            "–" if speed is None else f"{speed:.1f}",
        ]

    def _missing(self) -> list[str]:
        """A sentence for each answer whose last record leaves something out."""
        said = []
        for name, reading in self.readings.items():
            keys = ("total_duration", *PARTS.values(), "eval_count")
            missing = [key for key in keys if number(reading.last, key) is None]
            if reading.broken:
                said.append(f"{name} is not whole: {reading.broken}")
            elif missing:
                said.append(f"{name} does not say (zero is left out): {', '.join(missing)}.")
        return ["", *said] if said else []

    def picture(self) -> bytes | None:
        if not self.readings:
            return None
        count = len(self.readings)
        with look.drawing(6.8, 1.4 + 0.5 * count) as (figure, axes, png):
            at = [0.0] * count
            for part in (*PARTS, REST):
                spent = [parts_of(reading.last)[part] or 0 for reading in self.readings.values()]
                ink, hatch = look.INK[part]
                style = {"color": ink, "hatch": hatch, "edgecolor": "#333333", "label": part}
                axes.barh(range(count), spent, 0.6, at, linewidth=0.5, **style)
                at = [before + share for before, share in zip(at, spent, strict=True)]
            for row, (reading, end) in enumerate(zip(self.readings.values(), at, strict=True)):
                axes.text(end, row, f"  {_speed(reading)}", va="center", fontsize=11)
            axes.set_yticks(range(count), list(self.readings), parse_math=False, fontsize=11)
            axes.set_ylim(count - 0.5, -0.5)
            axes.set_xlim(0, max(at) * 1.3 or 1)
            axes.set_xlabel("seconds", fontsize=12)
            figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=11)
        return png.getvalue()

    def build(self) -> Any:
        return look.card(self._png, self.text(), label=f"Where the time went.\n{self.text()}")


def _named(i: int, x: Any) -> tuple[str, Reading]:
    """An answer's name: its recording's, or its place and its model."""
    reading = read(x)
    if isinstance(x, (str, os.PathLike)) and not isinstance(x, Answer):
        name = os.path.basename(x).removesuffix(".ndjson")
        return name, reading
    model = reading.records[0].get("model", "") if reading.records else ""
    return f"{i} {model}".strip(), reading


def _speed(reading: Reading) -> str:
    speed = tokens_per_second(reading.last)
    return "speed not said" if speed is None else f"{speed:.1f} tokens/s"
