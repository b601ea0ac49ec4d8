"""Runs inside Pyodide, see `compile.mjs`: compiles what a page imports before its first cell.

A browser's Python takes ten times longer to compile a file than to load what is compiled. The
sources stay beside, so that tracebacks show their lines.
"""

import importlib.util
import py_compile
import re
import sys
import traceback
import zipfile
from pathlib import Path

FOLDER = Path("/folder")
UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH  # the sources beside do not change
# What a page never asks for, if it was not imported: tests, and other languages than Python.
UNUSED = re.compile(
    r"/tests/|\.pyi$|^IPython/(testing|sphinxext)/|^pygments/(lexers|formatters|styles)/"
    r"|^(pydoc_data|ensurepip|idlelib|tkinter|turtledemo|wsgiref|turtle\.py)"
)
WORK = """
import ipywidgets, llamalab, tqdm.auto
llamalab.inspector(b""), llamalab.waterfall([]), llamalab.check("who_answered", len)
llamalab.progress()
1 / 0
"""


def add_compiled(archive: Path, loaded: set[str]) -> None:
    """Add to a wheel its `__pycache__/*.pyc`, to the library's archive its `*.pyc`."""
    with zipfile.ZipFile(archive) as old:
        names = [name for name in old.namelist() if name in loaded or not UNUSED.search(name)]
        files = {name: old.read(name) for name in names}
    for name in [name for name in files if name in loaded and name.endswith(".py")]:
        place = importlib.util.cache_from_source(name)
        if archive.suffix == ".zip":
            place = f"{name}c"  # where zipimport looks
        Path("source.py").write_bytes(files[name])
        py_compile.compile("source.py", "source.pyc", name, True, -1, UNCHECKED)
        files[place] = Path("source.pyc").read_bytes()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as new:
        for name in sorted(files):
            new.writestr(zipfile.ZipInfo(name), files[name], zipfile.ZIP_DEFLATED, 9)


def main() -> None:
    import pyodide_kernel  # as a page does; the kernel's startup file imports the lesson's part

    pyodide_kernel.ipython_shell.run_cell(WORK)
    origins = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    loaded = {origin.partition("site-packages/")[2] for origin in origins}
    loaded |= {origin.partition(".zip/")[2] for origin in origins}
    for archive in sorted([*FOLDER.glob("*.whl"), *FOLDER.glob("*.zip")]):
        add_compiled(archive, loaded)


def run() -> None:
    try:
        main()
    except BaseException:
        import js

        js.console.error(traceback.format_exc())  # to the kernel, stderr is a cell's
        raise


if sys.platform == "emscripten":
    run()
