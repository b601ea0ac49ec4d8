"""The lesson as a static site, in a real Chromium that reaches nothing but that site."""

import functools
import http.server
import json
import re
import subprocess
import threading
from pathlib import Path

import pytest
from lab_page import ALL_RUN, CHROMIUM, MINUTE, QUIET, cells
from playwright.sync_api import expect, sync_playwright
from project import ROOT

from llamalab.exercises.solutions import SOLUTIONS

NOTEBOOKS = ROOT / "notebooks"
CHAPTERS = sorted(path.name for path in NOTEBOOKS.glob("[0-9]*.ipynb"))
ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"  # as without any network
OPEN = """async path => {
    const app = window.jupyterapp;
    await app.commands.execute('docmanager:open', {path});
}"""
READY = """path => {
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.context?.path === path
        && panel.sessionContext.session?.kernel?.status === 'idle';
}"""
SHOWN = """path => {
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.context?.path === path && panel.context.isReady && panel.isVisible;
}"""
RUN_ONE = """place => {
    const { content } = window.jupyterapp.shell.currentWidget;
    content.activeCellIndex = place;
    window.jupyterapp.commands.execute('notebook:run-cell');
}"""
HAS_RUN = """place => {
    const { content } = window.jupyterapp.shell.currentWidget;
    return content.model.cells.get(place).executionCount !== null;
}"""
# What a chapter's Python prints or returns for a line of code.
SAID = """async code => {
    const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
    const future = kernel.requestExecute({ code });
    let said = '';
    future.onIOPub = ({ content }) => {
        said += content.text ?? content.data?.['text/plain'] ?? content.evalue ?? '';
    };
    await future.done;
    return said;
}"""
# Run the first cells, up to a place in the notebook; resolves when the last of them has ended.
RUN_TO = """async place => {
    const { content, sessionContext } = window.jupyterapp.shell.currentWidget;
    content.activeCellIndex = place + 1;
    await window.jupyterapp.commands.execute('notebook:run-all-above');
}"""
SET_SOURCE = """([place, text]) => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    notebook.model.cells.get(place).sharedModel.setSource(text);
}"""
# Let each line that a cell reads wait until this site says that it may go on.
GATED = """
import js, requests
def one_at_a_time(self, *options, lines=requests.Response.iter_lines):
    for line in lines(self, *options):
        gate = js.XMLHttpRequest.new()
        gate.open("GET", "%s/gate", False)
        gate.send()
        yield line
requests.Response.iter_lines = one_at_a_time"""
OUTPUT = """place => window.jupyterapp.shell.currentWidget.content.model.cells.get(place)
    .outputs.toJSON().map(output => output.text).join('')"""
GROWS = f"([place, before]) => ({OUTPUT})(place).length > before.length"


GATE = threading.Semaphore(0)  # how many lines a `GATED` cell may read


@pytest.fixture(scope="session")
def address(site):
    """Where a plain web server serves the site."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path != "/gate":
                return super().do_GET()
            GATE.acquire(timeout=MINUTE / 1000)
            self.send_response(204)
            self.end_headers()
            return None

        def log_message(self, *_) -> None:
            pass

    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def page(need, address):
    """A page that has opened the site; at the end, nothing has been asked of anyone else."""
    program = need(*CHROMIUM, do="apt-get install chromium, or install Google Chrome")
    asked = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=[*QUIET, ALONE])
        page = chromium.new_page(viewport={"width": 1366, "height": 768})
        page.set_default_timeout(3 * MINUTE)  # Python starts in it, again for each chapter
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}/lab/index.html?path={CHAPTERS[1]}")
        yield page
        chromium.close()
    own = (address, "data:", "blob:")
    assert len(asked) > 50
    assert [url for url in asked if not url.startswith(own)] == []


def open_chapter(page, name: str) -> None:
    page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.context")
    page.evaluate(OPEN, name)
    page.wait_for_function(READY, arg=name)


def run_to(page, place: int) -> list[dict]:
    """Run all cells up to this one; all cells of the notebook."""
    page.evaluate(RUN_TO, place)
    page.wait_for_function("() => " + IDLE)
    return cells(page)


IDLE = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"


def place_of(name: str, text: str) -> int:
    """The place of the first code cell with this text."""
    code = [(i, c) for i, c in enumerate(stored(name)) if c["cell_type"] == "code"]
    found = [place for place, cell in code if text in "".join(cell["source"])]
    return found[0]


def stored(name: str) -> list[dict]:
    """A chapter's cells as a desktop has run them, which nbval holds true."""
    return json.loads((NOTEBOOKS / name).read_text("utf-8"))["cells"]


def outputs(cell: dict) -> list:
    """What a cell shows, without what differs on purpose: who answers, where, how a file began."""
    shown: list = []
    for output in cell["outputs"]:
        kind = output.get("name", output["output_type"])
        text = "".join(output.get("text", output.get("data", {}).get("text/plain", "")))
        if kind == "error":  # JupyterLite's kernel writes the class in its own way
            text = f"{output['ename'].removeprefix(CLASS).rstrip(END)}: {output['evalue']}"
        text = re.sub(r"http://127\.0\.0\.1:\d{4,5}", "SERVER", text)
        text = re.sub(r", (?:started just now|in this page|shared with another llamalab)", "", text)
        text = re.sub(r"Overwriting", "Writing", text)
        if shown and shown[-1][0] == kind:
            shown[-1] = kind, shown[-1][1] + text
        else:
            shown.append((kind, text))
    return shown


CLASS, END = "<class '", "'>"


def all_outputs(there: list[dict]) -> list:
    return [shown for cell in there if "outputs" in cell for shown in outputs(cell)]


def assert_same(name: str, there: list[dict], last: int, ignore: str = "nbval-ignore-output"):
    """All cells up to `last` show what they show on a desktop, byte for byte."""
    compared = 0
    for desktop, cell in list(zip(stored(name), there, strict=True))[: last + 1]:
        if desktop["cell_type"] == "code" and ignore not in desktop["metadata"].get("tags", []):
            assert outputs(cell) == outputs(desktop), "".join(desktop["source"])
            compared += 1
    assert compared > 4


def assert_runs(name: str, there: list[dict]) -> None:
    """A whole chapter shows what a desktop shows, as far as it needs no model in the box."""
    if name[:2] in ("00", "07", "08"):
        assert any("only as recordings" in text for _, text in all_outputs(there))
    else:
        assert_same(name, there, len(there) - 1)


def test_a_cell_that_is_run_before_python_has_started_waits_for_it(page):
    page.wait_for_function(SHOWN, arg=CHAPTERS[1])
    place = place_of(CHAPTERS[1], "import requests")
    page.evaluate(RUN_ONE, place)
    page.wait_for_function(HAS_RUN, arg=place)
    assert page.locator(".jp-Dialog").count() == 0  # no question about a kernel


def test_chapter_01_shows_the_same_bytes_as_on_a_desktop(page, artefacts):
    name = CHAPTERS[1]
    open_chapter(page, name)
    last = len(stored(name)) - 1
    there = run_to(page, last)
    page.screenshot(path=artefacts / "site-01.png")
    assert_same(name, there, last)
    assert ("execute_result", "(1642, 14)") in [
        shown for c in there if "outputs" in c for shown in outputs(c)
    ]


def test_chapter_04_has_views_that_move_and_checks_that_keep_progress(page, artefacts):
    name = CHAPTERS[4]
    open_chapter(page, name)
    place = place_of(name, "def join_fragments")
    page.evaluate(SET_SOURCE, [place, SOLUTIONS["join_fragments"].code])
    there = run_to(page, place + 1)
    assert "OK: join_fragments" in outputs(there[place + 1])[0][1]
    view = page.locator(".ll:visible").first
    view.scroll_into_view_if_needed()
    before = view.text_content()
    page.get_by_role("button", name="Next ▶").first.click()
    expect(view).not_to_have_text(before)
    page.screenshot(path=artefacts / "site-04.png")


def test_chapter_05_runs_a_script_and_remembers_what_was_solved(page):
    name = CHAPTERS[5]
    open_chapter(page, name)
    last = place_of(name, "!python ask_2.py")
    assert_same(name, run_to(page, last), last)
    said = page.evaluate(SAID, "import llamalab; llamalab.progress()")
    assert re.search("^✔ 04 ", said, re.M)  # another Python: only the browser remembers


def test_chapter_06_shows_the_fragments_one_after_the_other(page, address):
    name = CHAPTERS[6]
    open_chapter(page, name)
    place = place_of(name, "stream=True")
    run_to(page, place_of(name, "options ="))
    page.evaluate(SAID, GATED % address)
    page.evaluate(RUN_ONE, place)
    shown = ""
    for _ in range(6):  # each is in the page before the next one is read
        GATE.release()
        page.wait_for_function(GROWS, arg=[place, shown])
        shown = page.evaluate(OUTPUT, place)
    GATE.release(1000)
    page.wait_for_function(HAS_RUN, arg=place)


@pytest.mark.long
@pytest.mark.parametrize("name", [CHAPTERS[0], *CHAPTERS[2:4], *CHAPTERS[5:]])
def test_every_other_chapter_runs_to_its_last_cell(page, name, artefacts):
    page.set_viewport_size({"width": 768, "height": 1024})
    open_chapter(page, name)
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_function(ALL_RUN)
    page.screenshot(path=artefacts / f"site-{name[:2]}-768.png")
    assert_runs(name, cells(page))


@pytest.fixture(scope="module")
def puppeteer(request, need) -> Path:
    """npm's puppeteer-core, which speaks to Firefox without a geckodriver."""
    folder = Path(request.config.cache.mkdir("puppeteer"))
    wanted = "puppeteer-core@25.16.0"
    command = [need("npm", do="install Node.js"), "install", "--prefix", str(folder), wanted]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{wanted} cannot be fetched: {done.stderr.strip()[-200:]}")
    (entry,) = folder.glob("node_modules/puppeteer-core/lib/puppeteer/puppeteer-core.js")
    return entry


@pytest.mark.long
@pytest.mark.parametrize("name", CHAPTERS)
def test_firefox_shows_the_same_as_a_desktop(puppeteer, need, address, artefacts, name):
    firefox = need("firefox-esr", "firefox", do="apt-get install firefox-esr")
    picture = artefacts / f"site-{name[:2]}-firefox.png"
    script = Path(__file__).with_name("firefox.mjs")
    words = [script, puppeteer, firefox, address, name, picture]
    done = subprocess.run(["node", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert_runs(name, json.loads(done.stdout))
