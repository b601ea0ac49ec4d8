"""A chapter presented in two windows of a real Chromium: the projector's, and the speaker's."""

import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lab_page import MINUTE
from opening import presented
from playwright.sync_api import expect
from projector import (
    CUT,
    ENDS,
    HEIGHTS,
    IDLE,
    READY,
    SMALLEST,
    cells,
    go_on,
    in_sight,
    run_cell,
    run_section,
    said,
    section,
    small_letters,
)

from llamalab.classroom.sections import read_chapter

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CHAPTERS = sorted(path.name for path in NOTEBOOKS.glob("[0-9]*.ipynb"))
CHAPTER = "04-join-fragments.ipynb"
SENTENCE = "Yes, I am listening. How may I assist you today?"
FULL_HD = {"width": 1920, "height": 1080}
LAPTOP = {"width": 1366, "height": 768}
TITLE = """() => window.jupyterapp.shell.currentWidget.node
    .querySelector('.jp-Cell:not(.ll-away) :is(h1, h2)')?.textContent.replace('¶', '').trim()"""
ACTIVATE = "i => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = i; }"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signal stops a server there")


class Stage:
    """The two windows of a presentation, its live server's process, and its folder."""

    def __init__(self, context, presentation, live, folder):
        self.live, self.folder = live, folder
        self.root = presentation.projector.partition("lab/tree/")[0]
        self.requests, self.fresh = [], True
        context.on("request", lambda request: self.requests.append(request.url))
        self.projector = context.new_page()
        self.projector.goto(presentation.projector)
        self.projector.wait_for_function(READY, arg=CHAPTER)
        with context.expect_page() as opened:  # a window, since a tab in the background sleeps
            self.projector.evaluate("() => { window.open('', '', 'popup,noopener'); }")
        self.speaker = opened.value
        self.speaker.set_viewport_size(LAPTOP)
        self.speaker.goto(presentation.speaker)
        expect(self.speaker.locator("#title")).to_have_text("Join the fragments into text")

    def ask(self, key: str, done: str) -> None:
        """Press a key on the speaker's page, and wait until it says that it is done."""
        self.speaker.keyboard.press(key)
        status = self.speaker.locator("#said")
        expect(status).to_contain_text(f"{done}: done in")

    def restart(self) -> None:
        if not self.fresh:
            self.speaker.keyboard.press("Shift+R")
            expect(self.speaker.locator("#said")).to_contain_text("Press R again")
            self.ask("Shift+R", "Reset")
        self.fresh = False
        self.projector.wait_for_function(IDLE)
        self.projector.locator(".jp-Cell:not(.ll-away) h1:visible").wait_for()


def fingerprints(folder: Path) -> dict[str, str]:
    files = [file for file in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in file.parts]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def stage(browser, tmp_path_factory):
    """Chapter 04, presented with a separate server that a test can stop."""
    command = [sys.executable, "-m", "llamalab", "serve", "--port", "0", "--speed", "0"]
    live = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://\S+", live.stdout.readline())[0]
        temporary = tmp_path_factory.mktemp("presented")
        with presented("4", OLLAMA_HOST=address, TMPDIR=str(temporary)) as presentation:
            (folder,) = temporary.glob("llamalab-present-*")
            context = browser.new_context(viewport=FULL_HD)
            context.set_default_timeout(MINUTE)
            yield Stage(context, presentation, live, folder / "lesson")
            context.close()
    finally:
        live.kill()
        live.communicate()


@pytest.fixture
def fresh(stage) -> Stage:
    """The presentation, at the start of its chapter."""
    stage.restart()
    return stage


def notes(chapter: str = CHAPTER) -> list[dict]:
    page = json.loads((NOTEBOOKS / chapter).read_text(encoding="utf-8"))
    return [cell["metadata"]["speaker"] for cell in page["cells"] if "speaker" in cell["metadata"]]


GUESSES = [section.guesses for section in read_chapter(CHAPTER).sections]


def test_the_notes_follow_and_are_never_on_the_projector(fresh, artefacts):
    projector, speaker = fresh.projector, fresh.speaker
    secret = [text for note in notes() for text in (note["say"], note["if_it_fails"])]
    shown = []
    for _ in range(40):
        if section(projector) == len(shown):
            shown.append(projector.wait_for_function(TITLE).json_value())
        text = projector.inner_text("body")
        assert not [words for words in secret if words in text]
        expect(speaker.locator("#title")).to_have_text(shown[-1])
        here = notes()[section(projector)]
        expect(speaker.locator("#say")).to_have_text(here["say"])
        expect(speaker.locator("#iffails")).to_have_text(here["if_it_fails"])
        right = [f"Right: {answer}" for answer in GUESSES[len(shown) - 1]]
        expect(speaker.locator("#right")).to_have_text(". ".join(right))
        if len(shown) == 3:
            speaker.screenshot(path=artefacts / "speaker-1366x768.png")
        if not go_on(projector):
            break
    assert len(shown) == len(notes())
    expect(speaker.locator("#nextchapter")).to_contain_text("05 Write a script")
    projector.keyboard.press("PageUp")
    expect(speaker.locator("#title")).to_have_text(shown[-2])


def test_only_one_section_is_in_sight_and_shift_enter_stays_on_it(fresh, artefacts):
    projector = fresh.projector
    bars = projector.locator(".jp-NotebookPanel-toolbar, .jp-SideBar, #jp-top-panel, .lm-TabBar")
    assert not [bar for bar in bars.all() if bar.is_visible()]
    go_on(projector), go_on(projector)
    section = in_sight(projector)
    for _ in range(4):
        projector.keyboard.press("Shift+Enter")
    projector.wait_for_function(IDLE)
    assert in_sight(projector) == section
    assert [cell["shown"] for cell in cells(projector)].count(True) == len(section) < 6


def test_the_stored_output_comes_while_a_cell_hangs(fresh):
    projector = fresh.projector
    run_section(projector)
    go_on(projector)
    run_section(projector)
    hangs = next(cell for cell in cells(projector) if "json_lines = " in cell["source"])
    projector.keyboard.press("PageUp")
    fresh.live.send_signal(signal.SIGSTOP)
    try:
        projector.evaluate(
            "i => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = i; }",
            hangs["index"],
        )
        projector.keyboard.press("Shift+Enter")
        expect(fresh.speaker.locator("#kernel")).to_contain_text("A cell runs")
        fresh.ask("o", "Stored output")
    finally:
        fresh.live.send_signal(signal.SIGCONT)
    projector.wait_for_function(IDLE)
    assert cells(projector)[hangs["index"]]["outputs"] == []  # this one has none; no error either
    fresh.ask("Shift+O", "Stored output of the rest")
    stored = json.loads((NOTEBOOKS / CHAPTER).read_text(encoding="utf-8"))["cells"]
    kinds = [[output["output_type"] for output in cell.get("outputs", [])] for cell in stored]
    now = [[output["output_type"] for output in cell["outputs"]] for cell in cells(projector)]
    assert now[hangs["index"] :] == kinds[hangs["index"] :]


def test_code_that_has_not_run_is_said_and_run_by_a_key(fresh):
    projector, speaker = fresh.projector, fresh.speaker
    go_on(projector)
    code = [cell for cell in cells(projector) if cell["code"] and cell["shown"]]
    unrun = f"{len(code)} cell" + ("s" if len(code) > 1 else "")
    expect(speaker.locator("#where")).to_contain_text(f"{unrun} on this page ha")
    go_on(projector)
    expect(speaker.locator("#said")).to_contain_text(f"{unrun} on the last page ha")
    projector.keyboard.press("Shift+Enter")
    expect(speaker.locator("#kernel")).to_have_text("An earlier cell has not run: press a:")
    (failed,) = [cell for cell in cells(projector) if cell["active"]]
    fresh.ask("a", "All cells above")
    projector.wait_for_function(IDLE)
    expect(speaker.locator("#kernel")).to_have_text("Ready:")
    above = [cell for cell in cells(projector)[: failed["index"]] if cell["code"]]
    assert [cell for cell in above if cell["count"] is None] == []
    assert said(cells(projector)[failed["index"]])


@pytest.mark.long
def test_the_letters_size_is_asked_for_and_stays(fresh):
    text = fresh.projector.locator(".jp-MarkdownCell p").first
    size = "text => parseFloat(getComputedStyle(text).fontSize)"
    before = text.evaluate(size)
    fresh.ask("+", "Larger letters")
    assert text.evaluate(size) == pytest.approx(1.1 * before, abs=0.1)
    fresh.projector.on("dialog", lambda dialog: dialog.accept())
    fresh.projector.reload()
    fresh.projector.wait_for_function(READY, arg=CHAPTER)
    assert text.evaluate(size) == pytest.approx(1.1 * before, abs=0.1)
    fresh.ask("-", "Smaller letters")
    assert text.evaluate(size) == pytest.approx(before, abs=0.1)


@pytest.mark.long
def test_a_plan_has_its_own_clock_and_pages(browser, artefacts, tmp_path):
    with presented("4", "--plan", "45", TMPDIR=str(tmp_path)) as presentation:
        context = browser.new_context(viewport=FULL_HD)
        context.set_default_timeout(MINUTE)
        there = Stage(context, presentation, None, tmp_path)
        taught = [note for note in notes() if (note["plan"] or 999) <= 45]
        until = sum(note["minutes"] for note in taught)
        planned, marks = there.speaker.locator("#planned"), there.speaker.locator("#marks")
        expect(planned).to_contain_text(f"chapter until {until}:00")
        shown = [notes()[0]["say"]]
        for _ in range(40):
            if not go_on(there.projector):
                break
            words = notes()[section(there.projector)]["say"]
            expect(there.speaker.locator("#say")).to_have_text(words)
            expect(marks).not_to_contain_text("not in your")
            if words != shown[-1]:
                shown.append(words)
        assert shown == [note["say"] for note in taught]
        expect(planned).to_contain_text(f"{until}:00, chapter until {until}:00")
        there.projector.keyboard.press("PageUp")  # also to what the plan does not have
        there.speaker.screenshot(path=artefacts / "speaker-plan.png")
        expect(marks).to_have_text("not in your 45-minute plan, can be left out when late")
        there.projector.keyboard.press("PageUp")
        expect(marks).to_have_text("not in your 45-minute plan")
        context.close()


@pytest.mark.long
def test_a_failed_cell_stays_the_one_that_the_keys_are_about(fresh):
    projector = fresh.projector
    go_on(projector), go_on(projector)
    projector.keyboard.press("Shift+Enter")  # nothing is imported yet: a NameError
    expect(fresh.speaker.locator("#kernel")).to_have_text("An earlier cell has not run: press a:")
    (failed,) = [cell for cell in cells(projector) if cell["active"]]
    assert "NameError" in str(failed["outputs"])
    fresh.ask("o", "Stored output")
    assert "Yes\n,\n I" in said(cells(projector)[failed["index"]])


@pytest.mark.long
def test_another_chapter_and_a_reload_are_followed(fresh):
    speaker, projector = fresh.speaker, fresh.projector
    speaker.keyboard.press("Shift+N")
    projector.wait_for_function(READY, arg="05-generate-script.ipynb")
    expect(speaker.locator("#title")).to_have_text("Write a script that asks a model")
    speaker.locator("#chapters").select_option(CHAPTER)
    expect(speaker.locator("#title")).to_have_text("Join the fragments into text")
    go_on(projector), go_on(projector)
    expect(speaker.locator("#title")).to_have_text("Break it first")
    speaker.reload()
    expect(speaker.locator("#title")).to_have_text("Break it first")
    projector.on("dialog", lambda dialog: dialog.accept())
    projector.reload()
    projector.wait_for_function(READY, arg=CHAPTER)
    speaker.wait_for_timeout(2500)  # the page asks each two seconds
    expect(speaker.locator("#title")).to_have_text("Break it first")


@pytest.mark.long
def test_the_clock_says_how_late_it_is(fresh):
    speaker = fresh.speaker
    speaker.keyboard.press("c")
    expect(speaker.locator("#plan")).to_have_text("on time")
    first = notes()[0]["minutes"]
    speaker.evaluate(f"began -= {first + 3} * 60_000 + 500; tick()")
    expect(speaker.locator("#plan")).to_have_text("late by 3 min")
    speaker.evaluate("began = Date.now(); tick()")
    go_on(fresh.projector), go_on(fresh.projector), go_on(fresh.projector), go_on(fresh.projector)
    expect(speaker.locator("#plan")).to_contain_text("early by ")


def test_the_recordings_answer_at_once_when_the_live_server_is_silent_then_dead(fresh):
    """The last one on this stage, whose live server it ends.

    Also: no file is changed, and nothing is loaded from elsewhere.
    """
    projector = fresh.projector
    before = fingerprints(fresh.folder)
    go_on(projector)
    run_cell(projector)
    fresh.live.send_signal(signal.SIGSTOP)
    projector.keyboard.press("Shift+Enter")  # requests.post, without a timeout
    expect(fresh.speaker.locator("#kernel")).to_contain_text("A cell runs")
    time.sleep(0.5)
    fresh.ask("r", "Recordings")
    projector.wait_for_function(IDLE)
    seconds = float(re.search(r"done in ([\d.]+) s", fresh.speaker.inner_text("#said"))[1])
    print(f"Recordings in use after {seconds} s, while a cell hung")
    assert "the cell runs again" in fresh.speaker.inner_text("#said")
    fresh.live.kill()
    fresh.speaker.keyboard.press("l")
    expect(fresh.speaker.locator("#said")).to_contain_text("so the recordings stay in use")
    run_section(projector)
    for _ in range(3):
        go_on(projector)
        run_section(projector)
    texts = [said(cell) for cell in cells(projector)]
    assert [text for text in texts if SENTENCE in text]
    errors = [
        out for cell in cells(projector) for out in cell["outputs"] if out["output_type"] == "error"
    ]
    assert errors == []
    # A chapter that is opened now asks the recordings, too.
    fresh.speaker.locator("#chapters").select_option("01-raw-bytes.ipynb")
    projector.wait_for_function(READY, arg="01-raw-bytes.ipynb")
    run_section(projector)
    assert "built-in server" in said(cells(projector)[1])
    assert fingerprints(fresh.folder) == before
    own = (fresh.root, "data:", "blob:")
    assert [url for url in fresh.requests if not url.startswith(own)] == []
    assert len(fresh.requests) > 20


@pytest.mark.long
@pytest.mark.usefixtures("model_file")
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_each_chapter_fits_on_the_screen(browser, artefacts, tmp_path, chapter):
    with presented(chapter, TMPDIR=str(tmp_path)) as presentation:
        page = browser.new_page(viewport=FULL_HD)
        page.set_default_timeout(MINUTE)
        page.goto(presentation.projector)
        page.wait_for_function(READY, arg=chapter)
        fits(page, artefacts, moves=chapter == CHAPTER)
        page.close()


def fits(page, artefacts, moves: bool = False) -> None:
    """Walk through a chapter: each section, after its run, is in sight, and can be read."""
    chapter = page.evaluate("window.jupyterapp.shell.currentWidget.context.path")
    trouble, seen = [], set()
    for number in range(80):
        run_section(page)
        seen.update(in_sight(page))
        high, screen = page.evaluate(HEIGHTS)
        name = f"{Path(chapter).stem}-{number:02}.png"
        small = small_letters(page, NOTEBOOKS / "images")
        long = [output for output in page.evaluate(CUT) if not output[0].endswith("stderr")]
        may_be_long = "Ask a model: python generate.py" in str(
            long
        )  # 05 shows a script of 80 lines
        if high + 6 > screen or small or (long and not may_be_long):
            trouble.append((name, round(high), screen, small[:5], long))
        assert all(page.evaluate(ENDS)), name
        page.screenshot(path=artefacts / f"projector-{name}")
        if moves and page.locator(".ll-tape").count():
            before = page.locator(".ll-text").first.text_content()
            page.get_by_role("button", name="Next").first.click()
            expect(page.locator(".ll-text").first).not_to_have_text(before)
            moves = False
        if not go_on(page):
            break
    assert trouble == []
    assert not moves
    assert len(seen) == len(cells(page))
    assert SMALLEST == 24
