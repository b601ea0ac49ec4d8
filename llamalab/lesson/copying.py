"""The student's copy of the lesson: made, brought up to date, never overwritten."""

import contextlib
import errno
import json
import secrets
import sys
import time
from collections.abc import Iterator
from datetime import date
from itertools import count
from pathlib import Path

from llamalab.errors import LlamalabError
from llamalab.lesson.pages import State, for_student, state_of

PACKAGED = Path(__file__).parent / "notebooks"  # the notebooks in an installed package
CHECKOUT = Path(__file__).parents[2] / "notebooks"  # the notebooks in a checkout
DEFAULT_FOLDER = "llama-lesson"
FIRST_PAGE = "00-start-here.ipynb"
FOR_INSTRUCTORS = "instructors.md"  # beside the chapters, but not in a student's copy
OTHER_FOLDER = "name another folder: llamalab lab FOLDER"
MANIFEST = ".llamalab.json"  # in the student's folder: when it was made, and what was copied
LEFT_BY_RUNNING = (".", "my_", "ask_", "chat", "__pycache__")
PART = ".llamalab-part-"  # in front of the name of what is being written there


def lesson_folder(folder: str | None = None) -> Path:
    """The folder to open, made if need be: the student's copy of the lesson."""
    with sentences(f"The lesson cannot be kept in {folder or DEFAULT_FOLDER}."):
        target = find_folder(folder)
        if lesson_source().resolve() in target.parents:
            raise OSError(
                errno.EINVAL, "the lesson itself is there, and would be copied into itself"
            )
        target.mkdir(parents=True, exist_ok=True)
    return target


def find_folder(folder: str | None = None) -> Path:
    """Where the student's copy is or will be: the same place each time.

    Without a name it is this folder, if it is a copy; else `llama-lesson`, in a checkout at its
    top and elsewhere in this folder.
    """
    if folder is not None:
        return Path(folder).expanduser().resolve()
    if is_copy(Path.cwd()):
        return Path.cwd().resolve()
    top = CHECKOUT.parent if lesson_source() == CHECKOUT else Path.cwd()
    return (top / DEFAULT_FOLDER).resolve()


def is_copy(folder: Path) -> bool:
    """Whether `llamalab` has made this folder; in a web page, all that there is."""
    return (folder / MANIFEST).is_file() or sys.platform == "emscripten"


def lesson_source() -> Path:
    """Where the lesson comes from: the installed package, or the checkout."""
    return PACKAGED if PACKAGED.is_dir() else CHECKOUT


def update_lesson(lesson: Path) -> None:
    """Bring the lesson into the student's folder; say once what could not take its own place."""
    if lesson == lesson_source().resolve():
        return
    with sentences(f"The lesson cannot be copied to {lesson}."):
        beside = copy_lesson(lesson_source(), lesson)
    if beside:
        print(f"Newer:  {', '.join(beside)} (put beside yours; nothing of yours is changed)")


@contextlib.contextmanager
def sentences(what: str) -> Iterator[None]:
    """Say an error of the disk in words."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: ~nobody, a link to itself
        why = getattr(error, "strerror", None) or str(error)
        where = getattr(error, "filename", None)
        full = getattr(error, "errno", None) == errno.ENOSPC
        if where and not full and PART not in str(where):  # of a full disk, it names the source
            why += f": {where}"
        raise LlamalabError(what, why, "make room there" if full else OTHER_FOLDER) from None


def copy_lesson(source: Path, target: Path) -> list[str]:
    """Copy what is new in the lesson; return what is new beside a file of the student's.

    The manifest tells whose a file is. A page with the text that was copied once makes way for a
    newer one, unless it was run: its outputs are the student's. Any other page is the student's,
    too, and the newer one gets the next free name.
    """
    target.mkdir(parents=True, exist_ok=True)
    known = read_manifest(target)
    copied, beside = dict(known), []
    names = lesson_files(source)
    sweep({(target / name).parent for name in names})
    for name in names:
        place, new = name, state_of(source / name).text
        if is_students(target / name, copied.get(name), new):
            if copied.get(name) == new:
                continue  # what the student has changed is the newest there is
            place = place_beside(target, name, copied, new)
            if copied.get(place) == new:
                continue  # it was put there before; the student uses it, or has deleted it
            beside.append(place)
        there = state_of(target / place)
        if there is None or there.text != new or is_earlier(there, copied.get(place)):
            put(for_student(source / name), target / place)
        copied[place] = new
    if copied != known or not is_copy(target):
        write_manifest(target, copied)
    return beside


def is_students(file: Path, copied: str | None, new: str) -> bool:
    """Whether a file holds work of the student's that the newer one would destroy."""
    there = state_of(file)
    if there is None or there.text == new or is_earlier(there, copied):
        return False
    return there.run or there.text != copied


def is_earlier(there: State, copied: str | None) -> bool:
    """Whether a page is as it was copied once with the lesson's outputs, and untouched since."""
    return copied is not None and there.earlier == copied


def place_beside(target: Path, name: str, copied: dict[str, str], new: str) -> str:
    """The name for a newer file beside the student's: "01-raw-bytes-new.ipynb", "...-new-2"."""
    for place in names_beside(name, "new"):
        if copied.get(place) == new or not is_students(target / place, copied.get(place), new):
            return place


def names_beside(name: str, word: str) -> Iterator[str]:
    """ "01-raw-bytes-WORD.ipynb", "01-raw-bytes-WORD-2.ipynb", and so on."""
    stem, dot, suffix = name.rpartition(".")
    for number in count(1):
        yield f"{stem}-{word}{f'-{number}' if number > 1 else ''}{dot}{suffix}"


def read_manifest(folder: Path) -> dict[str, str]:
    """What was copied: path within the lesson -> fingerprint; nothing where it cannot be read.

    An earlier manifest has these pairs alone, without the date.
    """
    try:
        manifest = dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
        return dict(manifest.get("files", manifest))
    except (OSError, ValueError, TypeError):
        return {}


def made_on(folder: Path) -> date | None:
    """The day on which a copy was made, where its manifest has it."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return date.fromisoformat(manifest["made"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_manifest(folder: Path, copied: dict[str, str]) -> None:
    made = made_on(folder) if is_copy(folder) else date.today()
    manifest = ({"made": made.isoformat()} if made else {}) | {"files": copied}
    with replacing(folder / MANIFEST) as part:
        part.write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def lesson_files(source: Path) -> list[str]:
    """The files for students, as "images/lesson.png"; not what running them leaves behind."""
    files = (path.relative_to(source) for path in source.rglob("*") if path.is_file())
    return sorted(
        path.as_posix()
        for path in files
        if path.name != FOR_INSTRUCTORS
        and not any(part.startswith(LEFT_BY_RUNNING) for part in path.parts)
    )


def put(content: bytes, target: Path) -> None:
    """Write a file; a reader sees the old one or the new one, never half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part:
        part.write_bytes(content)


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path to write to, which takes the target's place once all is written.

    Each call has its own: another `llamalab` may be writing to the same folder.
    """
    part = target.with_name(f"{PART}{secrets.token_hex(8)}")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def sweep(folders: set[Path]) -> None:
    """Remove what a killed copy left behind: not what is being written just now."""
    for left in (left for folder in folders for left in folder.glob(f"{PART}*")):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 3600:
                left.unlink()
