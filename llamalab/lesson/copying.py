"""The student's copy of the lesson: made, brought up to date, never overwritten."""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from llamalab.errors import LlamalabError

PACKAGED = Path(__file__).parent / "notebooks"  # the notebooks in an installed package
CHECKOUT = Path(__file__).parents[2] / "notebooks"  # the notebooks in a checkout
DEFAULT_FOLDER = "llama-lesson"
FIRST_PAGE = "00-start-here.ipynb"
OTHER_FOLDER = "name another folder: llamalab lab FOLDER"
MANIFEST = ".llamalab.json"  # in the student's folder: what was copied, as fingerprints
PART = ".llamalab-part-"  # in front of the name of what is being written there


def lesson_folder(folder: str | None = None) -> Path:
    """The folder to open: a checkout's own notebooks, or the student's, made if need be."""
    if folder is None and lesson_source() == CHECKOUT:
        return CHECKOUT
    with sentences(f"The lesson cannot be kept in {folder or DEFAULT_FOLDER}."):
        target = Path(folder or DEFAULT_FOLDER).expanduser().resolve()
        if lesson_source().resolve() in target.parents:
            raise OSError(
                errno.EINVAL, "the lesson itself is there, and would be copied into itself"
            )
        target.mkdir(parents=True, exist_ok=True)
    return target


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
    """Whatever a disk has against a folder, in words."""
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

    The manifest tells whose a file is: one that is still what was copied once is an older lesson
    and makes way; any other is the student's, and the newer one gets the next free name.
    """
    target.mkdir(parents=True, exist_ok=True)
    known = read_manifest(target / MANIFEST)
    copied, beside = dict(known), []
    names = lesson_files(source)
    sweep({(target / name).parent for name in names})
    for name in names:
        new = fingerprint(source / name)
        if is_students(target / name, copied.get(name), new):
            if copied.get(name) == new:
                continue  # what the student has changed is the newest there is
            place = place_beside(target, name, copied, new)
            if copied.get(place) == new:
                continue  # it has come before; now it is the student's, or was thrown away
            beside.append(place)
        else:
            place = name
        if content_of(target / place) != new:
            put(source / name, target / place)
        copied[place] = new
    if copied != known:
        with replacing(target / MANIFEST) as part:
            part.write_text(json.dumps(copied, indent=1), encoding="utf-8")
    return beside


def is_students(file: Path, copied: str | None, new: str) -> bool:
    """Whether a file is there that is neither what was copied once nor what would be now."""
    return content_of(file) not in (None, copied, new)


def place_beside(target: Path, name: str, copied: dict[str, str], new: str) -> str:
    """The name for a newer file beside the student's: "01-raw-bytes-new.ipynb", "...-new-2"."""
    stem, dot, suffix = name.rpartition(".")
    for number in count(1):
        place = f"{stem}-new{f'-{number}' if number > 1 else ''}{dot}{suffix}"
        if copied.get(place) == new or not is_students(target / place, copied.get(place), new):
            return place


def content_of(file: Path) -> str | None:
    """A file's fingerprint; None where nothing has that name."""
    try:
        return fingerprint(file)
    except OSError:  # a folder, a link that leads nowhere, a file that is not for us: not ours
        return "not to be read" if os.path.lexists(file) else None


def read_manifest(manifest: Path) -> dict[str, str]:
    """What was copied: path within the lesson -> fingerprint; nothing where it cannot be read."""
    try:
        return dict(json.loads(manifest.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def lesson_files(source: Path) -> list[str]:
    """The lesson's files, as "images/lesson.png"; not what running it leaves behind."""
    files = (path.relative_to(source) for path in source.rglob("*") if path.is_file())
    return sorted(
        path.as_posix()
        for path in files
        if not any(part.startswith((".", "my_", "__pycache__")) for part in path.parts)
    )


def put(source: Path, target: Path) -> None:
    """Copy a file; whoever looks sees the old one or the new one, never half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part:
        shutil.copyfile(source, part)


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path to write to, which takes the target's place once all is written.

    Of one's own: another `llamalab` may be writing to the same folder.
    """
    part = target.with_name(f"{PART}{secrets.token_hex(8)}")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def sweep(folders: set[Path]) -> None:
    """Remove what a copy left behind that was killed: not what is being written just now."""
    for left in (left for folder in folders for left in folder.glob(f"{PART}*")):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 3600:
                left.unlink()


def fingerprint(path: Path) -> str:
    """The sha256 of what a person would call the file's content.

    For a notebook its cells, outputs included: JupyterLab writes the kernel's version into the
    rest as soon as one looks at a page.
    """
    content = path.read_bytes()
    if path.suffix == ".ipynb":
        with contextlib.suppress(ValueError, KeyError, TypeError):
            content = json.dumps(json.loads(content)["cells"], sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()
