"""What the page's Python is made of: Pyodide's core from npm, wheels from PyPI, and the lesson.

Each version is exact: Pyodide's in `PYODIDE`, the wheels' in `wheels.txt`. Both come through the
user's own `npm` and `pip`, with their settings, and are kept in the user's cache.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from llamalab import __version__
from llamalab.errors import LlamalabError
from llamalab.lesson.copying import lesson_files, lesson_source
from llamalab.lesson.pages import for_student

PYODIDE = "314.0.6"
CORE = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
PIP = "--no-deps --only-binary=:all: --platform pyemscripten_2026_0_wasm32 --python-version 3.14"
PIP += " --implementation cp --abi cp314"
PLATFORM = {"sys_platform": "emscripten", "platform_system": "Emscripten", "os_name": "posix"}
PLATFORM |= {"python_version": "3.14", "python_full_version": "3.14.2", "extra": ""}
PLATFORM |= {"platform_machine": "wasm32", "implementation_name": "cpython"}
HERE = Path(__file__).parent
# Of what llamalab needs, a page has these; and two that `pip` cannot know of.
NEEDS = ("requests", "ipywidgets", "starlette", "uvicorn", "h11", "tqdm", "packaging")
# Completes names a little better, and is 5 MB: JupyterLite's kernel gets an empty package.
EMPTY = "jedi"
PICTURES = "matplotlib"  # with what it needs, from Pyodide's full distribution
STARTUP = """\
import pyodide_js

from llamalab import find
from llamalab.page.pictures import load_when_drawn

find.server(quiet=True)  # while the student reads
get_ipython().Completer.use_jedi = False  # there is none
load_when_drawn(get_ipython().kernel, pyodide_js.loadPackage)
del find, load_when_drawn, pyodide_js
"""


def npm() -> str:
    """The program npm. Raises `LlamalabError` where it is missing."""
    if found := shutil.which("npm"):
        return found
    what = "npm is missing, which fetches Pyodide."
    raise LlamalabError(what, do="install Node.js, which brings it (Debian: apt-get install npm)")


def fetch_core(cache: Path) -> Path:
    """Pyodide's core as npm's archive, from the cache if it is there."""
    archive = cache / f"pyodide-{PYODIDE}.tgz"
    if not archive.is_file():
        run([npm(), "pack", f"pyodide@{PYODIDE}", "--pack-destination", str(cache)], "npm")
    return archive


def fetch_wheels(cache: Path) -> list[Path]:
    """The wheels that `wheels.txt` names, from the cache if they are there."""
    wanted = HERE / "wheels.txt"
    folder = cache / f"wheels-{hashlib.sha256(wanted.read_bytes()).hexdigest()[:12]}"
    if not folder.is_dir():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        words = ["download", "--quiet", *PIP.split(), "-r", str(wanted), "-d", str(part)]
        run([sys.executable, "-m", "pip", *words], "pip")
        part.replace(folder)
    return sorted(folder.glob("*.whl"))


def run(command: list[str], name: str, folder: Path | None = None) -> None:
    """Run a program, in a folder. Raises `LlamalabError` with the last thing it said."""
    said = {"capture_output": True, "text": True, "errors": "replace"}
    done = subprocess.run(command, cwd=folder, **said)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"{name} said nothing"]
        raise LlamalabError(f"{name} has failed.", why=said[-1], do="look at its settings")


def unpack_core(archive: Path, folder: Path) -> dict:
    """Put the core's files into a folder; what its lock file has is returned."""
    with tarfile.open(archive) as packed:
        for name in CORE:
            (folder / name).write_bytes(packed.extractfile(f"package/{name}").read())
        return json.loads(packed.extractfile("package/pyodide-lock.json").read())


def kernel_wheels() -> list[Path]:
    """The wheels of JupyterLite's kernel, which stand for ipykernel and widgetsnbextension too."""
    home = "share/jupyter/labextensions/@jupyterlite/pyodide-kernel-extension/static/pypi"
    found = sorted(Path(sys.prefix, home).glob("*.whl"))
    newest = {canonicalize_name(wheel.name.split("-")[0]): wheel for wheel in found}
    return list(newest.values())


def own_wheel(folder: Path) -> Path:
    """The lesson's own wheel: the package, the chapters as a student gets them, and a start."""
    package, ours = HERE.parent, f"llamalab-{__version__}"
    wheel = folder / f"{ours}-py3-none-any.whl"
    python = metadata.metadata("llamalab")["Requires-Python"]
    lines = [f"Requires-Python: {python}", *(f"Requires-Dist: {name}" for name in NEEDS)]
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(package.rglob("*")):
            parts = file.relative_to(package).parts
            if (
                file.is_file()
                and "__pycache__" not in parts
                and parts[:2] != ("lesson", "notebooks")
            ):
                add(packed, "/".join(["llamalab", *parts]), file.read_bytes())
        for name in lesson_files(lesson_source()):
            if not name.startswith("images/"):
                page = for_student(lesson_source() / name)
                add(packed, f"llamalab/lesson/notebooks/{name}", page)
        add(packed, f"{ours}.data/data/etc/ipython/startup/start_lesson.py", STARTUP.encode())
        for name, content in about("llamalab", __version__, *lines).items():
            add(packed, name, content)
    return wheel


def add(packed: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a file with no date, so that the same content makes the same archive."""
    packed.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def empty_wheel(folder: Path) -> None:
    """A wheel without a module: to import it is an ImportError, which IPython expects."""
    with zipfile.ZipFile(folder / f"{EMPTY}-0-py3-none-any.whl", "w") as packed:
        for name, content in about(EMPTY, "0").items():
            add(packed, name, content)


def about(name: str, version: str, *lines: str) -> dict[str, bytes]:
    """The files that make an archive a wheel."""
    head = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines, ""]
    tags = ["Wheel-Version: 1.0", "Generator: llamalab", "Root-Is-Purelib: true"]
    texts = {"METADATA": head, "WHEEL": [*tags, "Tag: py3-none-any", ""], "RECORD": []}
    return {
        f"{name}-{version}.dist-info/{file}": "\n".join(text).encode()
        for file, text in texts.items()
    }


def add_pictures(folder: Path, core: dict, full: Path) -> dict[str, dict]:
    """Copy matplotlib, and what it needs, from Pyodide's full distribution; their entries."""
    entries, wanted = {}, [PICTURES]
    while wanted:
        name = wanted.pop()
        if name not in entries:
            entries[name] = core["packages"][name]
            shutil.copy(full / entries[name]["file_name"], folder)
            wanted += entries[name]["depends"]
    return entries


def lock(folder: Path, core: dict, pictures: dict[str, dict]) -> dict:
    """Pyodide's lock file for the wheels in a folder: names, checksums, imports, needs."""
    entries = dict(pictures)
    for wheel in sorted(folder.glob("*.whl")):
        entry = entry_of(wheel)
        entries.setdefault(entry["name"], entry)
    for entry in entries.values():
        entry["depends"] = [need for need in entry["depends"] if need in entries]
    return {"info": core["info"], "packages": entries}


def entry_of(wheel: Path) -> dict:
    """A wheel's entry in the lock file."""
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        (about,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        head = packed.read(about).decode().partition("\n\n")[0]
    needs = map(Requirement, re.findall(r"^Requires-Dist: (.*)$", head, re.M))
    code = [name for name in names if name.endswith((".py", ".so"))]
    tops = {name.split("/")[0].removesuffix(".py") for name in code}  # not NAME.data/
    return {
        "name": canonicalize_name(wheel.name.split("-")[0]),
        "version": re.search(r"^Version: (.*)$", head, re.M)[1].strip(),
        "file_name": wheel.name,
        "install_dir": "site",
        "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "package_type": "package",
        "imports": sorted(top for top in tops if top.isidentifier()),
        "depends": [
            canonicalize_name(need.name)
            for need in needs
            if need.marker is None or need.marker.evaluate(PLATFORM)
        ],
        "unvendored_tests": False,
    }
