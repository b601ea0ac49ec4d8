"""What is changed in JupyterLite's own files, each change for one reason.

They are made in JupyterLite 0.8.6; where another version has no such place, the build says so.
"""

import re
from pathlib import Path

from llamalab.errors import LlamalabError

DIAGRAMS = ("5506", "5395")  # the chunks with which mermaid starts, and its layouts
KERNEL = "@jupyterlite/pyodide-kernel-extension"
WORKER = "static/pyodide/worker.mjs"
# Starts a page's Python while JupyterLab is still loading; `start_early` lets the kernel use it.
EARLY = '<script>crossOriginIsolated||(window.earlyWorker=new Worker("../WORKER",{type:"module"}))'
EARLY = EARLY.replace("WORKER", WORKER) + "</script>"


def patch(site: Path) -> None:
    """Make all changes in a site that was just built. Raises `LlamalabError`."""
    go_on_after_errors(site)
    wait_for_the_kernel(site)
    start_early(site)
    drop_diagrams(site / "build")


def go_on_after_errors(site: Path) -> None:
    """Let JupyterLite's kernel respect `stop_on_error`: a cell tagged `raises-exception` may fail.

    Otherwise all cells that wait are dropped after any error, except after an interrupt.
    """
    reply = 'msgType:"execute_reply",channel:"shell",parentHeader:e.header,'
    reply += "session:e.header.session,content:s"
    cause = ',metadata:e.content.stop_on_error?{}:{cause:"interrupt"}'
    change(site / "build", re.escape(reply), rf"\g<0>{cause}")


def wait_for_the_kernel(site: Path) -> None:
    """Let a cell that is run before the kernel exists wait for it.

    Otherwise a Shift+Enter in the first second opens the dialog "Select Kernel", and no cell runs.
    """
    waits = r'case"code":if\((\w)\)\{(?=if\(\1\.isTerminating\))'
    change(site / "build", waits, r"\g<0>await \1.ready;")


def start_early(site: Path) -> None:
    """Load Python in a worker while JupyterLab loads; the first kernel takes that worker."""
    static = site / "extensions" / KERNEL / "static"
    (comlink,) = static.glob("comlink.worker.*.js")
    lines = 'import "./early.mjs";', f'import "../../{comlink.relative_to(site).as_posix()}";', ""
    (site / WORKER).write_text("\n".join(lines))
    taken = "{let w=window.earlyWorker;window.earlyWorker=null;return w??new Worker("
    change(static, r'(?<=let t=e=>)new Worker\((e,\{type:"module"\}\))', rf"{taken}\1}}")
    change(site, r"(?<=\./static/pyodide/)pyodide(?=\.mjs)", "early", "jupyter-lite.json")
    change(site / "lab", "<head>", rf"\g<0>{EARLY}", "index.html")


def change(folder: Path, found: str, new: str, files: str = "*.js") -> None:
    """Replace what a pattern finds in the one place of a folder's files where it is."""
    texts = {file: file.read_text("utf-8") for file in folder.glob(files)}
    places = [file for file, text in texts.items() if re.search(found, text)]
    if len(places) != 1:
        what = f"JupyterLite has changed: {len(places)} of its files have {found}"
        raise LlamalabError(what, do="look at patches.py in llamalab/site")
    places[0].write_text(re.sub(found, new, texts[places[0]], count=1), "utf-8")


def drop_diagrams(build: Path) -> None:
    """Take out mermaid, which is switched off here: a tenth of the site, and no page has one."""
    chunks = {file.name.split(".")[0]: file for file in build.glob("*.js")}
    loads = {name: loaded(file) & set(chunks) for name, file in chunks.items()}
    if not set(DIAGRAMS) <= loads["jlab_core"]:
        raise LlamalabError("JupyterLite has changed.", do="look at DIAGRAMS in patches.py")
    loads["jlab_core"] -= set(DIAGRAMS)
    kept = reached({"jlab_core", *loaded(build / "lab" / "bundle.js") & set(chunks)}, loads)
    for name in reached(set(DIAGRAMS), loads) - kept:
        chunks[name].unlink()


def loaded(file: Path) -> set[str]:
    """The numbers of the chunks that a script loads."""
    return set(re.findall(r"\.e\(\"?(\w+)\"?\)", file.read_text("utf-8")))


def reached(start: set[str], loads: dict[str, set[str]]) -> set[str]:
    """These chunks, and all that they load."""
    seen: set[str] = set()
    while start:
        seen |= start
        start = set().union(*(loads[name] for name in start)) - seen
    return seen
