"""A class's lesson in the browser: real pages at a real nginx, on an address that is not secure.

Chromium calls `http://class.example` insecure, as it does any name or address in a school's
network without a certificate: the page has no service worker there.
"""

import contextlib
import re

import pytest
from lab_page import CHROMIUM, MINUTE, QUIET
from nginx_class import INSTALL, NGINX, nginx_class
from playwright.sync_api import sync_playwright

from llamalab.standin.answers.local_model import local_model
from llamalab.standin.run import BuiltinServer

NAME = "class.example"
RULES = f"--host-resolver-rules=MAP {NAME} 127.0.0.1, MAP * ~NOTFOUND"
READY = """() => {
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.sessionContext?.session?.kernel?.status === 'idle';
}"""
SHOWN = "() => window.jupyterapp?.shell.currentWidget?.context?.isReady"
# Run code as a cell does; what it shows, and how many ms after the start.
RUN = """code => {
    const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
    const shown = [], start = performance.now(), request = kernel.requestExecute({ code });
    request.onIOPub = ({ content }) => {
        const text = content.text || content.data?.['text/plain'] || content.evalue;
        if (text) shown.push([performance.now() - start, text]);
    };
    return request.done.then(() => shown);
}"""
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


@contextlib.contextmanager
def a_class(need, site, folder, count: int, **options):
    """A class of so many students at the site; `options` are those of its model server."""
    need(*NGINX, do=INSTALL)
    with (
        BuiltinServer.start(**options) as upstream,
        nginx_class(folder, upstream.url, count=count, site=str(site)) as running,
    ):
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


def run(page, code: str) -> list[tuple[float, str]]:
    return page.evaluate(RUN, code)


def text(shown) -> str:
    return "".join(part for _, part in shown)


@pytest.fixture(scope="module")
def lesson(need, browser, site, tmp_path_factory):
    """One student's page at a class's server, four times as fast as the recordings."""
    with a_class(need, site, tmp_path_factory.mktemp("class"), 3, speed=4) as running:
        context = log_in(running, browser, 1)
        page = opened(running, context)
        page.wait_for_function(READY)
        yield running, context, page


def test_the_class_s_server_answers_line_by_line_on_an_insecure_address(lesson, artefacts):
    running, _, page = lesson
    assert page.evaluate("[isSecureContext, 'serviceWorker' in navigator]") == [False, False]
    port = running.listen.port
    said = text(run(page, "import llamalab; SERVER = llamalab.server()"))
    assert said == f"Server: http://{NAME}:{port} (llamalab's built-in server)\n"
    shown = run(page, "for word in llamalab.stream('Are you listening?'): print(word, flush=True)")
    assert text(shown).split("\n")[:3] == ["Yes", ",", " I"]
    moments = [moment for moment, _ in shown]
    assert len({round(moment / 10) for moment in moments}) > 8  # not all at once
    page.screenshot(path=artefacts / "class-page.png")
    assert {line["student"] for line in running.log() if line["status"] == "200"} == {"student2"}


def test_an_answer_that_is_not_read_to_its_end_is_stopped(lesson):
    page = lesson[2]
    for _ in range(2):  # the second one would be refused while the first one runs
        code = "words = llamalab.stream('Are you listening?'); print(next(words)); words.close()"
        assert text(run(page, code)) == "Yes\n"


def test_a_script_is_written_and_run_and_asks_the_class_s_server(lesson):
    running, _, page = lesson
    source = "import os\nprint(os.environ['OLLAMA_HOST'])"
    assert "Writing mine.py" in text(run(page, f"%%writefile mine.py\n{source}"))
    said = text(run(page, "!python mine.py"))
    assert said.strip() == f"http://{NAME}:{running.listen.port}"


def test_chapters_that_need_the_built_in_server_have_it_in_the_page(lesson):
    _, _, page = lesson
    said = text(run(page, "llamalab.server(builtin=True);"))
    assert said.startswith("Server: http://127.0.0.1:11434 (llamalab's built-in server, in this")


def test_reopening_the_page_shows_the_student_s_own_notebook(lesson):
    running, context, page = lesson
    page.evaluate(NOTE, "This is mine.")
    again = opened(running, context)
    again.wait_for_function(SHOWN)
    assert again.evaluate(FIRST_CELL) == "This is mine."
    stored = again.evaluate(STORED)
    assert stored
    assert all(re.fullmatch(".* student2( files)?", name) for name in stored)
    again.close()


@pytest.mark.long
def test_reopening_the_page_has_the_scripts_and_ticks_of_the_last_time(lesson):
    running, context, page = lesson
    run(page, "%%writefile kept.py\nprint('still here')")
    run(page, "import llamalab\ndef who_answered(record):\n    return record['model']")
    assert "OK" in text(run(page, "llamalab.check('who_answered', who_answered)"))
    again = opened(running, context)
    again.wait_for_function(READY)
    assert text(run(again, "!python kept.py")) == "still here\n"
    assert "00" in text(run(again, "import llamalab; llamalab.progress()")).partition("✔")[2][:4]
    assert "this browser keeps nothing" not in text(run(again, "print(llamalab.doctor())"))
    again.close()


@pytest.mark.long
@pytest.mark.usefixtures("model_file")
def test_a_class_of_ten_pages_asks_the_model_and_each_keeps_its_own(need, browser, site, tmp_path):
    engine = local_model()
    with a_class(need, site, tmp_path, 10, engine=engine) as running:
        contexts = [log_in(running, browser, number) for number in range(10)]
        pages = [opened(running, context) for context in contexts]
        for page in pages:
            page.wait_for_function(READY)
        start = "([code, run]) => { window.asked = eval(run)(code); }"
        for number, page in enumerate(pages):  # all at once
            code = f"PROMPT = 'I am number {number}. Name an animal.'\n{ASK}"
            page.evaluate(start, [code, f"({RUN})"])
        shown = [page.evaluate("() => window.asked") for page in pages]
        for number, page in enumerate(pages):
            assert len(shown[number]) > 8, text(shown[number])
            assert "429" not in text(shown[number])
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
