"""A student's first minute, in a real browser: `llamalab`, chapter 1, Run All Cells."""

import ast
import json
import os

import pytest
import requests
from opening import opened
from playwright.sync_api import Page, expect, sync_playwright

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (  # no sandbox inside a container; nothing that looks for the network
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
CHAPTER = "01-raw-bytes.ipynb"
MINUTE = 60_000  # ms; how long to wait for what takes a second on a machine with nothing else to do

# What only JupyterLab's own model knows, asked of the page.
CONNECTED = """path => {
    const panel = window.jupyterapp.shell.currentWidget;
    return panel?.context?.path === path
        && panel.sessionContext.session?.kernel?.connectionStatus === 'connected';
}"""
NOTEBOOK = "() => window.jupyterapp.shell.currentWidget.context.model.toJSON()"
ALL_RUN = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    const code = panel.context.model.toJSON().cells.filter(cell => cell.cell_type === 'code');
    return code.every(cell => cell.execution_count !== null)
        && panel.sessionContext.session.kernel.status === 'idle';
}"""
SCROLLED = """element => {  // until it stays there: cells get their height once they are in view
    element.scrollIntoView({block: 'end'});
    const top = element.getBoundingClientRect().top;
    window.framesStill = top === window.lastTop ? window.framesStill + 1 : 0;
    window.lastTop = top;
    return window.framesStill > 30;
}"""


@pytest.fixture
def lesson_page(need, tmp_path):
    """Chromium on the page that `llamalab` asks to open, in a folder with spaces and accents."""
    chromium = need(*CHROMIUM, cure="apt-get install chromium, or install Google Chrome")
    settings = tmp_path / "CONFIG" / "jupyter_lab_config.json"
    settings.parent.mkdir()
    settings.write_text(json.dumps({"LabApp": {"expose_app_in_browser": True}}))
    with opened(tmp_path / "Ma leçon d'été") as lesson, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(MINUTE)
        page.goto(lesson.page)
        yield page
        browser.close()


def from_menu(page: Page, menu: str, entry: str) -> None:
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.get_by_role("menuitem", name=entry, exact=True).click()
    page.mouse.move(0, 0)  # nothing under the pointer lights up in a picture


def test_chapter_1_runs_from_the_menu_and_shows_the_bytes(lesson_page, artefacts):
    page = lesson_page
    expect(page.get_by_role("heading", name="Say hello to a model")).to_be_visible(timeout=MINUTE)
    page.screenshot(path=artefacts / "lesson-opens.png")
    expect(page.locator(".jp-Dialog, .jp-toast-button")).to_have_count(0)

    page.locator(".jp-DirListing-item", has_text=CHAPTER).dblclick()
    page.wait_for_function(CONNECTED, arg=CHAPTER)
    from_menu(page, "Edit", "Clear Outputs of All Cells")
    answer = page.locator(".jp-OutputArea-output:visible", has_text='"done":true')
    expect(answer).to_have_count(0)

    from_menu(page, "Run", "Run All Cells")
    page.wait_for_function(ALL_RUN)
    shown = answer.first
    page.wait_for_function(SCROLLED, arg=shown.element_handle())
    page.screenshot(path=artefacts / "lesson-run.png")  # the README's picture is a copy of it

    prompt = {"model": "mistral", "prompt": "Are you listening?"}
    sent = requests.post(os.environ["OLLAMA_HOST"] + "/api/generate", json=prompt).content
    assert ast.literal_eval(shown.inner_text()) == sent
    code = [cell for cell in page.evaluate(NOTEBOOK)["cells"] if cell["cell_type"] == "code"]
    assert len(code) > 10
    for cell in code:
        if "raises-exception" not in cell["metadata"].get("tags", []):
            assert "error" not in [output["output_type"] for output in cell["outputs"]]
