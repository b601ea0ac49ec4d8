"""The inspector: an answer's bytes → lines → records → text, in four panes that move together."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

from llamalab.errors import BadAnswer, LlamalabError, shorten
from llamalab.views import base
from llamalab.wire import fragment_of, load_record

LONG = 400  # characters of a text: of more, the middle is left out
LONG_LINE = 200  # bytes of the current line
LONG_VALUE = 32  # characters of a key or a value without text
OTHER = 120  # bytes of a line that is not the current one
NEAR = 200  # bytes: of a line longer than this, fewer neighbours are shown
ROW = 52  # characters in a row of a pane, on a laptop's screen
# Pixels of a row in views.css, and the rows that a pane may have; what needs more is scrolled.
TALL, TALL_TEXT, MOST = 20, 24, 10
GAP = 2  # characters between two keys in a row
MORE = len(" 123 more bytes ")
CUT = '<b class="ll-cut" title="here a chunk begins"></b>'
# The string that carries a fragment, as it is written in a line (RFC 8259, section 7).
STRING = re.compile(rb'"(?:response|content)"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"')


def inspector(content: bytes, chunks: Iterable[bytes] | None = None) -> base.View:
    r"""Take an answer apart, line by line: `content` is `response.content`.

    A slider, buttons and the arrow keys go through the lines; the current piece is marked in all
    four panes. `chunks`, the same bytes cut as they came, shows where one chunk ends and the next
    begins: `llamalab.inspector(b"".join(chunks), chunks)`. Lines that are not records are shown as
    well, with what is wrong. Raises `LlamalabError` where `content` is not bytes.

    >>> inspector(b'{"response":"Yes"}\n{"response":","}\n')
    36 bytes → 2 lines → 2 records → 4 characters of text
    <BLANKLINE>
    line  bytes  fragment  text so far
    ----  -----  --------  -----------
       1   0–18  'Yes'     'Yes'
       2  19–35  ','       'Yes,'
    """
    return Inspector(content, chunks)


class Inspector(base.View):
    """The view of `inspector`; its lines are counted from 0."""

    def __init__(self, content: bytes, chunks: Iterable[bytes] | None = None):
        if not isinstance(content, (bytes, bytearray)):
            what = f"The inspector looks at bytes, not at a {type(content).__name__}."
            raise LlamalabError(what, do="llamalab.inspector(response.content)")
        self.content = bytes(content)
        self.cuts = list(accumulate(map(len, chunks or [])))[:-1]  # where a new chunk begins
        self.lines = re.findall(rb"[^\n]*\n|[^\n]+", self.content)
        self.starts = [0, *accumulate(map(len, self.lines))]
        self.records = [_record(line) for line in self.lines]
        self.fragments = [_fragment(record) for record in self.records]
        self.joined = "".join(self.fragments)
        self.ends = [0, *accumulate(map(len, self.fragments))]

    def text(self) -> str:
        records = sum(isinstance(record, dict) for record in self.records)
        counts = [
            _count(len(self.content), "byte"),
            _count(len(self.lines), "line"),
            _count(records, "record"),
            _count(len(self.joined), "character") + " of text",
        ]
        if self.cuts:
            counts[0] += f" in {len(self.cuts) + 1:,} chunks"
        if not self.lines:
            return " → ".join(counts)
        heads = ["line", "bytes", "fragment", "text so far"]
        if self.cuts:
            heads.insert(2, "chunk")
        rows = base.windowed(len(self.lines), self._row, head=12, tail=3)
        return " → ".join(counts) + "\n\n" + base.table(heads, rows, left=heads[2:])

    def _row(self, i: int) -> list[str]:
        fragment = shorten(self.fragments[i], 24)
        if not isinstance(self.records[i], dict):
            fragment = f"no record: {self.lines[i].strip()[:20].decode('utf-8', 'replace')!r}"
        so_far = shorten(self.joined[: self.ends[i + 1]], 32)
        row = [f"{i + 1:,}", f"{self.starts[i]:,}–{self.starts[i + 1] - 1:,}"]
        return [*row, *([self._chunk(i)] if self.cuts else []), fragment, so_far]

    def _chunk(self, i: int) -> str:
        """The chunk or chunks that brought a line, counted from 1."""
        first = bisect_right(self.cuts, self.starts[i]) + 1
        last = bisect_right(self.cuts, self.starts[i + 1] - 1) + 1
        return f"{first}" if first == last else f"{first}–{last}"

    def build(self) -> Any:
        if not self.lines:
            return base.column(base.page("<p>There is not a single byte in it.</p>", label="Bytes"))
        last = len(self.lines)
        return base.player(
            lambda number: self.panes(number - 1),
            "From bytes to text",
            *("Line", 1, last),
            interval=600,
            step=max(1, last // 100),
        )

    def panes(self, i: int) -> list[str]:
        """The four panes, as HTML; line `i` is marked in each, and in the line its fragment."""
        start, end = self.starts[i], self.starts[i + 1]
        where = f"bytes {start:,} to {end - 1:,} of {len(self.content):,}"
        if self.cuts:
            where += f", in {len(self.cuts) + 1:,} chunks"
        number = f"line {i + 1:,} of {len(self.lines):,}, cut at each newline"
        record, brings = "json.loads of this line", 'the fragments so far, "".join'
        if not isinstance(self.records[i], dict):
            record = "this line is not one"
        if not self.fragments[i]:
            brings += "; this line brings no text"
        return [
            f'<div class="ll-panes" style="{self.heights}">',
            _pane("1 Bytes", where, "ll-mono ll-tape", self._tape(i)),
            _pane("2 Lines", number, "ll-mono ll-lines", self._lines(i)),
            _pane("3 Record", record, "ll-mono ll-record", self._record_pane(i)),
            _pane("4 Text", brings, "ll-text", self._text_pane(i)),
            "</div>",
        ]

    @cached_property
    def heights(self) -> str:
        """How high the panes are, as CSS: enough for each line, so that nothing jumps."""
        widths = [_width(line) for line in self.lines]
        rows = [math.ceil(width / ROW) + bool(self.cuts) for width in widths]
        most = math.ceil((OTHER + MORE) / ROW) + bool(self.cuts)  # of a line beside
        tape = max(
            sum(rows[k] if k == i else min(rows[k], most) for k in self._beside(i))
            for i in range(len(rows))
        )
        number = ROW - 4  # a pane with the lines' numbers has less room
        lines = max(math.ceil(w / number) + len(self._near(i)) - 1 for i, w in enumerate(widths))
        top = max(tape, lines) * TALL
        record = max(map(_rows_of_record, self.records)) * TALL
        text = math.ceil(min(len(self.joined) + 1, 2 * LONG) / ROW) + self.joined.count("\n")
        bottom = max(record, text * TALL_TEXT)
        top, bottom = min(top, MOST * TALL), min(bottom, MOST * TALL)
        return f"--ll-top: {top}px; --ll-bottom: {bottom}px"

    def _near(self, i: int) -> range:
        """The lines to show around a line: as many as have room beside it."""
        around = 2 if len(self.lines[i]) <= NEAR else 1
        return range(max(0, i - around), min(len(self.lines), i + around + 1))

    def _beside(self, i: int) -> range:
        """The lines whose bytes are shown: one before, one after; with chunks, none after."""
        return range(max(0, i - 1), min(len(self.lines), i + (1 if self.cuts else 2)))

    def _tape(self, i: int) -> str:
        """The bytes, wrapped at each record."""
        rows = []
        for k in self._beside(i):
            shown = self._bytes_of_line(k, k == i)
            shown = f"<mark>{shown}</mark>" if k == i else shown
            rows.append(f"<div>{self._chunks_above(k)}{shown}</div>")
        return "".join(rows)

    def _chunks_above(self, k: int) -> str:
        """The numbers of the chunks that brought a line, in a row of their own above it."""
        if not self.cuts:
            return ""
        start, end = self.starts[k], self.starts[k + 1]
        begin = self.cuts[bisect_left(self.cuts, start) : bisect_left(self.cuts, end)]
        numbers = [f"chunk {bisect_right(self.cuts, cut) + 1:,}" for cut in begin]
        if begin[:1] != [start]:
            numbers.insert(0, f"chunk {bisect_right(self.cuts, start) + 1:,}")
        elif start:
            numbers[0] = f"{CUT}{numbers[0]}"
        shown = CUT.join(numbers) if len(numbers) <= 4 else f"chunks {self._chunk(k)}"
        return f'<small class="ll-chunks">{shown}</small>'

    def _bytes_of_line(self, k: int, now: bool) -> str:
        start, end = self.starts[k], self.starts[k + 1]
        first, last = _fragment_in(self.lines[k], self.fragments[k]) if now else (0, 0)
        marked, most = range(start + first, start + last), LONG_LINE if now else OTHER
        if end - start <= most:
            return self._bytes(start, end, marked)
        half = most // 2
        gap = f'<i class="ll-gap">{end - start - most:,} more bytes</i>'
        return self._bytes(start, start + half, marked) + gap + self._bytes(end - half, end, marked)

    def _bytes(self, start: int, end: int, marked: range) -> str:
        """A piece of a line, with its fragment marked, and a stroke where a chunk begins."""
        cuts = self.cuts[bisect_left(self.cuts, start) : bisect_left(self.cuts, end)]
        ends = (edge for edge in (marked.start, marked.stop) if start < edge < end)
        pieces = []
        for a, b in pairwise(sorted({start, end, *cuts, *ends})):
            if a in cuts:
                pieces.append(CUT)
            shown = _tape_of(self.content[a:b])
            pieces.append(_marked(shown) if a in marked else shown)
        return "".join(pieces)

    def _lines(self, i: int) -> str:
        rows = []
        for k in self._near(i):
            line = self.lines[k].rstrip(b"\r\n")
            first, last = _fragment_in(line, self.fragments[k])
            if k != i:
                shown = base.visible(_decoded(line[:OTHER]))
            elif len(line) > LONG_LINE or first == last:
                shown = base.visible(_middle_out(_decoded(line), LONG_LINE))
            else:
                before, inside, after = line[:first], line[first:last], line[last:]
                shown = base.visible(_decoded(before)) + _marked(base.visible(_decoded(inside)))
                shown += base.visible(_decoded(after))
            now = " ll-now" if k == i else ""
            shown = f"<mark>{shown}</mark>" if k == i else shown
            rows.append(
                f'<div class="ll-line{now}"><span>{k + 1:,}</span><span>{shown}</span></div>'
            )
        return "".join(rows)

    def _record_pane(self, i: int) -> str:
        record = self.records[i]
        if not isinstance(record, dict):
            return f'<p class="ll-trouble">This line is not a record: {base.escape(record)}</p>'
        items = list(record.items())
        more = f'<i class="ll-gap">{len(items) - 12:,} more keys</i>' if len(items) > 12 else ""
        return "".join(_item(key, value) for key, value in items[:12]) + more

    def _text_pane(self, i: int) -> str:
        start, end = self.ends[i], self.ends[i + 1]
        if not end:
            return '<i class="ll-gap">no text yet</i>'
        before = base.visible(self.joined[max(0, start - LONG) : start])
        fragment = base.visible(_middle_out(self.joined[start:end], LONG))
        more = f'<i class="ll-gap">{start - LONG:,} more characters</i>' if start > LONG else ""
        return f"{more}{before}{_marked(fragment) if fragment else ''}"


def _width(line: bytes) -> int:
    """About how many characters wide the current line is; a byte in a box is as wide as three."""
    shown = line[:LONG_LINE]
    more = MORE if len(line) > LONG_LINE else 0
    return len(shown) + 2 * sum(byte > 126 or byte < 32 for byte in shown) + more


def _rows_of_record(record: dict | str) -> int:
    """How many rows the keys of a record need, next to each other where there is room."""
    if not isinstance(record, dict):
        return 4
    rows, used = 1, 0
    for key, value in list(record.items())[:12]:
        width = len(_shown_key(key)) + len(_shown_value(key, value)) + 2
        if used and used + GAP + width > ROW:
            rows, used = rows + 1, 0
        used += width + (GAP if used else 0)
        rows, used = rows + used // ROW, used % ROW
    return rows


def _record(line: bytes) -> dict | str:
    """The record in a line, or why there is none."""
    try:
        return load_record(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return f"it is not UTF-8 ({error.reason})"
    except BadAnswer as error:
        return error.why or error.what


def _fragment(record: dict | str) -> str:
    try:
        return fragment_of(record) if isinstance(record, dict) else ""
    except LlamalabError:
        return ""


def _fragment_in(line: bytes, fragment: str) -> tuple[int, int]:
    """Where a line's fragment is written in it, without its quotes; (0, 0) if it has none.

    >>> _fragment_in(b'{"model":"m","response":"Yes"}', "Yes")
    (25, 28)
    """
    for match in STRING.finditer(line) if fragment else ():
        if json.loads(b'"%s"' % match[1], strict=False) == fragment:
            return match.span(1)
    return 0, 0


def _marked(shown: str) -> str:
    return f'<mark class="ll-fragment">{shown}</mark>'


def _decoded(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace")


def _pane(name: str, what: str, kind: str, content: str) -> str:
    head = f'<p class="ll-head">{name} <small>{base.escape(what)}</small></p>'
    label = base.escape(f"{name}: {what}")
    body = f'<div class="{kind}" tabindex="0">{content}</div>'  # keys scroll what has the focus
    return f'<div class="ll-pane" role="region" aria-label="{label}">{head}{body}</div>'


def _tape_of(data: bytes) -> str:
    """Bytes as one sees them: ASCII as it is, each other byte in its own box."""
    text = data.decode("utf-8", "surrogateescape")
    return re.sub(r"[^ -~]", _boxes, base.escape(text))


def _boxes(match: re.Match) -> str:
    character, escapes = match[0], {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
    if character in escapes:
        return f'<b class="ll-byte">{escapes[character]}</b>'
    data = character.encode("utf-8", "surrogateescape")
    boxes = "".join(f'<b class="ll-byte">{byte:02x}</b>' for byte in data)
    if len(data) == 1:
        return boxes
    return f'<i class="ll-char" title="{character} is {len(data)} bytes">{boxes}</i>'


def _item(key: str, value: Any) -> str:
    """One key of a record, in one row where it fits; the value with the text is marked."""
    shown = base.visible(_shown_value(key, value))
    if _carries_text(key, value):
        shown = _marked(shown)
    return f"<div>{base.visible(_shown_key(key))}: {shown}</div>"


def _carries_text(key: str, value: Any) -> bool:
    return key in ("response", "message", "error") and value not in ("", {})


def _shown_key(key: str) -> str:
    return _middle_out(_json(key), LONG_VALUE)


def _shown_value(key: str, value: Any) -> str:
    return _middle_out(_json(value), 200 if _carries_text(key, value) else LONG_VALUE)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _middle_out(text: str, width: int) -> str:
    half = width // 2
    return text if len(text) <= width else f"{text[:half]} … {text[-half:]}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
