"""A student's first minute in a real browser, then every chapter from top to bottom.

All in JupyterLab, and one in Jupyter Notebook 7, too.
"""

import ast
import io
import json
import os
import re
from pathlib import Path

import pytest
import requests
from lab_page import (
    ALL_RUN,
    CONNECTED,
    SCROLLED,
    cells,
    from_menu,
    new_page,
    open_notebook,
    resize,
    run_all,
)
from PIL import Image
from playwright.sync_api import expect

NOTEBOOKS = Path(__file__).parent.parent.parent / "notebooks"
CHAPTERS = sorted(path.name for path in NOTEBOOKS.glob("[0-9]*.ipynb"))
FIRST = "01-raw-bytes.ipynb"
WITH_VIEW = re.compile(
    r"^llamalab\.(?:inspector|waterfall|race|time_bars|chat_box)\(", re.MULTILINE
)

OPEN = "path => { window.jupyterapp.commands.execute('docmanager:open', {path}); }"
CLOSE = """async () => {
    const panel = window.jupyterapp.shell.currentWidget;
    await panel.context.save();  // or a dialogue would ask for it
    await panel.sessionContext.shutdown();
    panel.close();
}"""
# All cells, and not only those in sight: JupyterLab draws a cell once one comes near to it.
DRAW_ALL = """async () => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    for (const [place, cell] of notebook.widgets.entries()) {
        await notebook.scrollToItem(place);
        await cell.ready;
    }
    await notebook.scrollToItem(0);
}"""
LOADED = "() => [...document.images].every(image => image.complete)"
# Prose that is wider than its place, and pictures that are not there or have no words.
TOO_WIDE = """() => [...window.jupyterapp.shell.currentWidget.node
        .querySelectorAll('.jp-RenderedMarkdown')]
    .filter(prose => prose.scrollWidth > prose.clientWidth + 1)
    .map(prose => prose.textContent.slice(0, 60))"""
NOT_SHOWN = """() => [...window.jupyterapp.shell.currentWidget.node
        .querySelectorAll('.jp-RenderedMarkdown img')]
    .filter(image => !image.naturalWidth || image.alt.length < 80)
    .map(image => image.src)"""


def code(page) -> list[dict]:
    return [cell for cell in cells(page) if cell["cell_type"] == "code"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def kinds(cell: dict) -> set[str]:
    """What a cell has put out: "stdout", "error", ...; not what it says, which nbval compares."""
    if "nbval-ignore-output" in tags(cell):  # a bar is text in one place, a widget in another
        return {"something"} if cell["outputs"] else set()
    return {output.get("name", output["output_type"]) for output in cell["outputs"]}


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def test_chapter_1_runs_from_the_menu_and_shows_the_bytes(page, lab, artefacts):
    page.goto(lab.address)
    expect(page.get_by_role("heading", name="Say hello to a model")).to_be_visible()
    page.screenshot(path=artefacts / "lesson-opens.png")
    expect(page.locator(".jp-Dialog, .jp-toast-button")).to_have_count(0)

    page.locator(".jp-DirListing-item", has_text=FIRST).dblclick()
    page.wait_for_function(CONNECTED, arg=FIRST)
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


def test_the_lesson_s_text_is_not_changed_by_accident(page, artefacts):
    open_notebook(page, FIRST)
    before = [(cell["cell_type"], source(cell)) for cell in cells(page)]
    text = page.locator(".jp-RenderedMarkdown:visible p").first
    text.dblclick()
    page.keyboard.type("oops")
    text.click()
    page.keyboard.press("Enter")
    page.keyboard.type("oops")
    page.keyboard.press("Escape")
    page.keyboard.type("ddx")
    page.screenshot(path=artefacts / "locked-text.png")
    assert [(cell["cell_type"], source(cell)) for cell in cells(page)] == before
    expect(page.locator(".jp-MarkdownCell .jp-InputArea-editor:visible")).to_have_count(0)


@pytest.fixture(scope="module")
def desk(browser, lab):
    """One page for all chapters, one after the other."""
    page = new_page(browser, lab.address)
    open_notebook(page, CHAPTERS[0])
    yield page
    page.close()


@pytest.mark.parametrize("chapter", CHAPTERS)
@pytest.mark.usefixtures("model_file")
def test_a_chapter_runs_from_top_to_bottom(desk, artefacts, chapter):
    desk.set_viewport_size({"width": 1280, "height": 900})
    desk.evaluate(OPEN, chapter)
    desk.wait_for_function(CONNECTED, arg=chapter)
    run_all(desk)
    stored = json.loads((NOTEBOOKS / chapter).read_text(encoding="utf-8"))["cells"]
    assert list(map(kinds, code(desk))) == [
        kinds(cell) for cell in stored if cell["cell_type"] == "code"
    ]
    desk.evaluate(DRAW_ALL)
    desk.wait_for_function(LOADED)
    views = [cell for cell in code(desk) if WITH_VIEW.search(source(cell))]
    live = desk.locator(".jp-OutputArea-output .jupyter-widgets .ll")
    if views:
        live.first.wait_for(state="attached")
    assert bool(live.count()) == bool(views)
    for width in (1280, 768):
        resize(desk, width, 900)
        assert desk.evaluate(TOO_WIDE) == []
        assert desk.evaluate(NOT_SHOWN) == []
        desk.screenshot(path=artefacts / f"{Path(chapter).stem}-{width}.png")
    desk.evaluate(CLOSE)


@pytest.mark.long
def test_the_inspector_of_chapter_4_plays_to_the_end(browser, lab, artefacts):
    """By its button, step by step; and a picture for the README of how it does."""
    page = new_page(browser, lab.address)
    page.set_viewport_size({"width": 1200, "height": 1400})
    open_notebook(page, "04-join-fragments.ipynb")
    run_all(page)
    output = page.locator(".jp-OutputArea-output", has=page.locator(".ll-tape"))
    output.scroll_into_view_if_needed()
    frames, texts = [], []
    for line in range(1, 14):  # the last record is long, and brings no text
        expect(output).to_contain_text(f"line {line} of 14")
        texts.append(output.locator(".ll-text").inner_text())
        frames.append(Image.open(io.BytesIO(output.screenshot())).convert("RGB"))
        output.get_by_role("button", name="Next").click()
    assert [len(text) for text in texts] == sorted(len(text) for text in texts)
    assert "How may I assist you today?" in texts[-1]
    film(frames, artefacts / "inspector.gif")  # the README's picture is a copy of it
    page.close()


def film(frames: list[Image.Image], file: Path) -> None:
    """An animated picture: a second for each frame, on paper as high as the highest one."""
    size = max(frame.width for frame in frames), max(frame.height for frame in frames)
    sheets = [Image.new("RGB", size, "white") for _ in frames]
    for sheet, frame in zip(sheets, frames, strict=True):
        sheet.paste(frame)
    few = [sheet.quantize(32, dither=Image.Dither.NONE) for sheet in sheets]
    few[0].save(file, save_all=True, append_images=few[1:], duration=1000, loop=0, optimize=True)


def test_notebook_7_runs_a_chapter_with_its_views(browser, lab, artefacts):
    page = new_page(browser, lab.address)
    open_notebook(page, "04-join-fragments.ipynb", app="notebooks")
    run_all(page)
    for cell in code(page):
        assert ("error" in kinds(cell)) == ("raises-exception" in tags(cell)), source(cell)
    tape = page.locator(".ll-tape").first
    tape.scroll_into_view_if_needed()
    before = tape.inner_text()
    page.get_by_role("button", name="Next").first.click()
    page.wait_for_function(
        "before => document.querySelector('.ll-tape').innerText !== before", arg=before
    )
    page.screenshot(path=artefacts / "notebook-7.png")
    page.close()
