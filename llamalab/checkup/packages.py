"""Checks of Python and its packages: what is installed, in the versions that belong together."""

import contextlib
import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from llamalab.checkup.report import Finding, fail, note, ok, tidy

if TYPE_CHECKING:
    from packaging.requirements import Requirement

OPTIONAL = {"matplotlib", "pip"}  # without them some pictures, or `llamalab pull`, are missing
OWN_LINE = {"jupyterlab", "ipywidgets", "xllamacpp"}
PAGE_HALF = "labextensions/@jupyter-widgets/jupyterlab-manager/package.json"


def python() -> Finding:
    from packaging.specifiers import SpecifierSet

    version, home = platform.python_version(), tidy(sys.prefix)
    wanted = metadata.metadata("llamalab")["Requires-Python"]
    if not SpecifierSet(wanted).contains(version, prereleases=True):
        said = f"{version} in {home}; llamalab needs {wanted}"
        return fail(said, "uv run --python 3.12 llamalab")
    return ok(f"{version} in {home}")


def packages() -> Finding:
    wrong = {need.name: need for need in unmet("llamalab") if need.name not in OWN_LINE}
    if not wrong:
        shown = ("llamalab", "requests", "ipykernel", "matplotlib")
        return ok(", ".join(f"{name} {installed(name)}" for name in shown if installed(name)))
    said = ", ".join(unlike(need) for need in wrong.values())
    do = install(*wrong.values())
    if any(not installed(name) for name in wrong.keys() - OPTIONAL):
        return fail(said, do)
    return note(said, do)


def jupyterlab() -> Finding:
    wrong = [need for need in unmet("llamalab") if need.name == "jupyterlab"]
    home = lab_home()
    if home != Path(sys.prefix):
        return ok(f"this one runs from {tidy(home)}")
    if wrong and not installed("jupyterlab"):
        return fail("it is not installed", install(*wrong))
    if wrong:
        return note(unlike(wrong[0]), install(*wrong))
    return ok(installed("jupyterlab"))


def widgets() -> Finding:
    """Widgets have two halves: one in the kernel, one in the page that JupyterLab serves."""
    wrong = [need for need in unmet("llamalab") if need.name == "ipywidgets"]
    wrong = wrong or list(unmet("ipywidgets"))
    if wrong:
        said = ", ".join(map(unlike, wrong))
        return note(f"{said}; what should move does not move", install(*wrong))
    home = lab_home()
    half = page_half(home)
    if half != "5":  # numbered on its own: ipywidgets 8 goes with it, and 7 with 3
        has = f"has version {half} of their other half" if half else "lacks their other half"
        said = f"Error displaying widget: JupyterLab runs from {tidy(home)}, which {has}"
        if home != Path(sys.prefix):
            return note(said, "llamalab lab   (a JupyterLab that has both)")
        return note(said, install("jupyterlab_widgets>=3,<4", again=True))
    halves = ("ipywidgets", "jupyterlab_widgets")
    return ok(", ".join(f"{name} {installed(name)}" for name in halves))


def engine() -> Finding:
    only = "the model in the box cannot run; recordings play all the same"
    wanted = [need for need in needs("llamalab") if need.name == "xllamacpp"]
    if not wanted:
        said = f"no xllamacpp for {platform.system()} {platform.machine()}: {only}"
        return note(said, "for your own questions: https://ollama.com/download")
    if not installed("xllamacpp"):
        return note(f"xllamacpp is not installed: {only}", install(*wanted))
    # In a separate process, because a wheel that this processor cannot run ends it.
    words = [sys.executable, "-c", "import xllamacpp"]
    tried = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=60)
    if tried.returncode != 0:
        last = (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"])[-1]
        return note(f"xllamacpp does not load ({last}): {only}", install(*wanted, again=True))
    return ok(f"xllamacpp {installed('xllamacpp')}")


# --- What they look with ----------------------------------------------------------------------


def installed(name: str) -> str:
    """A package's version; "" where it is not installed."""
    try:
        return metadata.version(name) or ""
    except metadata.PackageNotFoundError:
        return ""


def needs(name: str) -> "Iterator[Requirement]":
    """What an installed package asks for on a machine like this one, as pip takes it."""
    from packaging.requirements import Requirement

    for need in map(Requirement, metadata.requires(name) or ()):
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            need.marker = None
            yield need


def unmet(name: str) -> "Iterator[Requirement]":
    """What an installed package asks for and does not get."""
    for need in needs(name):
        version = installed(need.name)
        if not (version and need.specifier.contains(version, prereleases=True)):
            yield need


def unlike(need: "Requirement") -> str:
    """A requirement that is not met, in words."""
    version = installed(need.name)
    return f"{need.name} {version}, not {need.specifier}" if version else f"no {need.name}"


def install(*wanted: "Requirement | str", again: bool = False) -> str:
    """The command that installs packages into this environment, uv's or a different one."""
    names = " ".join(f'"{want}"' for want in wanted)
    force = "--force-reinstall " if again else ""
    settings = Path(sys.prefix, "pyvenv.cfg")
    if settings.is_file() and re.search("^uv = ", settings.read_text("utf-8"), re.MULTILINE):
        return f"uv pip install {force}{names}"
    return f"python -m pip install {force}{names}"


def lab_home() -> Path:
    """The environment of the JupyterLab that this runs in; ours, where it runs in none.

    Of the programs that have started this one, it is the one that looks like JupyterLab. On
    Windows and macOS they may name the Python beneath the environment: that has no JupyterLab.
    """
    import psutil

    ours, found = Path(sys.prefix), []
    for process in psutil.Process().parents():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()[:3]
            if any(re.fullmatch(r"jupyter[\w-]*(\.exe|\.py)?", Path(word).name) for word in words):
                found += [Path(word).parent.parent for word in words if Path(word).is_absolute()]
    found = [home for home in found if (home / "share/jupyter/lab").is_dir()]
    return ours if ours in found or not found else found[0]


def page_half(home: Path) -> str:
    """The first number of the version of the widgets' half that a JupyterLab serves, or ""."""
    from jupyter_core.paths import jupyter_path

    folders = [home / "share/jupyter"]
    folders += [Path(path) for path in jupyter_path() if not Path(path).is_relative_to(sys.prefix)]
    for file in (folder / PAGE_HALF for folder in folders):
        if file.is_file():
            return str(json.loads(file.read_text("utf-8"))["version"]).partition(".")[0]
    return ""
