"""The waterfall: when each fragment of an answer came, and what the time before it was for."""

from __future__ import annotations

from itertools import pairwise
from statistics import median
from typing import Any

from llamalab.errors import shorten
from llamalab.views import base
from llamalab.views.timed_answer import PARTS, REST, parts_of, read

LABELLED = 30  # fragments; more of them are drawn without their words


def waterfall(x: Any) -> base.View:
    """When each fragment came: the time to the first one, the gaps, load, read, write.

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
        rows = len(came) if len(came) <= LABELLED else 12  # of boxes below the bar
        room = (came[-1] or 1) * 1.16  # to the right of the last box stand its words
        model = self.answer.records[0].get("model", "")
        title = f"{model}: when each fragment came" if model else "when each fragment came"
        with base.drawing(title, 7.2, 1.5 + 0.24 * rows) as (axes, png):
            axes.set_xlim(0, room)
            axes.set_ylim(1 + 0.4 * rows, -0.5)
            axes.set_yticks([])
            self._draw_bar(axes, came, room)
            self._draw_fragments(
                axes, came, [0.75 + 0.4 * rows * i / len(came) for i in range(len(came))]
            )
            if not self.answer.timed_from_question:
                axes.set_xlabel("seconds after the first record", loc="right")
        return png.getvalue()

    def _draw_bar(self, axes: Any, came: list[float], room: float) -> None:
        """The parts of the answer's time, in their order."""
        at = 0.0
        for part in ("load", "read", REST, "write"):
            until = came[0] if part != "write" else came[-1]
            share = until - at
            if part in ("load", "read"):
                share = min(self.parts[part] or 0, share)
            if share > 0:
                base.draw_part(axes, part, share, at, room, self.parts[part])
                at += share

    def _draw_fragments(self, axes: Any, came: list[float], places: list[float]) -> None:
        """Below the bar, a box from each record to the next, with the words it brought."""
        paper, edge = base.INK["write"]
        starts = [came[0], *came[:-1]]  # of the first one, the time before it is in the bar
        style = {"va": "center", "fontsize": 10.5, "color": base.TEXT, "parse_math": False}
        if len(came) > LABELLED:  # one collection: 10,000 boxes would take long
            axes.hlines(places, starts, came, colors=edge, linewidth=2.5)
        else:
            least = (came[-1] or 1) / 150
            for i, (start, stop, place) in enumerate(zip(starts, came, places, strict=True)):
                left = min(start, stop - least)
                axes.barh(place, stop - left, 0.3, left, color=paper, edgecolor=edge, lw=1.1)
                axes.text(stop, place, f" {self._row(i)[-1]}", ha="left", **style)
        first = came[self.answer.first]
        moments = [(self.answer.first, f"the first text: {base.seconds(first)}  ")]
        if len(came) > 1:
            last = "the end" if self.answer.last else "the last record"
            moments.append((-1, f"{last}: {base.seconds(came[-1])}  "))
        for i, words in moments:
            if starts[i] > came[-1] / 4:  # else there is no room for them
                axes.text(starts[i], places[i], words, ha="right", weight="bold", **style)

    def build(self) -> Any:
        return base.card(self._png, self.text(), label=f"Waterfall of an answer. {self.summary()}")
