"""The waterfall: when each fragment of an answer came, and what the time before it was for."""

from __future__ import annotations

from itertools import pairwise
from statistics import median
from textwrap import fill
from typing import Any

from llamalab.errors import shorten
from llamalab.views import look
from llamalab.views.reading import PARTS, REST, gaps_of, parts_of, read

LABELLED = 30  # fragments; more of them are drawn without their words


def waterfall(x: Any) -> look.View:
    """When each fragment came: the time to the first one, the gaps, load, prompt, generation.

    `x` is an Answer, a body (bytes), a list of records, or a recording. An answer that was cut or
    ended in an error is shown as far as it came. The times are the records' own (`created_at`, and
    the durations, ns, of the last one), so they are the server's and not the network's.

    >>> print(str(waterfall("mistral-are-you-listening")).splitlines()[0])
    First text after 2.25 s, then 13 gaps of 0.084 s (the longest 0.087 s): 3.34 s in all.
    """
    return Waterfall(x)


class Waterfall(look.View):
    """The view of `waterfall`."""

    def __init__(self, x: Any):
        self.reading = read(x)
        self.parts = parts_of(self.reading.last)

    def text(self) -> str:
        said = [self.summary()]
        if self.reading.records:
            heads = ["record", "came after", "gap", "fragment"]
            rows = look.windowed(len(self.reading.records), self._row)
            said.append(look.table(heads, rows, left=["fragment"]))
        return "\n\n".join(said)

    def summary(self) -> str:
        """What there is to see, in sentences."""
        lines = [self._timing()]
        if shares := self._shares():
            lines.append(shares)
        if missing := [PARTS[part] for part in PARTS if self.parts[part] is None]:
            lines.append(f"Not measured (zero, or left out): {', '.join(missing)}.")
        if self.reading.broken:
            lines.append(f"Not whole: {self.reading.broken}")
        return "\n".join(lines)

    def _timing(self) -> str:
        reading = self.reading
        if not reading.records:
            return "Not a single record came."
        if reading.came is None:
            return "These records do not say when they came (no created_at)."
        first, end = reading.came[reading.first], reading.came[-1]
        said = f"First text after {look.seconds(first)}"
        if not reading.timed_from_question:
            said = "When it was asked is not known: the times count from the first record"
        gaps = gaps_of(reading.came[reading.first :])
        if gaps:
            number = f"{len(gaps):,} gap{'s' if len(gaps) > 1 else ''}"
            longest = f" (the longest {look.seconds(max(gaps))})" if len(gaps) > 1 else ""
            said += f", then {number} of {look.seconds(median(gaps))}{longest}"
        return f"{said}: {look.seconds(end)} in all."

    def _shares(self) -> str:
        total = sum(value for value in self.parts.values() if value)
        known = {part: value for part, value in self.parts.items() if value is not None}
        shares = [f"{part} {look.seconds(s)} ({s / total:.0%})" for part, s in known.items() if s]
        return " · ".join(shares)

    def _row(self, i: int) -> list[str]:
        reading = self.reading
        fragment = shorten(reading.fragments[i], 40) if reading.fragments[i] else self._silent(i)
        if reading.came is None:
            return [f"{i + 1:,}", "–", "–", fragment]
        gap = reading.came[i] - reading.came[i - 1] if i else None
        return [f"{i + 1:,}", look.seconds(reading.came[i]), look.seconds(gap), fragment]

    def _silent(self, i: int) -> str:
        """What a record without text is."""
        record = self.reading.records[i]
        if "error" in record:
            return f"error: {shorten(str(record['error']), 40)}"
        return "(done)" if record.get("done") is True else "(no text)"

    def picture(self) -> bytes | None:
        came = self.reading.came
        if came is None:
            return None
        count = len(came)
        labelled = count <= LABELLED
        height = 1.5 + 0.22 * count if labelled else 4
        with look.drawing(6.8, height) as (figure, axes, png):
            self._draw_bars(axes, came)
            if labelled:
                names = [self._row(i)[-1] for i in range(count)]
                axes.set_yticks(range(count), names, parse_math=False, fontsize=11)
            else:
                axes.set_ylabel("record, from 0 to the last", fontsize=12)
            axes.set_ylim(count - 0.4, -0.8 if labelled else -0.06 * count)
            axes.set_xlim(0, (came[-1] or 1) * 1.02)
            since = "the question" if self.reading.timed_from_question else "the first record"
            axes.set_xlabel(f"seconds after {since}", fontsize=12)
            axes.set_title(fill(self._timing(), 72), fontsize=11, loc="left", parse_math=False)
            if axes.get_legend_handles_labels()[0]:
                style = {"ncols": 4, "frameon": False, "fontsize": 10, "columnspacing": 1.2}
                figure.legend(loc="outside lower center", **style)
        return png.getvalue()

    def _draw_bars(self, axes: Any, came: list[float]) -> None:
        """The wait for the first record in its parts, then a bar from each record to the next."""
        colour, _ = look.INK["generation"]
        thick = 0.7 if len(came) <= LABELLED else max(2.0, len(came) / 40)  # in records
        at = 0.0
        for part in ("load", "prompt", REST):
            share = self.parts[part] or 0
            share = min(share, came[0] - at) if part != REST else came[0] - at
            if share > 0:
                ink, hatch = look.INK[part]
                name = f"{part} {look.seconds(self.parts[part] or share)}"
                style = {"color": ink, "hatch": hatch, "edgecolor": "#333333", "label": name}
                axes.barh(0, share, thick, at, linewidth=0.5, **style)
                at += share
        label = f"generation {look.seconds(self.parts['generation'])}"
        if self.parts["generation"] is None:
            label = "from record to record"
        ends = [max(end, start + came[-1] / 300) for start, end in pairwise(came)]
        points = max(1.5, min(13.5, 250 / len(came)))  # one collection: 10,000 bars would take long
        axes.hlines(range(1, len(came)), came[:-1], ends, colors=colour, linewidth=points)
        axes.barh(0, 0, color=colour, label=label)  # for the legend: in the order of time

    def build(self) -> Any:
        return look.card(self._png, self.text(), label=f"Waterfall of an answer. {self.summary()}")
