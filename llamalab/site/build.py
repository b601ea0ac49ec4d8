"""Puts the site together: JupyterLite, the page's Python, and the lesson without outputs."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import platformdirs

from llamalab import __version__
from llamalab.errors import LlamalabError
from llamalab.lesson import copying
from llamalab.lesson.pages import for_student, notebook
from llamalab.site import packages, patches

FIRST = copying.FIRST_PAGE
LIVE = "nbval-ignore-output"  # the tag of cells that ask the model in the box
NAME = f"llamalab {__version__}"  # of the browser's storage: a new version has a new one
WIDGETS = "@jupyter-widgets/jupyterlab-manager"
KERNEL = patches.KERNEL
EXTENSIONS = (WIDGETS, KERNEL, "jupyterlab_pygments")
LITE = {
    "apps": ["lab"],
    "no_sourcemaps": True,
    "no_unused_shared_packages": True,
    "no_libarchive": True,
    "ignore_sys_prefix": ["federated_extensions"],  # others are installed here, too
}
JUPYTER_LITE = [sys.executable, "-m", "jupyterlite_core", "build"]
SETTINGS = copying.PACKAGED.parent / "settings/labconfig/default_setting_overrides.json"
# What no browser of today asks for, or nothing here uses.
UNUSED = (
    "build/fa-*.svg",
    "build/fa-*.ttf",
    "build/fa-*.eot",
    "build/fa-*.woff",
    "rspack.config*.js",
)
UNUSED += ("doc", "jupyterlite.schema.v0.json", f"extensions/{KERNEL}/static/pypi/*.whl")
# The site's own address opens the first chapter.
START = f'<meta http-equiv="refresh" content="0; url=lab/index.html?path={FIRST}">'


def build(target: Path, full: Path | None = None) -> None:
    """Build the site in the folder `target`, which is new, empty, or a site built before.

    `full` is a folder with Pyodide's full distribution: with it, the page has matplotlib too.
    Raises `LlamalabError` where npm is missing, a package cannot be fetched, or the folder has
    something else in it.
    """
    if target.exists() and any(target.iterdir()) and not (target / "jupyter-lite.json").is_file():
        what = f"{target} has files in it that are not a site."
        raise LlamalabError(what, do="name a new folder")
    cache = platformdirs.user_cache_path("llamalab", appauthor=False) / "site"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        lite, site = Path(made) / "lite", Path(made) / "site"
        python = lite / "static" / "pyodide"
        python.mkdir(parents=True)
        needed = add_python(python, cache, full)
        (lite / "jupyter-lite.json").write_text(json.dumps(settings(needed)))
        (lite / "overrides.json").write_text(SETTINGS.read_text("utf-8"))
        write_lesson(Path(made) / "lesson")
        extensions = [str(labextension(name)) for name in EXTENSIONS]
        config = {"LiteBuildConfig": {**LITE, "federated_extensions": extensions}}
        (lite / "jupyter_lite_config.json").write_text(json.dumps(config))
        words = ["--lite-dir", str(lite), "--output-dir", str(site), "--contents", f"{made}/lesson"]
        packages.run([*JUPYTER_LITE, *words], "jupyter lite build", lite)  # leaves notes there
        tidy(site)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(site, target)


def add_python(folder: Path, cache: Path, full: Path | None) -> list[str]:
    """Fill the folder with Pyodide, its packages and their lock file, all of it compiled.

    The names of the packages that a page starts with are returned: matplotlib is not one of them.
    """
    core = packages.unpack_core(packages.fetch_core(cache), folder)
    for wheel in [*packages.fetch_wheels(cache), *packages.kernel_wheels()]:
        shutil.copy(wheel, folder)
    packages.own_wheel(folder)
    packages.empty_wheel(folder)
    lock = folder / "pyodide-lock.json"
    needed = packages.lock(folder, core, {})
    lock.write_text(json.dumps(needed))
    compile_python(folder)
    shutil.copy(Path(__file__).with_name("early.mjs"), folder)
    pictures = packages.add_pictures(folder, core, full) if full else {}
    lock.write_text(json.dumps(packages.lock(folder, core, pictures)))
    return sorted(needed["packages"])


def compile_python(folder: Path) -> None:
    """Let the Pyodide in this folder compile what a page starts with."""
    node = shutil.which("node") or shutil.which("nodejs")
    if node is None:
        raise LlamalabError("node is missing, which comes with npm.", do="install Node.js")
    here = Path(__file__).parent
    with (here / "compile.py").open("rb") as source:
        done = subprocess.run(
            [node, str(here / "compile.mjs"), str(folder)], stdin=source, capture_output=True
        )
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise LlamalabError("Pyodide cannot compile its packages.", why="\n".join(said[-40:]))


def settings(needed: list[str]) -> dict:
    """`jupyter-lite.json`: everything from this site, and storage of this version's name."""
    kernel = {
        "pyodideUrl": "./static/pyodide/pyodide.mjs",
        "pipliteUrls": [],
        "disablePyPIFallback": True,
        "loadPyodideOptions": {"packages": needed},
    }
    config = {
        "appName": "llamalab",
        "appVersion": __version__,
        "exposeAppInBrowser": True,  # for tests, and for who looks for a fault
        "contentsStorageName": NAME,
        "settingsStorageName": NAME,
        "workspacesStorageName": NAME,
        "disabledExtensions": ["@jupyterlab/mermaid-extension"],  # see patches.drop_diagrams
        "enableServiceWorkerCache": "false",
        "litePluginSettings": {f"{KERNEL}:kernel": kernel},
    }
    return {"jupyter-lite-schema-version": 0, "jupyter-config-data": config}


def write_lesson(folder: Path) -> None:
    """The lesson as a student gets it, where a browser can show it."""
    source = copying.lesson_source()
    for name in copying.lesson_files(source):
        content = for_student(source / name)
        if name.endswith(".svg"):  # JupyterLite cannot show other characters than ASCII
            content = content.decode("utf-8").encode("ascii", "xmlcharrefreplace")
        if page := notebook(source / name, content):
            content = going_on(page)
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def going_on(page: dict) -> bytes:
    """A chapter that asks the model in the box goes on without it: its errors stop no run."""
    cells = [cell for cell in page["cells"] if cell["cell_type"] == "code"]
    if any(LIVE in cell["metadata"].get("tags", []) for cell in cells):
        for cell in cells:
            tags = cell["metadata"].get("tags", [])
            cell["metadata"]["tags"] = sorted({*tags, "raises-exception"})
    return (json.dumps(page, indent=1, ensure_ascii=False) + "\n").encode()


def labextension(name: str) -> Path:
    """Where an extension of JupyterLab is installed. Raises `LlamalabError`."""
    folder = Path(sys.prefix, "share", "jupyter", "labextensions", name)
    if not folder.is_dir():
        what = f"{name} is not installed."
        raise LlamalabError(what, do="uv run --group site python -m llamalab.site FOLDER")
    return folder


def tidy(site: Path) -> None:
    """Take out what is not used, and open the first chapter at the site's address."""
    for pattern in UNUSED:
        for found in site.glob(pattern):
            shutil.rmtree(found) if found.is_dir() else found.unlink()
    patches.patch(site)
    shutil.copytree(site / "files" / "images", site / "lab" / "images")  # asked for there first
    start = site / "index.html"
    start.write_text(start.read_text("utf-8").replace("<head>", f"<head>{START}", 1), "utf-8")
