"""A class's lesson in the browser: real pages at a real nginx, on an address that is not secure.

Chromium calls `http://class.example` insecure, as it does any name or address in a school's
network without a certificate: the page has no service worker there.
"""

import asyncio
import contextlib
import json
import re
import threading

import pytest
from lab_page import CHROMIUM, MINUTE, QUIET
from nginx_class import INSTALL, NGINX, nginx_class
from playwright.sync_api import sync_playwright

from llamalab.standin.answers.local_model import local_model
from llamalab.standin.ollama.protocol import record
from llamalab.standin.run import BuiltinServer

NAME = "class.example"
RULES = f"--host-resolver-rules=MAP {NAME} 127.0.0.1, MAP * ~NOTFOUND"
READY = """() => {
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.sessionContext?.session?.kernel?.status === 'idle';
}"""
SHOWN = "() => window.jupyterapp?.shell.currentWidget?.context?.isReady"
# Begin to run code as a cell does; `window.shown` is what it has shown so far.
BEGIN = """code => {
    const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
    const request = kernel.requestExecute({ code });
    window.shown = '';
    request.onIOPub = ({ content }) => {
        window.shown += content.text || content.data?.['text/plain'] || content.evalue || '';
    };
    window.done = request.done.then(() => window.shown);
}"""
DONE = "() => window.done"
NOTE = """text => {
    const { model } = window.jupyterapp.shell.currentWidget.content;
    model.sharedModel.insertCell(0, { cell_type: 'markdown', source: text });
    return window.jupyterapp.commands.execute('docmanager:save');
}"""
FIRST_CELL = "window.jupyterapp.shell.currentWidget.content.model.cells.get(0).sharedModel.source"
STORED = "async () => (await indexedDB.databases()).map(({ name }) => name)"
ASK = """\
import requests, llamalab
answer = requests.post(
    llamalab.server(quiet=True) + "/api/generate", stream=True, timeout=(5, 330),
    json={"model": "smollm2:135m", "prompt": PROMPT, "options": {"num_predict": 12}})
for line in answer.iter_lines():
    print(llamalab.load_answers([line.decode()])[0].get("response"), flush=True)"""


@pytest.fixture(scope="module")
def browser(need):
    """A Chromium that finds the class by its name, and nothing else."""
    program = need(*CHROMIUM, do="apt-get install chromium, or install Google Chrome")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=[*QUIET, RULES])
        yield chromium
        chromium.close()


class OneAtATime:
    """A source that says a fragment when its reader has shown the one before, and not earlier."""

    FRAGMENTS = ("one ", "two ", "three ")

    def __init__(self):
        self.may_speak = threading.Semaphore(0)
        self.left = threading.Event()

    def has(self, model):
        return True

    async def answer(self, path, request):
        try:
            for fragment in self.FRAGMENTS:
                while not self.may_speak.acquire(blocking=False):
                    await asyncio.sleep(0.01)
                yield json.dumps(record(path, "m", fragment)).encode() + b"\n"
            yield json.dumps(record(path, "m", done_reason="stop")).encode() + b"\n"
        finally:
            self.left.set()


@contextlib.contextmanager
def a_class(need, site, folder, count: int, upstream):
    """A class of so many students at the site, who ask this server."""
    need(*NGINX, do=INSTALL)
    with nginx_class(folder, upstream.url, count=count, site=str(site)) as running:
        yield running


def log_in(running, browser, number: int):
    """A browser of the student's own, who has typed the login and the key."""
    _, login, key = running.students[number]
    return browser.new_context(http_credentials={"username": login, "password": key})


def opened(running, context):
    """The lesson's page, not yet ready."""
    page = context.new_page()
    page.set_default_timeout(3 * MINUTE)
    page.goto(f"http://{NAME}:{running.listen.port}/lesson/")
    return page


def run(page, code: str) -> str:
    """What a cell with this code shows."""
    page.evaluate(BEGIN, code)
    return page.evaluate(DONE)


@pytest.fixture(scope="module")
def upstream():
    """The server that the class asks."""
    with BuiltinServer.start(speed=0) as server:
        yield server


@pytest.fixture
def one_at_a_time(upstream):
    """Another source behind that server, for as long as the test lasts."""
    kept = upstream.app.state.source
    upstream.app.state.source = OneAtATime()
    yield upstream.app.state.source
    upstream.app.state.source = kept


@pytest.fixture(scope="module")
def lesson(need, browser, site, upstream, tmp_path_factory):
    """One student's page at a class's server."""
    with a_class(need, site, tmp_path_factory.mktemp("class"), 3, upstream) as running:
        context = log_in(running, browser, 1)
        page = opened(running, context)
        page.wait_for_function(READY)
        yield running, context, page


def test_the_class_s_server_answers_on_an_insecure_address(lesson, artefacts):
    running, _, page = lesson
    assert page.evaluate("[isSecureContext, 'serviceWorker' in navigator]") == [False, False]
    port = running.listen.port
    said = run(page, "import llamalab; SERVER = llamalab.server()")
    assert said == f"Server: http://{NAME}:{port} (llamalab's built-in server)\n"
    shown = run(page, "for word in llamalab.stream('Are you listening?'): print(word)")
    assert shown.split("\n")[:3] == ["Yes", ",", " I"]
    page.screenshot(path=artefacts / "class-page.png")
    assert {line["student"] for line in running.log() if line["status"] == "200"} == {"student2"}


def test_each_fragment_is_shown_before_the_next_one_is_said(lesson, one_at_a_time):
    page = lesson[2]
    code = "for word in llamalab.stream('Count.'): print(word, end='', flush=True)"
    page.evaluate(BEGIN, f"import llamalab; llamalab.server(quiet=True)\n{code}")
    so_far = ""
    for fragment in one_at_a_time.FRAGMENTS:
        one_at_a_time.may_speak.release()
        so_far += fragment
        page.wait_for_function("text => window.shown === text", arg=so_far)
    assert page.evaluate(DONE) == so_far


def test_an_answer_that_is_not_read_to_its_end_is_stopped(lesson, one_at_a_time):
    page = lesson[2]
    start = "import llamalab; llamalab.server(quiet=True); words = llamalab.stream('Count.')"
    for _ in range(2):  # the second one would be refused while the first one runs
        one_at_a_time.left.clear()
        one_at_a_time.may_speak.release()
        assert run(page, f"{start}; print(next(words)); words.close()") == "one \n"
        assert one_at_a_time.left.wait(MINUTE / 1000)


def test_a_script_is_written_and_run_and_asks_the_class_s_server(lesson):
    running, _, page = lesson
    source = "import os\nprint(os.environ['OLLAMA_HOST'])"
    assert "Writing mine.py" in run(page, f"%%writefile mine.py\n{source}")
    said = run(page, "!python mine.py")
    assert said.strip() == f"http://{NAME}:{running.listen.port}"


def test_chapters_that_need_the_built_in_server_have_it_in_the_page(lesson):
    _, _, page = lesson
    said = run(page, "llamalab.server(builtin=True);")
    assert said.startswith("Server: http://127.0.0.1:11434 (llamalab's built-in server, in this")


def test_reopening_the_page_shows_the_student_s_own_notebook(lesson):
    running, context, page = lesson
    page.evaluate(NOTE, "This is mine.")
    context.route("**/pyodide/*", lambda route: route.abort())  # it needs no Python
    again = opened(running, context)
    again.wait_for_function(SHOWN)
    assert again.evaluate(FIRST_CELL) == "This is mine."
    context.unroute_all()
    stored = again.evaluate(STORED)
    assert stored
    assert all(re.fullmatch(".* student2( files)?", name) for name in stored)
    again.close()


@pytest.mark.long
def test_reopening_the_page_has_the_scripts_and_ticks_of_the_last_time(lesson):
    running, context, page = lesson
    run(page, "%%writefile kept.py\nprint('still here')")
    run(page, "import llamalab\ndef who_answered(record):\n    return record['model']")
    assert "OK" in run(page, "llamalab.check('who_answered', who_answered)")
    again = opened(running, context)
    again.wait_for_function(READY)
    assert run(again, "!python kept.py") == "still here\n"
    assert "00" in run(again, "import llamalab; llamalab.progress()").partition("✔")[2][:4]
    assert "this browser keeps nothing" not in run(again, "print(llamalab.doctor())")
    again.close()


@pytest.mark.long
@pytest.mark.usefixtures("model_file")
def test_a_class_of_ten_pages_asks_the_model_and_each_keeps_its_own(need, browser, site, tmp_path):
    with (
        BuiltinServer.start(engine=local_model()) as upstream,
        a_class(need, site, tmp_path, 10, upstream) as running,
    ):
        contexts = [log_in(running, browser, number) for number in range(10)]
        pages = [opened(running, context) for context in contexts]
        for page in pages:
            page.wait_for_function(READY)
        for number, page in enumerate(pages):  # all at once
            code = f"PROMPT = 'I am number {number}. Name an animal.'\n{ASK}"
            page.evaluate(BEGIN, code)
        shown = [page.evaluate(DONE) for page in pages]
        for number, page in enumerate(pages):
            assert re.search(r"\w", shown[number])
            assert "Error" not in shown[number]
            page.evaluate(NOTE, f"I am number {number}.")
        for page in pages:
            page.close()
        for number in (0, 9):
            again = opened(running, contexts[number])
            again.wait_for_function(SHOWN)
            assert again.evaluate(FIRST_CELL) == f"I am number {number}."
            again.close()
        asked = [line for line in running.log() if line["path"] == "/api/generate"]
        assert sorted(line["student"] for line in asked) == sorted(
            f"student{number}" for number in range(1, 11)
        )
        assert {(line["status"], line["complete"]) for line in asked} == {("200", "OK")}
        assert not [line for line in running.log() if re.match("429|5..", line["status"])]
