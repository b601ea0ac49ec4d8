"""The students' names: from a file, or numbers in place of names."""

import csv
import re
import unicodedata
from pathlib import Path

from llamalab.errors import LlamalabError

MOST = 500  # students in a class; nginx keeps them all in memory
LONGEST = 80  # characters of a name, so that it fits on its sheet
HEADER = re.compile(
    r"(the |full |first |last |family |given |sur|fore)?names?|student'?s?( name)?|students"
    r"|(vor|nach)?name|nom|prénom|nombre|apellidos?|nome|cognome",
    re.IGNORECASE,
)


def read(source: str) -> list[str]:
    """The names for `--students`: a number of students, or a file with a name on each line.

    The file is a list of names, or a table (CSV with commas, semicolons or tabs, as spreadsheets
    write it) whose first line says which column has them. Raises `LlamalabError` where it is not.

    >>> read("3")
    ['Student 1', 'Student 2', 'Student 3']
    """
    file = Path(source).expanduser()
    if source.strip().isdecimal() and not file.exists():
        return numbered(int(source))
    return checked(from_text(text_of(file), file.name), file.name)


def numbered(count: int) -> list[str]:
    if not 1 <= count <= MOST:
        raise LlamalabError(f"A class has 1 to {MOST} students here, not {count}.")
    return [f"Student {number}" for number in range(1, count + 1)]


def text_of(file: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with its mark (Excel's "Unicode text")."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise LlamalabError(
            f"The names in {file} cannot be read.",
            why=error.strerror or str(error),
            do="name a file with a student on each line, or say how many: --students 30",
        ) from None
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise LlamalabError(
            f"The names in {file.name} are not in UTF-8 (line {line}).",
            why="names with letters such as é would come out wrong",
            do="save it once more: in Excel as `CSV UTF-8`, in an editor with the encoding UTF-8",
        ) from None


def from_text(text: str, file: str) -> list[tuple[int, str]]:
    """Each name, and the line that it is in. Empty lines do not count."""
    rows = [(number, row) for number, row in table(text) if any(row)]
    if not rows:
        raise LlamalabError(f"There are no names in {file}.", do="write a student on each line")
    columns = [place for place, cell in enumerate(rows[0][1]) if HEADER.fullmatch(cell)]
    if columns:
        rows = rows[1:]
    else:
        widest = max(len(row) for _, row in rows)
        columns = list(range(widest))
        if widest > 2:  # two of them are a first name and a last name
            raise LlamalabError(
                f"It is not clear where the names are in {file}.",
                why=f"it has {widest} columns, and no line at the top that says what they are",
                do="write `name` at the top of the column with the names",
            )
    names = [(number, " ".join(cells(row, columns))) for number, row in rows]
    return [(number, name) for number, name in names if name]


def table(text: str) -> list[tuple[int, list[str]]]:
    """The rows of a table, each with the number of its last line."""
    lines = text.splitlines()
    marks = {mark: sum(mark in line for line in lines) for mark in ";\t,"}
    reader = csv.reader(lines, delimiter=max(marks, key=marks.__getitem__))
    return [(reader.line_num, [tidy(cell) for cell in row]) for row in reader]


def cells(row: list[str], columns: list[int]) -> list[str]:
    return [row[place] for place in columns if place < len(row) and row[place]]


def tidy(name: str) -> str:
    """A name with single spaces, and with each accent in one form."""
    shown = "".join(" " if unicodedata.category(c) in ("Cc", "Cf") else c for c in name)
    return " ".join(unicodedata.normalize("NFC", shown).split())


def same(name: str) -> str:
    """What two spellings of one name have in common."""
    return tidy(name).casefold()


def checked(found: list[tuple[int, str]], file: str) -> list[str]:
    """The names, if each is there once and fits on a sheet."""
    lines: dict[str, int] = {}
    for line, name in found:
        if name[0] in "=+-@":
            raise LlamalabError(
                f"The name in line {line} of {file} begins with {name[0]!r}.",
                why="a spreadsheet that opens the list of keys would calculate it",
                do="write the name without this sign",
            )
        if len(name) > LONGEST:
            raise LlamalabError(
                f"The name in line {line} of {file} has {len(name)} characters.",
                why=f"{LONGEST} fit on a sheet",
                do="see whether this file has a student on each line",
            )
        if (first := lines.setdefault(same(name), line)) != line:
            raise LlamalabError(
                f"{file} has the name {name!r} twice, in the lines {first} and {line}.",
                why="with the same name on two sheets, no one knows whose key is whose",
                do=f"remove one; or write it in another way, as in {name + ' B'!r}",
            )
    if not 1 <= len(found) <= MOST:
        raise LlamalabError(f"There are {len(found)} names in {file}; 1 to {MOST} are possible.")
    return [name for _, name in found]
