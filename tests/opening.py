"""Opening the lesson as a person does, through the command: for tests of what then happens."""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil  # comes with ipykernel
from patience import eventually

LLAMALAB = (sys.executable, "-m", "llamalab")


@dataclass
class Lesson:
    """A running `llamalab lab`: its process, the lines it has printed, the page's address."""

    process: subprocess.Popen
    lines: list[str]
    page: str


@contextlib.contextmanager
def opened(
    folder: Path,
    *llamalab: str,
    cwd: Path | None = None,
    more: Sequence[str] = (),
    **environment: str | None,
) -> Iterator[Lesson]:
    """Run `llamalab lab FOLDER --no-browser` until its page is there; end it with the test.

    Nobody's own Jupyter settings play in. `llamalab` are other words to run it with, `more` are
    more options; a variable that is None is not in its environment.
    """
    command = [*(llamalab or LLAMALAB), "lab", str(folder), "--no-browser", *more]
    own = {f"JUPYTER_{name}_DIR": str(folder.parent / name) for name in ("CONFIG", "DATA")}
    with running(command, cwd, **own | environment) as (process, lines):
        yield Lesson(process, lines, address_in("\n".join(lines)))


def need_ended(processes: Sequence[psutil.Process]) -> None:
    """Wait until the last of these processes has ended; a zombie has."""
    eventually(lambda: not any(map(runs, processes)))


def runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@dataclass
class Presentation:
    """A running `llamalab present`: its process, the lines it has printed, its two pages."""

    process: subprocess.Popen
    lines: list[str]
    projector: str
    speaker: str


@contextlib.contextmanager
def presented(chapter: str, *options: str, **environment: str | None) -> Iterator[Presentation]:
    """Run `llamalab present CHAPTER --no-browser` until its pages are there; end it with the test.

    A test's page can ask JupyterLab what it knows (`window.jupyterapp`).
    """
    exposed = {"LabApp": {"expose_app_in_browser": True}}
    with tempfile.TemporaryDirectory() as settings:
        (Path(settings) / "jupyter_server_config.json").write_text(json.dumps(exposed))
        known = {"JUPYTER_CONFIG_PATH": settings} | environment
        command = [*LLAMALAB, "present", chapter, "--no-browser", *options]
        with running(command, **known) as (process, lines):
            said = {line.partition(":")[0]: line for line in lines}
            pages = (address_in(said.get(name, "")) for name in ("Projector", "Speaker"))
            yield Presentation(process, lines, *pages)


@contextlib.contextmanager
def running(
    command: list[str], cwd: Path | None = None, **environment: str | None
) -> Iterator[tuple[subprocess.Popen, list[str]]]:
    """Run a command until it says how to stop it; its process, and the lines it has printed."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    known = {key: value for key, value in (os.environ | environment).items() if value}
    process = subprocess.Popen(command, env=known, cwd=cwd, encoding="utf-8", **pipes)
    try:
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if line.startswith("Stop:"):
                break
        assert lines, process.stderr.read()
        assert lines[-1].startswith("Stop:"), "\n".join(lines) + process.stderr.read()
        yield process, lines
    finally:
        process.terminate()
        process.communicate()


def address_in(text: str) -> str:
    """The address of a page, its key (token) included."""
    found = re.search(r"http://127\.0\.0\.1:\d+/\S*token=\w+", text)
    assert found, text
    return found[0]
