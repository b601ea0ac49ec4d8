"""What the tests of presenting ask of the two pages, and what they do on them."""

import re
from pathlib import Path

from lab_page import MINUTE
from playwright.sync_api import Page

SMALLEST = 24  # px of a screen with 1080 of them: 2.2 % of its height
# The smallest letters of the views' pictures, in the picture's own pixels (see `views.base`).
IN_PICTURES = 9.5 * 130 / 72

READY = """path => {
    const panel = window.jupyterapp?.shell.currentWidget;
    return [...document.styleSheets].some(sheet => sheet.href?.includes('projector.css'))
        && panel?.context?.path === path && document.body.classList.contains('ll-present')
        && panel.sessionContext.session?.kernel?.status === 'idle'
        && panel.content.widgets.some(cell => cell.hasClass('ll-away'));
}"""
CELLS = """() => {
    const {content} = window.jupyterapp.shell.currentWidget;
    return content.widgets.map((cell, index) => ({
        index,
        shown: !cell.hasClass('ll-away'),
        code: cell.model.type === 'code',
        count: cell.model.executionCount ?? null,
        active: index === content.activeCellIndex,
        runs: cell.model.executionState === 'running',
        source: cell.model.sharedModel.getSource(),
        outputs: cell.model.outputs?.toJSON() ?? [],
    }));
}"""
IDLE = """() => {
    const {content, sessionContext} = window.jupyterapp.shell.currentWidget;
    const waits = cell => cell.model.executionState === 'running';
    return sessionContext.session?.kernel?.status === 'idle' && !content.widgets.some(waits);
}"""
HAS_RUN = f"index => ({CELLS})()[index].count && ({IDLE})()"
HEIGHTS = """() => {
    const {node} = window.jupyterapp.shell.currentWidget;
    const boxes = [...node.querySelectorAll('.jp-Cell:not(.ll-away)')]
        .map(cell => cell.getBoundingClientRect());
    const top = Math.min(...boxes.map(box => box.top));
    const bottom = Math.max(...boxes.map(box => box.bottom));
    return [bottom - top, node.querySelector('.jp-WindowedPanel-outer').clientHeight];
}"""
# Whether each view and each picture in sight is drawn, and nothing has moved for 30 frames.
DRAWN = """() => {
    const {node, content} = window.jupyterapp.shell.currentWidget;
    const views = content.widgets.filter(cell => !cell.hasClass('ll-away')).filter(cell =>
        cell.model.outputs?.toJSON().some(output => output.data?.[
            'application/vnd.jupyter.widget-view+json']));
    const places = [...node.querySelectorAll('.jp-Cell:not(.ll-away) *')]
        .map(element => element.getBoundingClientRect().bottom).join();
    window.framesStill = places === window.lastPlaces ? window.framesStill + 1 : 0;
    window.lastPlaces = places;
    return views.every(cell => cell.node.querySelector('.jupyter-widgets *'))
        && [...document.images].every(image => image.complete) && window.framesStill > 30;
}"""
# Each visible text and its letters' size.
LETTERS = """() => {
    const found = [];
    const seen = {opacityProperty: true, visibilityProperty: true};
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const text = walker.currentNode, parent = text.parentElement;
        const range = document.createRange();
        range.selectNodeContents(text);
        const box = range.getBoundingClientRect();
        if (!text.data.trim() || ['SCRIPT', 'STYLE'].includes(parent.tagName)) continue;
        if (!parent.checkVisibility(seen) || box.width < 2 || box.height < 2) continue;
        const size = parseFloat(getComputedStyle(parent).fontSize);
        found.push([size, text.data.trim().slice(0, 40), parent.className]);
    }
    for (const chunk of document.querySelectorAll('.ll-cut')) {
        const {fontSize} = getComputedStyle(chunk, '::after');
        found.push([parseFloat(fontSize), chunk.dataset.chunk, 'll-cut']);
    }
    return found;
}"""
# Each visible picture, and how much larger it is than its file.
PICTURES = """() => [...document.images]
    .filter(image => image.checkVisibility() && image.naturalWidth > 32)
    .map(image => {
        const box = image.getBoundingClientRect();
        const [across, down] = [box.width / image.naturalWidth, box.height / image.naturalHeight];
        return [decodeURI(image.src), Math.min(across, down)];
    })"""
# Outputs of which a part cannot be seen without scrolling.
CUT = """() => [...document.querySelectorAll('.jp-Cell:not(.ll-away) .jp-OutputArea-output')]
    .filter(output => output.scrollHeight > output.clientHeight + 2)
    .map(output => [output.dataset.mimeType, output.innerText.slice(0, 60)])"""
# Whether the last line of each error is in sight.
ENDS = """() => [...document.querySelectorAll('.jp-Cell:not(.ll-away) [data-mime-type$="stderr"]')]
    .map(output => {
        const range = document.createRange();
        range.selectNodeContents(output.querySelector('pre'));
        const end = range.getBoundingClientRect().bottom, box = output.getBoundingClientRect();
        return end > box.top && end <= box.bottom + 2 && box.bottom <= innerHeight;
    })"""


def cells(page: Page) -> list[dict]:
    """The notebook's cells as the projector has them."""
    return page.evaluate(CELLS)


def section(page: Page) -> int:
    """The number of the section in sight, from 0: each begins with a heading."""
    above = cells(page)[: in_sight(page)[0] + 1]
    heads = [cell for cell in above if cell["source"].startswith(("# ", "## "))]
    return len([cell for cell in heads if not cell["code"]]) - 1


def in_sight(page: Page) -> list[int]:
    """The places of the cells that one sees."""
    return [cell["index"] for cell in cells(page) if cell["shown"]]


def said(cell: dict) -> str:
    """The text that a cell has put out."""
    data = [output.get("data", {}).get("text/plain", "") for output in cell["outputs"]]
    text = [output.get("text", "") for output in cell["outputs"]]
    errors = [output.get("evalue", "") for output in cell["outputs"]]
    return "".join("".join(part) for part in [*data, *text, *errors])


def run_cell(page: Page) -> None:
    """Run the next code cell in sight with Shift+Enter, and wait for its end."""
    cell = next(c["index"] for c in cells(page) if c["shown"] and c["code"] and not c["count"])
    page.keyboard.press("Shift+Enter")
    page.wait_for_function(HAS_RUN, arg=cell)


def run_section(page: Page) -> None:
    """Run each cell in sight with Shift+Enter, and wait for the last one."""
    for _ in range(40):
        if not [
            c for c in cells(page) if c["shown"] and c["code"] and not (c["count"] or c["runs"])
        ]:
            break
        page.keyboard.press("Shift+Enter")
        page.wait_for_function(IDLE, timeout=MINUTE)
    page.wait_for_function(DRAWN, timeout=MINUTE)


def go_on(page: Page) -> bool:
    """Press PageDown; False where that shows nothing new, at the chapter's end."""
    before = in_sight(page)
    page.keyboard.press("PageDown")
    return in_sight(page) != before


def small_letters(page: Page, pictures: Path, least: float = SMALLEST - 0.05) -> list:
    """Texts with letters that are too small, those in pictures included."""
    small = [letters for letters in page.evaluate(LETTERS) if letters[0] < least]
    for address, scale in page.evaluate(PICTURES):
        own = IN_PICTURES
        if address.startswith("http"):
            drawn = (pictures / re.sub(r"\?.*", "", address).rpartition("/")[2]).read_text("utf-8")
            own = min(float(size) for size in re.findall(r'font-size="([\d.]+)"', drawn))
        if own * scale < least:
            small.append([own * scale, address[:80]])
    return small
