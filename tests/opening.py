"""Opening the lesson as a person does, through the command: for tests of what then happens."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


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
    llamalab = llamalab or (sys.executable, "-m", "llamalab")
    command = [*llamalab, "lab", str(folder), "--no-browser", *more]
    own = {f"JUPYTER_{name}_DIR": str(folder.parent / name) for name in ("CONFIG", "DATA")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    known = {key: value for key, value in (os.environ | own | environment).items() if value}
    process = subprocess.Popen(command, env=known, cwd=cwd, encoding="utf-8", **pipes)
    try:
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if line.startswith("Stop:"):
                break
        page = re.search(r"http://127\.0\.0\.1:\d+/\S*token=\w+", "\n".join(lines))
        assert page, "\n".join(lines) + process.stderr.read()
        yield Lesson(process, lines, page[0])
    finally:
        process.terminate()
        process.communicate()
