"""Plain English for readers who learn it: the habits that sound translated stay out."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A habit, and what says the same in plain English.
HABITS = {
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bwhoever\b": "anyone who",
    r"(?<!~)\bnobody\b": "no one, or another subject",
    r"\bbehind (it|the|them)\b": "after",
    r"(?<!present, )\b(hands?|handed|handing) out\b": "gives",
    r"\bof its own\b": "its own, or separate",
    r"(?<!there )\b(is|are|was) no (?!longer|more)[a-z]": "is not a",
    r"\banother one\b": "a different one, or a new one",
    r"\banew\b": "again",
    r"\bno harm\b": "safe",
}


def texts():
    """Each file with text for readers, and its lines as (place, line)."""
    code = sorted((ROOT / "llamalab").rglob("*.py"))
    pages = ("README.md", ".github/CONTRIBUTING.md", "notebooks/instructors.md")
    for file in [*code, *(ROOT / page for page in pages)]:
        yield file, list(enumerate(file.read_text(encoding="utf-8").splitlines(), 1))
    for file in sorted((ROOT / "notebooks").glob("0*.ipynb")):
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        sources = [
            (f"cell {i}", "".join(cell["source"]))
            for i, cell in enumerate(cells)
            if cell["cell_type"] == "markdown"
        ]
        yield file, [(i, line) for i, source in sources for line in source.splitlines()]


def habits_in(line):
    return [
        f"{found[0]!r}: better {better!r}"
        for habit, better in HABITS.items()
        if (found := re.search(habit, line, re.IGNORECASE))
    ]


@pytest.mark.parametrize(
    ("file", "lines"), [pytest.param(*text, id=str(text[0].relative_to(ROOT))) for text in texts()]
)
def test_the_english_is_plain(file, lines):
    assert [
        f"{file.relative_to(ROOT)}:{place}: {said}"
        for place, line in lines
        for said in habits_in(line)
    ] == []


def test_a_habit_is_found():
    assert habits_in("Whoever mends it") == [
        "'mends': better 'fix'",
        "'Whoever': better 'anyone who'",
    ]


def test_there_is_no_is_not_a_habit():
    assert habits_in("There is no server at that port, and it is no longer needed.") == []
