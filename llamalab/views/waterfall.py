"""The waterfall: when each fragment of an answer came, and what the time before it was for."""

from __future__ import annotations

from itertools import pairwise
from statistics import median
from textwrap import fill
from typing import Any

from llamalab.errors import shorten
from llamalab.views import base
from llamalab.views.timed_answer import PARTS, REST, parts_of, read

LABELLED = 30  # fragments; more of them are drawn without their words


def waterfall(x: Any) -> base.View:
    """When each fragment came: the time to the first one, the gaps, load, prompt, generation.

    `x` is an Answer, a body (bytes), a list of records, or a recording. An answer that was cut or
    ended in an error is shown as far as it came. The times are the records' own (`created_at`, and
    the durations, ns, of the last one), so they are the server's and not the network's.

    >>> print(str(waterfall("mistral-are-you-listening")).splitlines()[0])
    First text after 2.25 s, then 13 gaps of 0.084 s (the longest 0.087 s): 3.34 s in all.
    """
    return Waterfall(x)


class Waterfall(base.View):
    """The view of `waterfall`."""

    def __init__(self, x: Any):
        self.answer = read(x)
        self.parts = parts_of(self.answer.last)

    def text(self) -> str:
        said = [self.summary()]
        if self.answer.records:
            heads = ["record", "came after", "gap", "fragment"]
            rows = base.windowed(len(self.answer.records), self._row)
            said.append(base.table(heads, rows, left=["fragment"]))
        return "\n\n".join(said)

    def summary(self) -> str:
        """What there is to see, in sentences."""
        lines = [self._timing()]
        if shares := self._shares():
            lines.append(shares)
        if missing := [PARTS[part] for part in PARTS if self.parts[part] is None]:
            lines.append(f"Not measured (zero, or left out): {', '.join(missing)}.")
        if self.answer.broken:
            lines.append(f"Not whole: {self.answer.broken}")
        return "\n".join(lines)

    def _timing(self) -> str:
        answer = self.answer
        if not answer.records:
            return "Not a single record came."
        if answer.came is None:
            return "These records do not say when they came (no created_at)."
        first, end = answer.came[answer.first], answer.came[-1]
        said = f"First text after {base.seconds(first)}"
        if not answer.timed_from_question:
            said = "When it was asked is not known: the times count from the first record"
        gaps = [after - before for before, after in pairwise(answer.came[answer.first :])]
        if gaps:
            number = f"{len(gaps):,} gap{'s' if len(gaps) > 1 else ''}"
            longest = f" (the longest {base.seconds(max(gaps))})" if len(gaps) > 1 else ""
            said += f", then {number} of {base.seconds(median(gaps))}{longest}"
        return f"{said}: {base.seconds(end)} in all."

    def _shares(self) -> str:
        total = sum(value for value in self.parts.values() if value)
        known = {part: value for part, value in self.parts.items() if value is not None}
        shares = [f"{part} {base.seconds(s)} ({s / total:.0%})" for part, s in known.items() if s]
        return " · ".join(shares)

    def _row(self, i: int) -> list[str]:
        answer = self.answer
        fragment = shorten(answer.fragments[i], 40) if answer.fragments[i] else self._silent(i)
        if answer.came is None:
            return [f"{i + 1:,}", "–", "–", fragment]
        gap = answer.came[i] - answer.came[i - 1] if i else None
        return [f"{i + 1:,}", base.seconds(answer.came[i]), base.seconds(gap), fragment]

    def _silent(self, i: int) -> str:
        """What a record without text is."""
        record = self.answer.records[i]
        if "error" in record:
            return f"error: {shorten(str(record['error']), 40)}"
        return "(done)" if record.get("done") is True else "(no text)"

    def picture(self) -> bytes | None:
        came = self.answer.came
        if came is None:
            return None
        count = len(came)
        labelled = count <= LABELLED
        height = 1.5 + 0.22 * count if labelled else 4
        with base.drawing(6.8, height) as (figure, axes, png):
            self._draw_bars(axes, came)
            if labelled:
                names = [self._row(i)[-1] for i in range(count)]
                axes.set_yticks(range(count), names, parse_math=False, fontsize=11)
            else:
                axes.set_ylabel("record, from 0 to the last", fontsize=12)
            axes.set_ylim(count - 0.4, -0.8 if labelled else -0.06 * count)
            axes.set_xlim(0, (came[-1] or 1) * 1.02)
            since = "the question" if self.answer.timed_from_question else "the first record"
            axes.set_xlabel(f"seconds after {since}", fontsize=12)
            axes.set_title(fill(self._timing(), 72), fontsize=11, loc="left", parse_math=False)
            if axes.get_legend_handles_labels()[0]:
                style = {"ncols": 4, "frameon": False, "fontsize": 10, "columnspacing": 1.2}
                figure.legend(loc="outside lower center", **style)
        return png.getvalue()

    def _draw_bars(self, axes: Any, came: list[float]) -> None:
        """The wait for the first record in its parts, then a bar from each record to the next."""
        colour, _ = base.INK["generation"]
        thick = 0.7 if len(came) <= LABELLED else max(2.0, len(came) / 40)  # in records
        at = 0.0
        for part in ("load", "prompt", REST):
            share = self.parts[part] or 0
            share = min(share, came[0] - at) if part != REST else came[0] - at
            if share > 0:
                label = f"{part} {base.seconds(self.parts[part] or share)}"
                base.draw_bar(axes, part, 0, share, thick, at, label)
                at += share
        label = f"generation {base.seconds(self.parts['generation'])}"
        if self.parts["generation"] is None:
            label = "from record to record"
        ends = [max(end, start + came[-1] / 300) for start, end in pairwise(came)]
        points = max(1.5, min(13.5, 250 / len(came)))  # one collection: 10,000 bars would take long
        axes.hlines(range(1, len(came)), came[:-1], ends, colors=colour, linewidth=points)
        axes.barh(0, 0, color=colour, label=label)  # for the legend: in the order of time

    def build(self) -> Any:
        return base.card(self._png, self.text(), label=f"Waterfall of an answer. {self.summary()}")
