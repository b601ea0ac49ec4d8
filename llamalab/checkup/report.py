"""What a checkup has found: lines in a terminal, a table in a notebook; and how checks put it."""

import html
import textwrap
from pathlib import Path
from typing import NamedTuple

from llamalab.errors import command

OK, NOTE, FAIL = "OK", "note", "FAIL"
SYMBOLS = {OK: "✓", NOTE: "•", FAIL: "✗"}  # in the table; a console may not have them
COLOURS = {  # JupyterLab's own, light or dark; the second one elsewhere
    OK: "var(--jp-success-color1, #388e3c)",
    NOTE: "var(--jp-warn-color1, #f57c00)",
    FAIL: "var(--jp-error-color1, #d32f2f)",
}
WIDTH = 100  # columns


class Finding(NamedTuple):
    """What a check has found: OK, NOTE or FAIL, in words, and what fixes it."""

    state: str
    found: str
    do: str = ""


def ok(found: str) -> Finding:
    return Finding(OK, found)


def note(found: str, do: str = "") -> Finding:
    return Finding(NOTE, found, do)


def fail(found: str, do: str) -> Finding:
    return Finding(FAIL, found, do)


class Line(NamedTuple):
    """A finding with its check's name."""

    name: str
    state: str
    found: str
    do: str = ""


class Report:
    """All lines of a checkup; `.ok` where none of them FAILs. Shown as one line if all is well.

    >>> Report([Line("Disk", OK, "9 GB free"), Line("Port", NOTE, "taken", "stop it")])
    OK    Disk  9 GB free
    note  Port  taken
                Do: stop it
    The lesson can begin; 1 note says what is limited or unusual.
    """

    def __init__(self, lines: list[Line]):
        self.lines = lines

    @property
    def ok(self) -> bool:
        return not self._count(FAIL)

    @property
    def summary(self) -> str:
        """One sentence for all lines."""
        fails, notes = self._count(FAIL), self._count(NOTE)
        if fails:
            lines = "1 line FAILs" if fails == 1 else f"{fails} lines FAIL"
            return f"{lines}: the lesson can start once that is fixed."
        if notes:
            says = "1 note says" if notes == 1 else f"{notes} notes say"
            return f"The lesson can begin; {says} what is limited or unusual."
        return "All is well: the lesson can begin."

    def text(self, width: int = WIDTH, every: bool = False) -> str:
        """The report as aligned lines of at most `width` columns; `every` if all is well, too."""
        if self._well and not every:
            return self.summary
        names = max((len(line.name) for line in self.lines), default=0)
        indent = " " * (len(f"{NOTE}  ") + names + 2)
        shown = []
        for line in self.lines:
            label = f"{line.state:<{len(NOTE)}}  {line.name:<{names}}  "
            shown += wrapped(line.found, label, indent, width)
            if line.do:
                shown += wrapped(line.do, indent + "Do: ", indent + "    ", width)
        return "\n".join([*shown, *wrapped(self.summary, "", "", width)])

    __str__ = __repr__ = text

    def _repr_html_(self) -> str:
        if self._well:
            return f"<p>{self.summary}</p>"
        rows = "".join(map(row, self.lines))
        head = "".join(f"<th {LEFT}>{title}</th>" for title in HEAD)
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
            f"<p>{html.escape(self.summary)}</p>"
        )

    @property
    def _well(self) -> bool:
        return self._count(OK) == len(self.lines)

    def _count(self, state: str) -> int:
        return sum(line.state == state for line in self.lines)


HEAD = ("state", "check", "found", "what to do")
LEFT = 'style="text-align: left; vertical-align: top"'
FIXED = "display: inline-block; width: 1em"  # so that the words line up


def row(line: Line) -> str:
    """A line as a row of the table: a word beside the symbol, for those who see no colours."""
    symbol = f'<span style="{FIXED}; color: {COLOURS[line.state]}">{SYMBOLS[line.state]}</span>'
    state = f'<strong style="white-space: nowrap">{symbol}&nbsp;{line.state}</strong>'
    name = html.escape(line.name).replace(" ", "&nbsp;")
    cells = (state, name, html.escape(line.found), html.escape(line.do))
    return "<tr>" + "".join(f"<td {LEFT}>{cell}</td>" for cell in cells) + "</tr>"


def wrapped(text: str, first: str, rest: str, width: int) -> list[str]:
    """A text as lines that begin with `first`, then with `rest`."""
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    ) or [first.rstrip()]


def export(name: str, value: str) -> str:
    return command(f"export {name}={value}", f'$env:{name} = "{value}"')


def unset(name: str) -> str:
    return command(f"unset {name}", f"Remove-Item Env:{name}")


def tidy(path: Path | str) -> str:
    """A path with the home folder as ~."""
    path, home = Path(path), Path.home()
    return str("~" / path.relative_to(home) if path.is_relative_to(home) else path)


def amount(size: float) -> str:
    """Bytes in words: "79 GB", "5 MB"."""
    return f"{size / 1e9:.0f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
