"""One page of the lesson: how a student gets it, and what tells a student's work from ours.

The repository's notebooks show their outputs. A student guesses first and runs then, so the
student's copy has no outputs and no execution counts, and its text cells are locked.
"""

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

# What of a cell's metadata belongs to the lesson. JupyterLab writes other keys by itself.
OURS = ("slideshow", "speaker", "tags")
# nbformat: a cell with these two can be neither changed nor deleted by accident.
LOCKED = {"editable": False, "deletable": False}


@dataclass(frozen=True)
class State:
    """What is in a file: `text` as a fingerprint, and whether cells of it were `run`.

    `earlier` is a notebook's fingerprint with outputs: manifests had it while copies had outputs.
    """

    text: str
    run: bool = False
    earlier: str = ""


def for_student(source: Path) -> bytes:
    """A file as a student gets it: a notebook without outputs, its text locked; others as is."""
    content = source.read_bytes()
    page = notebook(source, content)
    if page is None:
        return content
    for cell in page["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
        elif cell["cell_type"] == "markdown":
            cell["metadata"] = cell.get("metadata", {}) | LOCKED
    return (json.dumps(page, indent=1, ensure_ascii=False) + "\n").encode()


def state_of(file: Path) -> State | None:
    """What is in a file; None where nothing has that name."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:  # to look again would find what another process puts there now
        return State("cannot be read") if os.path.islink(file) else None
    except OSError:  # a folder, a file without permission: not ours
        return State("cannot be read") if os.path.lexists(file) else None
    page = notebook(file, content)
    if page is None:
        return State(sha256(content))
    cells = page["cells"]
    return State(
        text=sha256(json.dumps([text_of(cell) for cell in cells], sort_keys=True).encode()),
        run=any(cell.get("outputs") or cell.get("execution_count") for cell in cells),
        earlier=sha256(json.dumps(cells, sort_keys=True).encode()),
    )


def text_of(cell: dict) -> list:
    """What the lesson's author wrote into a cell: not its outputs, not what JupyterLab notes."""
    ours = {key: value for key, value in cell.get("metadata", {}).items() if key in OURS}
    pictures = cell.get("attachments") or {}
    return [cell["cell_type"], "".join(cell["source"]), ours, pictures]


def notebook(file: Path, content: bytes) -> dict | None:
    """A notebook's JSON; None for any other file, and for one that is damaged."""
    if file.suffix != ".ipynb":
        return None
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        page = json.loads(content)
        for cell in page["cells"]:
            text_of(cell)
        return page
    return None


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
