"""A fresh chapter in the student's copy, not done yet; the old one stays beside it."""

import os
import re
from pathlib import Path

from llamalab.errors import LlamalabError
from llamalab.lesson.copying import (
    find_folder,
    is_copy,
    lesson_source,
    names_beside,
    put,
    read_manifest,
    sentences,
    write_manifest,
)
from llamalab.lesson.pages import for_student, state_of
from llamalab.lesson.progress import begin_again, chapter_files


def reset(chapter: str, folder: str | None = None) -> str:
    """Put a fresh chapter in its place; returns the sentences that say what was done.

    `chapter` is "4", "04", "04-join-fragments" or "04-join-fragments.ipynb". Raises
    `LlamalabError` for anything else, and where there is no copy of the lesson.
    """
    name = chapter_named(chapter)
    lesson = find_folder(folder)
    if not is_copy(lesson):
        raise LlamalabError(
            f"There is no copy of the lesson in {lesson}.",
            do=f"llamalab lab {folder}" if folder else "llamalab",
        )
    with sentences(f"{name} cannot be reset in {lesson}."):
        kept = put_fresh(name, lesson)
    undone = " Its exercises are open again." if begin_again(lesson, name) else ""
    if kept is None:
        return f"{name} is fresh already.{undone}"
    yours = f" Your old one is {kept} now." if kept else ""
    return (
        f"{name} is fresh again.{undone}{yours}\n"
        "Is it open in JupyterLab? Choose File > Reload Notebook from Disk there."
    )


def chapter_named(chapter: str) -> str:
    """The file name of a chapter, however it was typed."""
    files = chapter_files()
    typed = Path(chapter).name
    number = f"{int(typed):02}" if re.fullmatch(r"[0-9]{1,2}", typed) else None
    for name in files:
        if typed in (name, name.removesuffix(".ipynb")) or number == name[:2]:
            return name
    last = files[-1][:2]
    raise LlamalabError(f"There is no chapter {chapter!r}: the chapters are 00 to {last}.")


def put_fresh(name: str, lesson: Path) -> str | None:
    """Put a fresh page into the copy.

    Returns the new name of the old page: "" if there was none, None if it is fresh already.
    """
    source, page = lesson_source() / name, lesson / name
    there, new = state_of(page), state_of(source).text
    if there and there.text == new and not there.run:
        return None
    kept = ""
    if there:
        kept = next(old for old in names_beside(name, "old") if not os.path.lexists(lesson / old))
        page.rename(lesson / kept)
    put(for_student(source), page)
    write_manifest(lesson, read_manifest(lesson) | {name: new})
    return kept
