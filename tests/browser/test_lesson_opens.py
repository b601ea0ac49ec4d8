"""A student's first minute, in a real browser: `llamalab`, chapter 1, Run All Cells."""

import ast
import os

import requests
from lab_page import ALL_RUN, CONNECTED, MINUTE, SCROLLED, cells, from_menu
from playwright.sync_api import expect

CHAPTER = "01-raw-bytes.ipynb"


def test_chapter_1_runs_from_the_menu_and_shows_the_bytes(page, lab, artefacts):
    page.goto(lab.address)
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
    code = [cell for cell in cells(page) if cell["cell_type"] == "code"]
    assert len(code) > 10
    for cell in code:
        if "raises-exception" not in cell["metadata"].get("tags", []):
            assert "error" not in [output["output_type"] for output in cell["outputs"]]
