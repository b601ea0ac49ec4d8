"""What the student has done so far: the chapters with a tick, and where to continue.

It is kept beside the copy of the lesson that `llamalab` made, and only there: in the repository
nothing is remembered, so that its notebooks print the same each time.
"""

import contextlib
import json
import re
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from llamalab.lesson.copying import DEFAULT_FOLDER, is_copy, lesson_source, made_on
from llamalab.lesson.pages import notebook

# One line for each exercise that was solved ("exercise"), or that begins again ("again").
NOTES = ".llamalab-progress.ndjson"


@dataclass(frozen=True)
class Chapter:
    """A chapter of the lesson; it is done when all its `exercises` are."""

    file: str
    title: str
    exercises: tuple[str, ...]

    @property
    def number(self) -> str:
        return self.file[:2]


def progress() -> None:
    """Print the chapters, with a tick at each one you have finished, and where to continue.

    A chapter is finished when `check` has said OK to each of its exercises.
    """
    here = Path.cwd()
    print(overview(here if is_copy(here) else here / DEFAULT_FOLDER))


def remember(exercise: str) -> None:
    """Note that `check` has said OK to an exercise, if this folder is a copy of the lesson."""
    here = Path.cwd()
    if is_copy(here) and exercise not in solved(here):
        note(here, "exercise", exercise)


def begin_again(lesson: Path, name: str) -> bool:
    """Take the ticks of a chapter (its file's name) away; says whether it had any."""
    had = solved(lesson).intersection(read_chapter(lesson_source() / name).exercises)
    for exercise in sorted(had):
        note(lesson, "again", exercise)
    return bool(had)


def note(lesson: Path, what: str, exercise: str) -> None:
    line = json.dumps({what: exercise, "on": date.today().isoformat()})
    with contextlib.suppress(OSError), (lesson / NOTES).open("a", encoding="utf-8") as notes:
        notes.write(line + "\n")


def overview(lesson: Path) -> str:
    """The chapters with their ticks, one a line, and a last line that says what is next."""
    done = solved(lesson)
    lines = []
    for chapter in chapters():
        right = len(done.intersection(chapter.exercises))
        ticked = right == len(chapter.exercises)
        part = f"  ({right} of {len(chapter.exercises)} exercises)" if right and not ticked else ""
        lines.append(f"{tick() if ticked else ' '} {chapter.number}  {chapter.title}{part}")
    if is_copy(lesson):
        lines.append(f"{what_is_next(lesson).capitalize()}.")
    else:
        lines.append("Start at 00. The ticks are kept in the copy that the command llamalab opens.")
    return "\n".join(lines)


def tick() -> str:
    """A tick, or an x where the output cannot show one."""
    try:
        "✔".encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return "x"
    return "✔"


def about(lesson: Path) -> str:
    """What the command line says of the folder it opens: from when it is, and what is next."""
    if lesson == lesson_source().resolve():
        return "the lesson itself, not a copy"
    if not is_copy(lesson):
        return "your own copy, new"
    day = made_on(lesson)
    return f"your copy{f' from {day.day} {day:%B %Y}' if day else ''}; {what_is_next(lesson)}"


def what_is_next(lesson: Path) -> str:
    """Where to continue, in a few words.

    >>> what_is_next(Path("a-new-copy"))
    'start at 00'
    """
    chapter, done = next_chapter(lesson), solved(lesson)
    if chapter is None:
        return "all chapters are done"
    return f"{'continue' if done else 'start'} at {chapter.number}"


def next_chapter(lesson: Path) -> Chapter | None:
    """The first chapter with an exercise that is not solved; None after the last one."""
    done = solved(lesson)
    return next((chapter for chapter in chapters() if not done >= set(chapter.exercises)), None)


def solved(lesson: Path) -> set[str]:
    """The names of the exercises that were solved in a copy, since their chapter's last reset."""
    names = set()
    with contextlib.suppress(OSError):
        for line in (lesson / NOTES).read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # half a line, after a crash
                known = json.loads(line)
                if "again" in known:
                    names.discard(known["again"])
                else:
                    names.add(str(known["exercise"]))
    return names


def chapter_files() -> list[str]:
    """The chapters' file names, in order."""
    return sorted(page.name for page in lesson_source().glob("[0-9][0-9]-*.ipynb"))


def chapters() -> list[Chapter]:
    """The chapters with their titles and exercises, as the lesson itself has them.

    >>> print(chapters()[2].exercises)
    ('split_lines',)
    """
    return [read_chapter(lesson_source() / name) for name in chapter_files()]


def read_chapter(file: Path) -> Chapter:
    """A chapter's title is its first heading; its exercises are what its cells `check`.

    A guess is not an exercise: its name starts with the chapter's number ("02-how-many").
    """
    page = notebook(file, file.read_bytes())
    if page is None:  # damaged: it has no exercises
        return Chapter(file.name, file.stem, ())
    text, code = (
        "\n".join("".join(cell["source"]) for cell in page["cells"] if cell["cell_type"] == kind)
        for kind in ("markdown", "code")
    )
    title = re.search(r"^# (.+)$", text, flags=re.M)
    names = re.findall(r"\bcheck\(\s*[\"']([A-Za-z]\w*)[\"']", code)
    return Chapter(file.name, title[1] if title else file.stem, tuple(dict.fromkeys(names)))
