"""The sections of the chapters, with what an instructor needs to know about each of them.

It is kept once, in the notebooks: a text cell that starts a section has the key `speaker` in its
metadata, and a notebook has the key `lesson`. All minutes and plans are added up from there.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from llamalab.exercises.guesses import GUESSES
from llamalab.lesson.copying import lesson_source
from llamalab.lesson.progress import chapter_files

OPENING = "Opening"  # the section that has the chapter's title


@dataclass(frozen=True)
class Section:
    """A section of a chapter: its minutes in the room, and the notes for the speaker.

    `plan` is the shortest plan in which the section is taught (45, 90 or 180 minutes), None where
    no plan has it. `leave_out` says that it can be left out when time is short. `guesses` are the
    right answers to what the section lets students guess, such as "c, an error".
    """

    title: str
    minutes: int
    say: str
    if_it_fails: str
    plan: int | None = None
    leave_out: bool = False
    guesses: tuple[str, ...] = ()

    @property
    def is_exercise(self) -> bool:
        return self.title.startswith("Exercise")

    def is_in(self, plan: int) -> bool:
        return self.plan is not None and self.plan <= plan


@dataclass(frozen=True)
class TaughtChapter:
    """A chapter as it is taught. `lesson` has its questions, objectives and the like."""

    number: str
    title: str
    sections: list[Section]
    lesson: dict


def taught_chapters() -> list[TaughtChapter]:
    """All chapters with their sections, in order.

    >>> taught_chapters()[2].sections[-2].title
    'Exercise: split_lines'
    """
    return [read_chapter(file) for file in chapter_files()]


def read_chapter(file: str) -> TaughtChapter:
    page = json.loads((lesson_source() / file).read_text(encoding="utf-8"))
    parts: list[list[dict]] = []
    for cell in page["cells"]:
        if "speaker" in cell["metadata"]:
            parts.append([])
        parts[-1].append(cell)
    title, *titles = (title_of("".join(cells[0]["source"])) for cells in parts)
    sections = [
        Section(name, **cells[0]["metadata"]["speaker"], guesses=guesses_in(cells))
        for name, cells in zip([OPENING, *titles], parts, strict=True)
    ]
    return TaughtChapter(file[:2], title, sections, page["metadata"]["lesson"])


def guesses_in(cells: Iterable[dict]) -> tuple[str, ...]:
    """The right answers to what these cells let a student guess."""
    texts = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    names = (name for text in texts for name in re.findall(r'llamalab\.check\("(.+?)"', text))
    return tuple(GUESSES[name].answer() for name in names if name in GUESSES)


def title_of(text: str) -> str:
    """The heading that starts a text.

    >>> title_of("## The loop\\n\\nprint adds nothing.")
    'The loop'
    """
    return re.match(r"#+ (.+)", text)[1]


def teaching(sections: Iterable[Section]) -> int:
    """The minutes of the sections that are not exercises."""
    return sum(section.minutes for section in sections if not section.is_exercise)


def exercising(sections: Iterable[Section]) -> int:
    """The minutes of the exercises."""
    return sum(section.minutes for section in sections if section.is_exercise)
