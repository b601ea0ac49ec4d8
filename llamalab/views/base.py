"""How the views look: what shows itself in a notebook, its twin, its colours, its controls.

ipywidgets and matplotlib are imported only inside of functions: where one of them is missing, the
twin is there all the same.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CSS = (Path(__file__).parent / "views.css").read_text(encoding="utf-8")
WIDGET = "application/vnd.jupyter.widget-view+json"

# As in the lesson's pictures: the parts of an answer's time, the paper and the edge of each.
INK = {
    "load": ("#fde8cf", "#9a4a00"),
    "read": ("#d7eaf7", "#00548c"),
    "write": ("#d8f0e6", "#00634a"),
    "rest": ("#efefe9", "#5a5a5a"),
}
PAPER, TEXT, SMALL = "#fbfbf8", "#1b1b1b", "#5a5a5a"


class View:
    """Something to look at: a text, for some a picture, and a widget where there is a kernel.

    A notebook stores all three, and shows the liveliest that can be shown: the widget while the
    kernel runs, without it (on GitHub, in print) the picture, and for a screen reader or in a
    terminal the text. The text of a view is the same each time.
    """

    def text(self) -> str:
        """The twin that needs nothing: what there is to see, in words and tables."""
        raise NotImplementedError

    def picture(self) -> bytes | None:
        """The twin for the eye, a PNG; None for a view that has none."""
        return None

    def build(self) -> Any:
        """Make the live view, an ipywidget."""
        raise NotImplementedError

    @cached_property
    def widget(self) -> Any:
        """The live view, made when it is first shown; shown twice, it is the same one."""
        return self.build()

    @cached_property
    def _png(self) -> bytes | None:
        with suppress(ModuleNotFoundError):
            return self.picture()

    def __repr__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": self.text()}
        if self._png:
            bundle["image/png"] = b64encode(self._png).decode("ascii")
        try:
            bundle[WIDGET] = self.widget._repr_mimebundle_()[WIDGET]
        except ModuleNotFoundError as error:
            bundle["text/plain"] += f"\n\nTo see it move: python -m pip install {error.name}"
        return bundle


# ---- in text


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[str] = ()) -> str:
    """A table to read in any fixed-width font; numbers to the right, columns in `left` not.

    >>> print(table(["part", "time"], [["load", "1.58 s"], ["all", "12.00 s"]], left=["part"]))
    part     time
    ----  -------
    load   1.58 s
    all   12.00 s
    """
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    sides = ["<" if head in left else ">" for head in heads]
    return "\n".join(
        "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)
        ).rstrip()
        for row in [heads, ["-" * width for width in widths], *rows]
    )


def seconds(value: float | None) -> str:
    """A time to read: 2.25 s, 0.084 s, 0.1 ms; a dash where it is not known."""
    if value is None:
        return "–"
    if 0 < value < 0.01:
        return f"{value * 1000:.1f} ms"
    return f"{value:.3f} s" if 0 < value < 0.1 else f"{value:.2f} s"


def windowed(count: int, row: Callable[[int], list[str]], head: int = 20, tail: int = 5) -> list:
    """The rows of a table; of a long one the first and the last, and how many are left out.

    >>> windowed(100, lambda i: [f"{i}", "Yes"], head=1, tail=1)
    [['0', 'Yes'], ['...', '... 98 more ...'], ['99', 'Yes']]
    """
    if count <= head + tail:
        return [row(i) for i in range(count)]
    rows = [row(i) for i in (*range(head), *range(count - tail, count))]
    rows.insert(head, ["...", *[""] * (len(rows[0]) - 2), f"... {count - head - tail:,} more ..."])
    return rows


# ---- in HTML


def escape(text: str) -> str:
    """Text from a model, as text: never as HTML."""
    return html.escape(text.encode(errors="replace").decode(), quote=True)


def visible(text: str) -> str:
    """HTML that shows each character, also those without a shape, such as a newline."""
    return re.sub(r"[^ -~]", _shown, escape(text))


def _shown(match: re.Match) -> str:
    character = match[0]
    if character == "\n":
        return '<b class="ll-byte" title="newline">⏎</b>\n'
    if character.isprintable():
        return character
    return f'<b class="ll-byte">U+{ord(character):04X}</b>'


def page(*parts: str, label: str) -> Any:
    """An HTML widget with the views' look."""
    import ipywidgets

    shown = ipywidgets.HTML(framed(*parts, label=label), layout={"width": "auto", "margin": "0"})
    return shown.add_class("ll-page")


def framed(*parts: str, label: str) -> str:
    return f'<div class="ll" role="group" aria-label="{escape(label)}">{"".join(parts)}</div>'


def column(*children: Any) -> Any:
    """Widgets below each other, as wide as the page and no wider, with the views' style sheet."""
    import ipywidgets

    style = ipywidgets.HTML(f"<style>{CSS}</style>", layout={"display": "none"})
    return ipywidgets.VBox([style, *children], layout={"width": "100%", "overflow": "hidden"})


def card(png: bytes | None, text: str, label: str) -> Any:
    """A picture with its words and, to unfold, its table: for the views that do not move."""
    shown = f'<pre class="ll-table" tabindex="0">{escape(text)}</pre>'
    if not png and find_spec("matplotlib") is None:
        shown += "<p>This is a table: matplotlib, which draws the picture, is not here.</p>"
    if png:
        source = f"data:image/png;base64,{b64encode(png).decode('ascii')}"
        shown = (
            f'<img class="ll-card" src="{source}" alt="{escape(label)}">'
            f"<details><summary>The same as a table</summary>{shown}</details>"
        )
    return column(page(shown, label=label))


def player(
    panes: Callable[[int], list[str]],
    label: str,
    slider_label: str,
    least: int,
    most: int,
    interval: int,
    step: int = 1,
    readout: bool = True,
) -> Any:
    """`panes(value)`, as HTML, above them a slider for the value, and buttons that play it.

    The ticks (every `interval` ms) are the browser's, so that they stop with the page. ipywidgets'
    own Play has pictures on its buttons and no words: it is hidden behind buttons that have.
    """
    import ipywidgets

    play = ipywidgets.Play(least, least, most, step, interval=interval, layout={"display": "none"})
    slider = ipywidgets.IntSlider(
        *(least, least, most),
        description=slider_label,
        readout=readout,
        layout={"flex": "1 1 260px", "width": "auto"},
    )
    toggle = ipywidgets.ToggleButton(
        description="▶ Play", tooltip=f"Play or pause: {label}", layout={"width": "100px"}
    )
    back, forth, start = (
        ipywidgets.Button(description=text, tooltip=f"{tip}: {label}", layout={"width": "80px"})
        for text, tip in (
            ("◀ Back", "One step back"),
            ("Next ▶", "One step on"),
            ("|◀ Start", "To the start"),
        )
    )
    ipywidgets.jslink((play, "value"), (slider, "value"))
    ipywidgets.jslink((toggle, "value"), (play, "playing"))

    def go(value: int) -> Callable:
        slider.value = max(least, min(most, value))

    shown = page(*panes(least), label=label)

    def show(change: dict) -> None:
        shown.value = framed(*panes(change["new"]), label=label)

    def caption(change: dict) -> None:
        toggle.description = "❚❚ Pause" if toggle.value else "▶ Play"

    slider.observe(show, "value")
    toggle.observe(caption, "value")
    start.on_click(lambda _: go(least))
    back.on_click(lambda _: go(slider.value - 1))
    forth.on_click(lambda _: go(slider.value + 1))
    row = {"flex_flow": "row wrap", "align_items": "center", "width": "100%"}
    controls = ipywidgets.Box([play, toggle, start, back, forth, slider], layout=row)
    return column(controls, shown)


# ---- in pictures


@contextmanager
def drawing(title: str, width: float, height: float) -> Iterator[tuple[Any, io.BytesIO]]:
    """The axes of a matplotlib figure (inches), time to the right; afterwards the PNG is in the
    buffer.

    Light like paper, so that it can be read in a dark theme, and as wide as a page of JupyterLab
    when 7.2 inches wide: the letters are then large. The user's own style plays no part, and
    nothing of matplotlib's state is changed. Few colours make a small file.
    """
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    buffer = io.BytesIO()
    with matplotlib.style.context("default"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a box stands there: no news
        figure = Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)
        axes = FigureCanvasAgg(figure).figure.subplots()
        axes.set_facecolor(PAPER)
        axes.set_title(title, loc="left", fontsize=12, weight="bold", color=TEXT, parse_math=False)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.plot(1, 0, ">", color=TEXT, transform=axes.transAxes, clip_on=False)  # time's arrow
        axes.tick_params(axis="x", colors=SMALL, labelsize=10)
        axes.tick_params(axis="y", colors=TEXT, labelsize=11, length=0)
        axes.set_xlabel("seconds", fontsize=11, color=SMALL, loc="right")
        yield axes, buffer
        figure.savefig(large := io.BytesIO(), dpi=130, format="png")
    Image.open(large).convert("RGB").quantize(64).save(buffer, "png", optimize=True)


def draw_part(
    axes: Any, part: str, spent: float, at: float, room: float, said: float | None, row: float = 0
) -> None:
    """A part of an answer's time, from `at` (seconds), in its colour.

    Where there is room (the picture is `room` seconds wide), its name is in it, and how long it
    took: what the answer says (`said`), or else what is seen (`spent`).
    """
    paper, edge = INK[part]
    axes.barh(row, spent, 0.72, at, color=paper, edgecolor=edge, linewidth=1.4)
    if spent > room / 11:
        text = {"ha": "center", "va": "center", "clip_on": True}
        axes.text(at + spent / 2, row - 0.13, part, fontsize=11, color=TEXT, **text)
        took = seconds(spent if said is None else said)
        axes.text(at + spent / 2, row + 0.17, took, fontsize=9.5, color=SMALL, **text)
