"""A real Chromium on a real JupyterLab: what the browser's tests share."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab_page import CHROMIUM, QUIET, new_page
from opening import opened
from playwright.sync_api import Page, sync_playwright

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
