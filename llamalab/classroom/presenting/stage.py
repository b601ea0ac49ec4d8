"""`llamalab present`: a temporary copy of the lesson, two servers, JupyterLab, two windows.

The projector's window is JupyterLab itself with a small extension, `labextensions/`, written by
hand: there is nothing to build. The extension shows one section, and tells the speaker's page
where it is. That page is a file on the same server. Both must be in the same browser, because
they talk there (BroadcastChannel): no note passes over any network.
"""

import contextlib
import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from llamalab.classroom.instructors import pause_before
from llamalab.classroom.presenting import kernel
from llamalab.classroom.sections import read_chapter
from llamalab.errors import ServerNotFound
from llamalab.lesson.copying import lesson_files, lesson_source, sentences
from llamalab.lesson.jupyterlab import (
    JupyterLab,
    a_server,
    end_like_ctrl_c,
    go_on_alone,
    need_free,
    open_page,
)
from llamalab.lesson.pages import for_student
from llamalab.lesson.progress import chapter_files
from llamalab.lesson.reset import chapter_named
from llamalab.standin.answers.local_model import local_model
from llamalab.standin.run import BuiltinServer

HERE = Path(__file__).parent
EXTENSIONS = HERE / "labextensions"
SETTINGS = HERE / "settings"
STORED = "stored"  # in the copy: the chapters with their outputs, and what they are called
SPEAKER = "lab/extensions/llamalab-present/static/speaker.html"
FOR_EACH_PYTHON = "from llamalab.classroom.presenting.kernel import prepare\n\nprepare()\n"


def present(
    chapter: str | None = None,
    port: int | None = None,
    browser: bool = True,
    plan: int | None = None,
) -> int:
    """Present a chapter and stay until Ctrl-C; returns the exit code.

    `chapter` is "4", "04" or its file's name; None is the first one. `plan` is 45, 90 or 180
    (minutes); None has all sections. Raises `LlamalabError` for any other chapter, and where the
    port cannot be had.
    """
    end_like_ctrl_c()
    page = chapter_named(chapter or chapter_files()[0])
    try:
        if port:
            need_free(port, "present")
        with two_servers() as (live, recordings), temporary_copy(plan) as folder:
            variables = environment(folder, live, recordings)
            options = [f"--LabApp.extra_labextensions_path={EXTENSIONS}"]
            with JupyterLab(folder / "lesson", live, port, options, variables) as lab:
                show(lab.address(f"lab/tree/{page}"), lab.address(SPEAKER), browser)
                code = lab.wait(meanwhile=go_on_alone)
    except KeyboardInterrupt:
        code = 0
        print()  # the terminal has shown ^C
    print("Stopped. The temporary copy is removed.", flush=True)
    return code


@contextlib.contextmanager
def two_servers() -> Iterator[tuple[str, str]]:
    """The addresses of the server that the chapter asks, and of a spare one with the recordings."""
    with contextlib.ExitStack() as running:
        spare = running.enter_context(BuiltinServer.start(engine=local_model()))
        try:
            live = running.enter_context(a_server())
        except ServerNotFound as error:
            print(f"{error}\nServer: {spare.url} (the recordings, instead)")
            live = spare.url
        print(f"Spare:  {spare.url} (the recordings; press r on the speaker's page)", flush=True)
        yield live, spare.url


@contextlib.contextmanager
def temporary_copy(plan: int | None = None) -> Iterator[Path]:
    """A folder that is gone afterwards, with the lesson in `lesson/`."""
    options = {"prefix": "llamalab-present-", "ignore_cleanup_errors": True}
    with contextlib.ExitStack() as kept:
        with sentences("The lesson cannot be copied for the projector."):
            folder = kept.enter_context(tempfile.TemporaryDirectory(**options))
            copy_lesson(Path(folder).resolve() / "lesson", plan)
        yield Path(folder).resolve()


def copy_lesson(target: Path, plan: int | None = None) -> None:
    """The lesson without outputs, and in `stored/` the chapters as they are."""
    source = lesson_source()
    for name in lesson_files(source):
        file = target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(for_student(source / name))
    (target / STORED).mkdir()
    for name in chapter_files():
        (target / STORED / name).write_bytes((source / name).read_bytes())
    times = {"plan": plan, "chapters": [about(name, plan) for name in chapter_files()]}
    (target / STORED / "chapters.json").write_text(json.dumps(times), encoding="utf-8")


def about(file: str, plan: int | None = None) -> dict:
    """A chapter's path, title and minutes in a plan, for the speaker's page.

    `taught` says of each section whether the plan has it, `guesses` what is right of its guesses;
    `pause` are the minutes of the break before the chapter.
    """
    chapter = read_chapter(file)
    taught = [plan is None or section.is_in(plan) for section in chapter.sections]
    minutes = [section.minutes for section in chapter.sections]
    return {
        "path": file,
        "title": chapter.title,
        "minutes": sum(itertools.compress(minutes, taught)),
        "taught": taught,
        "guesses": [section.guesses for section in chapter.sections],
        "pause": pause_before(chapter.number, plan),
    }


def environment(folder: Path, live: str, recordings: str) -> dict[str, str]:
    """What JupyterLab and its kernels get to know; the user's own settings play no part.

    No setting, no workspace and no history of the user's is read or changed.
    """
    each_python = folder / "python"
    each_python.mkdir()
    (each_python / "sitecustomize.py").write_text(FOR_EACH_PYTHON, encoding="utf-8")
    return {
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_CONFIG_PATH": paths(SETTINGS, os.environ.get("JUPYTER_CONFIG_PATH")),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONPATH": paths(each_python, os.environ.get("PYTHONPATH")),
        kernel.LIVE: live,
        kernel.RECORDINGS: recordings,
        kernel.SWITCH: str(folder / "recordings-in-use"),
    }


def paths(first: Path, others: str | None) -> str:
    """A list of folders, ours first."""
    return os.pathsep.join(filter(None, [str(first), others]))


def show(projector: str, speaker: str, browser: bool) -> None:
    """Open both windows, and say where they are in any case."""
    opened = browser and open_page(projector) and open_page(speaker, new_window=True)
    print(f"Projector: {projector}\nSpeaker:   {speaker}")
    print(
        "Both in the same browser"
        + ("; drag the first one" if opened else ": open them, put the first one")
        + " on the projector, and press F11 there."
    )
    print("Stop:   Ctrl-C", flush=True)
