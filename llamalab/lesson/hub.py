"""On a JupyterHub, a student has a JupyterLab already: the lesson's page opens there."""

import os
from pathlib import Path
from urllib.parse import quote

from llamalab import find
from llamalab.errors import LlamalabError
from llamalab.lesson.copying import FIRST_PAGE, lesson_folder, update_lesson
from llamalab.lesson.progress import about, next_chapter


def is_here() -> bool:
    """Whether this runs in a server that a JupyterHub has started for a student."""
    return bool(os.environ.get("JUPYTERHUB_SERVICE_PREFIX"))


def open_there(folder: str | None = None) -> int:
    """Copy the lesson, and say where its page is on the hub; returns the exit code.

    The hub tells its address only where its `public_url` is set; else the page's path is said.
    Raises `ServerNotFound` where OLLAMA_HOST names a server that does not answer, and
    `LlamalabError` for a folder that the hub does not show.
    """
    lesson = lesson_folder(folder)
    path = path_on_hub(lesson)
    if os.environ.get("OLLAMA_HOST", "").strip() or find.present():
        find.server()
    else:
        print("Server: none yet; the first cell of a chapter starts one")
    print(f"Lesson: {lesson} ({about(lesson)})", flush=True)
    update_lesson(lesson)
    chapter = next_chapter(lesson)
    page = f"lab/tree/{quote(f'{path}/{chapter.file if chapter else FIRST_PAGE}'.lstrip('./'))}"
    hub = os.environ.get("JUPYTERHUB_PUBLIC_URL")
    if hub:
        print(f"Page:   {hub.rstrip('/')}/{page}   <- open this in your browser")
    else:
        prefix = os.environ["JUPYTERHUB_SERVICE_PREFIX"]
        print(f"Page:   {prefix}{page}   <- open this after the hub's address")
    return 0


def path_on_hub(lesson: Path) -> str:
    """Where a folder is among the files that the student's JupyterLab shows."""
    root = Path(os.environ.get("JUPYTERHUB_ROOT_DIR") or Path.home()).expanduser().resolve()
    try:
        return lesson.relative_to(root).as_posix()
    except ValueError:
        raise LlamalabError(
            f"The hub does not show the folder {lesson}.",
            why=f"it shows what is in {root}",
            do=f"llamalab lab {root / 'llama-lesson'}",
        ) from None
