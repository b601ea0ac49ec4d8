"""A real Chromium on a real JupyterLab, and the built site: what the browser's tests share."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from filelock import FileLock
from lab_page import CHROMIUM, MINUTE, QUIET, new_page
from opening import opened
from playwright.sync_api import Page, expect, sync_playwright
from project import ROOT

from llamalab.lesson.pages import sha256

expect.set_options(timeout=MINUTE)  # 5 s, if nothing is said

# The page's own application, so that a test can ask it what it knows.
EXPOSED = {name: {"expose_app_in_browser": True} for name in ("LabApp", "JupyterNotebookApp")}


@dataclass
class Lab:
    """A JupyterLab on a folder with a copy of the lesson; `address` opens it."""

    folder: Path
    address: str


# For a module, not for the session: while Playwright runs, no other test could run asyncio.
@pytest.fixture(scope="module")
def browser(need):
    """Chromium, without a screen."""
    program = need(*CHROMIUM, do="apt-get install chromium, or install Google Chrome")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory) -> Lab:
    """One JupyterLab for a module's tests, in a folder with spaces and accents."""
    base = tmp_path_factory.mktemp("lab")
    settings = base / "CONFIG" / "jupyter_server_config.json"
    settings.parent.mkdir()
    settings.write_text(json.dumps(EXPOSED))
    folder = base / "Ma leçon d'été"
    with opened(folder) as lesson:
        yield Lab(folder, lesson.page)


@pytest.fixture
def page(browser, lab) -> Page:
    """A page for this lab: `open_notebook(page, "07-chat.ipynb")`, or `page.goto(lab.address)`."""
    page = new_page(browser, lab.address)
    yield page
    page.close()


MADE_OF = ("jupyterlite-core", "jupyterlite-pyodide-kernel", "jupyterlab-widgets")


def fingerprint() -> str:
    """What the site is built from, in a few letters."""
    sources = [
        *(ROOT / "llamalab").rglob("*"),
        *(ROOT / "notebooks").rglob("*"),
        ROOT / "pyproject.toml",
    ]
    files = sorted(file for file in sources if file.is_file() and "__pycache__" not in file.parts)
    versions = "".join(metadata.version(name) for name in MADE_OF).encode()
    parts = (str(file.relative_to(ROOT)).encode() + file.read_bytes() for file in files)
    return sha256(versions + b"".join(parts))[:16]


@pytest.fixture(scope="session")
def site(request, need) -> Path:
    """The site, built once for all workers, and again when something of it has changed."""
    need("npm", do="install Node.js (Debian: apt-get install npm)")
    folder = Path(request.config.cache.mkdir("site"))
    target = folder / fingerprint()
    with FileLock(folder / "lock"):
        if not (target / "index.html").is_file():
            for old in folder.glob("*/index.html"):
                shutil.rmtree(old.parent)
            command = [sys.executable, "-m", "llamalab.site", str(target)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                reason = f"the site cannot be built: {done.stderr.strip()}"
                pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return target
