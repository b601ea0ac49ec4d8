"""The page for instructors, notebooks/instructors.md: hand-written, with places that are filled.

    uv run python -m llamalab.classroom.instructors

fills each place again from the notebooks' metadata: the plans, the chapters, the version to cite.
A place is between two comments, which a reader does not see:

    <!-- from the notebooks: plans -->
    ...
    <!-- end -->

The text around the places is changed in the page itself.
"""

import re
from collections.abc import Callable

from llamalab import __version__
from llamalab.classroom.sections import (
    Section,
    TaughtChapter,
    exercising,
    taught_chapters,
    teaching,
)
from llamalab.lesson.copying import FOR_INSTRUCTORS, lesson_source

PLANS = {45: 0, 90: 0, 180: 15}  # minutes -> the minutes of its break
BREAK_BEFORE = "05"  # the chapter that a break comes before
PLACE = re.compile(r"(<!-- from the notebooks: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(text: str) -> str:
    """A page with its places filled."""
    chapters = taught_chapters()
    return PLACE.sub(lambda found: f"{found[1]}\n{PLACES[found[2]](chapters)}\n{found[3]}", text)


# The plans ------------------------------------------------------------------------------------


def plans(chapters: list[TaughtChapter]) -> str:
    return "\n".join(plan(minutes, chapters) for minutes in PLANS)


def plan(minutes: int, chapters: list[TaughtChapter]) -> str:
    """One plan as a table: when each chapter starts, and which of its sections are taught."""
    rows, clock, all_sections = [], 0, []
    for chapter in chapters:
        sections = [section for section in chapter.sections if section.is_in(minutes)]
        if not sections:
            continue
        if pause := pause_before(chapter.number, minutes):
            rows.append(row(clock, f"Break: {pause} minutes", "", "", ""))
            clock += pause
        taught = f"**{chapter.number} {chapter.title}:** {titles_of(sections)}"
        times = teaching(sections), exercising(sections)
        rows.append(row(clock, taught, *times, what_to_leave_out(sections)))
        clock += sum(section.minutes for section in sections)
        all_sections += sections
    left = minutes - clock
    rows.append(row(clock, f"Questions, and what took longer: {left} minutes", "", "", ""))
    rows.append(row(minutes, "**End**", teaching(all_sections), exercising(all_sections), ""))
    head = row("from minute", "chapter and sections", "teaching", "exercises", "if late, leave out")
    return "\n".join([f"### {minutes} minutes", "", head, "|---|---|---|---|---|", *rows, ""])


def pause_before(chapter: str, plan: int | None) -> int:
    """The minutes of the break before a chapter.

    >>> pause_before("05", 180), pause_before("04", 180), pause_before("05", None)
    (15, 0, 0)
    """
    return PLANS.get(plan, 0) if chapter == BREAK_BEFORE else 0


def titles_of(sections: list[Section]) -> str:
    """The titles of what is taught; each chapter has its summary, which takes no time."""
    return "; ".join(section.title for section in sections if section.minutes)


def what_to_leave_out(sections: list[Section]) -> str:
    return "; ".join(
        f"{section.title} ({section.minutes})" for section in sections if section.leave_out
    )


# The chapters ---------------------------------------------------------------------------------

LISTS = {
    "questions": "Questions",
    "objectives": "Objectives",
    "key_points": "Key points",
    "misconceptions": "Misconceptions",
}


def about_chapters(chapters: list[TaughtChapter]) -> str:
    return "\n".join(map(about_chapter, chapters))


def about_chapter(chapter: TaughtChapter) -> str:
    """One chapter: what it teaches, what students ask, and the notes for each of its sections."""
    minutes = f"{teaching(chapter.sections)} minutes, and {exercising(chapter.sections)} for the"
    needs = ", ".join(chapter.lesson["needs"]) or "nothing"
    lines = [f"### {chapter.number} {chapter.title}", "", f"{minutes} exercises. Needs: {needs}."]
    for key, title in LISTS.items():
        lines += ["", f"**{title}:**", "", *(f"- {text}" for text in chapter.lesson[key])]
    lines += ["", "**What students ask:**", ""]
    lines += [f"- *{asked['question']}* {asked['answer']}" for asked in chapter.lesson[ASKED]]
    lines += ["", row("min", "section", "plan", "say or do", "if it goes wrong")]
    lines += ["|---|---|---|---|---|", *map(about_section, chapter.sections), ""]
    return "\n".join(lines)


ASKED = "students_ask"


def about_section(section: Section) -> str:
    title = f"{section.title} \\*" if section.leave_out else section.title
    plan = section.plan or "–"
    say = " ".join([section.say, *(f"*Right: {answer}.*" for answer in section.guesses)])
    return row(section.minutes, title, plan, say, section.if_it_fails)


def row(*cells: object) -> str:
    """A row of a table in Markdown.

    >>> row(3, "with the | between")
    '| 3 | with the \\\\| between |'
    """
    return "| " + " | ".join(f"{cell}".replace("|", "\\|") for cell in cells) + " |"


# To cite --------------------------------------------------------------------------------------


def citation(chapters: list[TaughtChapter]) -> str:
    return (
        "> The llamalab authors (2026). *llamalab: how a large language model talks over the "
        f"wire.* A Jupyter lesson in {len(chapters)} chapters, version {__version__}. "
        "MIT licence.\n"
    )


PLACES: dict[str, Callable[[list[TaughtChapter]], str]] = {
    "plans": plans,
    "chapters": about_chapters,
    "citation": citation,
}


def main() -> None:
    page = lesson_source() / FOR_INSTRUCTORS
    text = page.read_text(encoding="utf-8")
    filled = fill(text)
    page.write_text(filled, encoding="utf-8", newline="\n")
    print(f"{'unchanged' if filled == text else 'stored':10} {page.name}")


if __name__ == "__main__":
    main()
