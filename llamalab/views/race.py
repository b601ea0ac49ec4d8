"""The race: the same answer in one piece and as a stream, side by side, at its true pace."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import Any

from llamalab.errors import LlamalabError, shorten
from llamalab.views import base
from llamalab.views.timed_answer import read

TICK = 0.1  # seconds
SHOWN = 1500  # characters of a text: of more, the end


def race(x: Any) -> base.View:
    """The same answer in batch (wait for all of it) and as a stream, side by side.

    `x` is an Answer, a body (bytes), a list of records, or a recording; its records say when each
    fragment came, and Play shows both answers at this pace. Raises `LlamalabError` where they do
    not say when they came.

    >>> print(str(race("mistral-are-you-listening")).splitlines()[0])
    Both are whole after 3.34 s; the stream can be read after 2.25 s, 1.09 s earlier.
    """
    return Race(x)


class Race(base.View):
    """The view of `race`; `now` is in seconds after the question."""

    def __init__(self, x: Any):
        self.answer = read(x)
        if not self.answer.came:
            what = "There is nothing to race: these records do not say when they came."
            raise LlamalabError(what, do="give it an answer with created_at in its records")
        self.came = self.answer.came
        self.end = self.came[-1]
        self.ends = [0, *accumulate(map(len, self.answer.fragments))]
        self.whole = self.answer.text

    def text(self) -> str:
        moments = [self.end * share / 8 for share in range(1, 9)]
        rows = [[base.seconds(now), *self._cells(now)] for now in moments]
        heads = ["after", "batch", "stream"]
        return self.summary() + "\n\n" + base.table(heads, rows, left=heads[1:])

    def summary(self) -> str:
        """The result, in a sentence or two."""
        first = self.came[self.answer.first]
        said = f"Both are whole after {base.seconds(self.end)}; the stream can be read after "
        said += f"{base.seconds(first)}, {base.seconds(self.end - first)} earlier."
        if not self.answer.timed_from_question:
            said += "\nWhen it was asked is not known: the times count from the first record."
        if self.answer.broken:
            said += f"\nNot whole: {self.answer.broken}"
        return said

    def _cells(self, now: float) -> list[str]:
        return [shorten(text, 26) if text else "(nothing yet)" for text in self.at(now)]

    def at(self, now: float) -> tuple[str, str]:
        """What there is to read at a moment, in batch and as a stream."""
        streamed = self.whole[: self.ends[bisect_right(self.came, now + 1e-9)]]
        return self.whole if now + 1e-9 >= self.end else "", streamed

    def build(self) -> Any:
        ticks = -int(-self.end // TICK) or 1  # rounded up: the last tick shows the end
        return base.player(
            lambda tick: self.panes(tick * TICK),
            "Batch and stream, side by side",
            *("Time", 0, ticks),
            interval=int(TICK * 1000),
            readout=False,
        )

    def panes(self, now: float) -> list[str]:
        """Both answers at a moment, as HTML."""
        now = min(now, self.end)
        batch, streamed = self.at(now)
        done = bisect_right(self.came, now + 1e-9)
        share = done / len(self.came)
        return [
            '<div class="ll-two">',
            self._pane(
                "Batch", "wait for the whole answer", batch, now, now / (self.end or 1), not batch
            ),
            self._pane("Stream", "read it while it arrives", streamed, now, share, False),
            "</div>",
        ]

    def _pane(self, name: str, how: str, text: str, now: float, share: float, waits: bool) -> str:
        finished = now >= self.end
        state = "✔ complete" if finished else "… still coming" if text else "○ nothing to read yet"
        bar = f'<i{" class=ll-waits" if waits else ""} style="width:{share:.0%}"></i>'
        clock = f"{now:.1f} s: {state}, {len(text):,} characters"
        shown = ("… " if len(text) > SHOWN else "") + base.escape(text[-SHOWN:])
        return (
            f'<div class="ll-pane" role="region" aria-label="{name}: {clock}">'
            f'<p class="ll-head">{name} <small>{base.escape(how)}</small></p>'
            f'<p class="ll-status">{clock}</p>'
            f'<div class="ll-bar">{bar}</div><p class="ll-text">{shown}</p></div>'
        )
