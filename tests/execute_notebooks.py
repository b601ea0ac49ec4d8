"""Runs the notebooks and stores their outputs: for whoever has changed a chapter.

    uv run python tests/execute_notebooks.py [--live] [notebooks/01-raw-bytes.ipynb ...]

Without names, all of them. Each runs from a clean kernel, in a copy of its folder in which no
student has left a file, against a built-in server that makes no pauses. A notebook in which a
cell fails stays as it is. Running it twice changes nothing: a live cell (nbval-ignore-output),
in which a model or a clock speaks, keeps the output it has. `--live` stores a new one, for whoever
has changed such a cell; recordings then play at their own pace, so that the clock tells the truth.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from llamalab.errors import PullFailed
from llamalab.find import DEFAULT
from llamalab.standin.answers import builtin_model
from llamalab.standin.answers.local_model import local_model
from llamalab.standin.run import BuiltinServer, PortTaken

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"

# What a notebook may say about itself: nothing that one machine writes and another does not.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# What a chapter says about itself, and its cells about themselves: written by hand, so kept.
OWN = "lesson"
CELL_METADATA = {"slideshow", "speaker", "tags"}

# A view's living half: a number that is new in each run, and leads nowhere without its kernel.
# Stored is the other half, its picture and its text.
WIDGET = "application/vnd.jupyter.widget-view+json"

# What must not reach a kernel: a proxy, or a habit of whoever runs this.
UNWANTED = re.compile("proxy|startup|warnings|encoding|force_color", re.IGNORECASE)


def execute(path: Path, environment: dict[str, str]) -> nbformat.NotebookNode:
    """The notebook as it is after a run of all its cells, in a copy of its folder.

    Raises `CellExecutionError` where a cell fails that is not marked `raises-exception`,
    `ValueError` where one does not fail that is, and `PullFailed` where a live cell has no model.
    """
    notebook = nbformat.read(path, as_version=4)
    if any(map(is_live, notebook.cells)):
        builtin_model.pull()
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder, "notebooks")
        own = shutil.ignore_patterns("my_*", "ask_*", "chat*.py", ".*")
        shutil.copytree(path.parent, here, ignore=own)
        client = NotebookClient(
            notebook,
            timeout=60,
            kernel_name="python3",
            coalesce_streams=True,
            record_timing=False,
            store_widget_state=False,
            extra_arguments=["--log-level=ERROR"],  # not what the kernel thinks of TCP
            resources={"metadata": {"path": str(here)}},
        )
        client.execute(env=environment)
    for place in (folder, str(NOTEBOOKS.parent)):  # which the doctor names
        shown = nbformat.writes(notebook).replace(json.dumps(place)[1:-1], "~/llamalab")
        notebook = nbformat.reads(shown, as_version=4)
    for cell in notebook.cells:
        raised = any(output.output_type == "error" for output in cell.get("outputs", []))
        if "raises-exception" in cell.metadata.get("tags", []) and not raised:
            raise ValueError(f"{cell.id} is marked raises-exception, and nothing was raised")
    return notebook


def is_live(cell: nbformat.NotebookNode) -> bool:
    """Whether a model words this cell's output, each time anew."""
    return "nbval-ignore-output" in cell.metadata.get("tags", [])


def keep_live_outputs(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Give each live cell the output that it has in the file, if it has one."""
    stored = {cell.id: cell for cell in nbformat.read(path, as_version=4).cells}
    for cell in filter(is_live, notebook.cells):
        cell.outputs = stored[cell.id].outputs or cell.outputs


def clean(notebook: nbformat.NotebookNode) -> None:
    """Leave only what is the same on every machine."""
    own = {key: notebook.metadata[key] for key in {OWN} & notebook.metadata.keys()}
    notebook.metadata = nbformat.from_dict(METADATA | own)
    for cell in notebook.cells:
        for key in cell.metadata.keys() - CELL_METADATA:
            del cell.metadata[key]
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
            if output.output_type == "stream":  # a terminal's newlines, after `!python`
                output.text = output.text.replace("\r\n", "\n")


def store(notebook: nbformat.NotebookNode, path: Path, address: str) -> bool:
    """Write the notebook, if anything in it has changed; says whether it did."""
    nbformat.validate(notebook)
    # The server may have another port; a reader expects the usual one.
    text = nbformat.writes(notebook).replace(address, DEFAULT).rstrip("\n") + "\n"
    if text == path.read_text(encoding="utf-8"):
        return False
    draft = path.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8", newline="\n")
    draft.replace(path)
    return True


def started(speed: float) -> BuiltinServer:
    """A server at the usual address, where the doctor looks for it; if that is taken, elsewhere."""
    with contextlib.suppress(PortTaken):
        return BuiltinServer.start(urlsplit(DEFAULT).port, speed, engine=local_model())
    return BuiltinServer.start(speed=speed, engine=local_model())


def main(arguments: list[str]) -> int:
    """Execute the notebooks named; return the number of those that failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--live", action="store_true", help="store the model's new answers, too")
    parser.add_argument("notebooks", nargs="*", type=Path)
    asked = parser.parse_args(arguments)
    os.environ.pop("LLAMALAB_MODEL", None)  # the chapters show the model in the box
    failed = 0
    with (
        started(speed=float(asked.live)) as server,
        tempfile.TemporaryDirectory() as empty,
    ):
        environment = {
            **{key: value for key, value in os.environ.items() if not UNWANTED.search(key)},
            "OLLAMA_HOST": server.url,
            "IPYTHONDIR": empty,
            "PYTHONHASHSEED": "0",
            "NO_COLOR": "1",
            "QT_API": "",  # tqdm then draws its bar in text, which every page can show
        }
        for path in asked.notebooks or sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
            try:
                notebook = execute(path, environment)
            except (CellExecutionError, ValueError, PullFailed) as error:
                failed += 1
                print(f"FAILED     {path.name}, left as it was:\n{error}", file=sys.stderr)
                continue
            if not asked.live:
                keep_live_outputs(notebook, path)
            clean(notebook)
            changed = store(notebook, path, server.url)
            print(f"{'stored' if changed else 'unchanged':10} {path.name}")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
