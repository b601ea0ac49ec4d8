"""The views in a real browser, on a running kernel: what moves when a person moves it."""

import re

import pytest
from lab_page import new_page, open_notebook, resize, run_all, use_theme, write_notebook
from playwright.sync_api import Page, expect
from slow_model import slow_model

FIRST = """\
import llamalab
from llamalab.standin.answers.recordings import FOLDER
content = (FOLDER / "mistral-are-you-listening.ndjson").read_bytes().partition(b"\\n")[2]
chunks = [content[:150], content[150:700], content[700:]]
line = '{"response":"é ","done":false}\\n'.encode()"""
VIEWS = {
    "inspector": "llamalab.inspector(content, chunks)",
    "long-inspector": "llamalab.inspector(line * 10_000)",
    "waterfall": "llamalab.waterfall(content)",
    "race": "llamalab.race(content)",
    "time-bars": "llamalab.time_bars({'first': content, 'cut': content[:500]})",
    "chat-box": "llamalab.chat_box(server=%r)",
}
ALL_IN_VIEW = """output => {  // nothing sticks out of the page to the right
    const edge = output.getBoundingClientRect().right + 1;
    const outside = [...output.querySelectorAll('.ll, .ll-pane, .ll mark, img, button, input')]
        .filter(element => element.getBoundingClientRect().right > edge);
    return outside.map(element => element.outerHTML.slice(0, 80));
}"""

CLIPPED = """output => [...output.querySelectorAll('.ll-panes [tabindex]')]  // rows out of sight
    .filter(pane => pane.scrollHeight > pane.clientHeight + 1)
    .map(pane => pane.textContent.slice(0, 80))"""
# Two panes beside each other, and two below them, as there is room for on this page.
TWO_BY_TWO = """output => {
    const [one, two, three, four] = [...output.querySelectorAll('[role=region]')]
        .map(pane => pane.getBoundingClientRect().top);
    return one === two && two < three && three === four;
}"""
# Note the text that an element has, and each other one that it gets, for however short a time.
NOTED = """element => {
    window.noted = [element.innerText];
    new MutationObserver(() => {
        if (element.innerText !== window.noted.at(-1)) window.noted.push(element.innerText);
    }).observe(element, {childList: true, characterData: true, subtree: true});
}"""
FOCUSED = "() => (({outlineStyle, outlineWidth}) => [outlineStyle, outlineWidth])"
FOCUSED += "(getComputedStyle(document.activeElement))"


@pytest.fixture(scope="module")
def model():
    with slow_model() as model:
        yield model


@pytest.fixture(scope="module")
def notebook(browser, lab, model):
    """A page with a view in each cell, all of them run."""
    *others, chat = VIEWS.values()
    write_notebook(lab.folder / "views.ipynb", FIRST, *others, chat % model.url)
    page = new_page(browser, lab.address)
    open_notebook(page, "views.ipynb")
    run_all(page)
    expect(page.locator(".jp-OutputArea-output")).to_have_count(len(VIEWS))
    yield page
    page.close()


def view(page: Page, name: str):
    """The output of the cell with this view, in sight."""
    cell = page.locator(".jp-CodeCell").nth(1 + list(VIEWS).index(name))
    cell.scroll_into_view_if_needed()
    return cell.locator(".jp-OutputArea")


def test_a_step_moves_all_four_panes_together(notebook):
    inspector = view(notebook, "inspector")
    panes = inspector.get_by_role("region")
    expect(panes).to_have_count(4)
    before = panes.all_inner_texts()
    inspector.get_by_role("button", name="Next ▶").click()
    expect(panes.nth(3).locator("mark")).to_have_text(",")
    assert all(was != now for was, now in zip(before, panes.all_inner_texts(), strict=True))
    expect(panes.locator(".ll-fragment")).to_have_text([",", ",", '","', ","])


def test_the_arrow_keys_move_the_slider(notebook):
    inspector = view(notebook, "inspector")
    inspector.get_by_role("button", name="Start").click()
    expect(inspector.locator(".ll-text mark")).to_have_text("Yes")
    inspector.get_by_role("slider").focus()
    for _ in range(3):
        notebook.keyboard.press("ArrowRight")
    expect(inspector.locator(".ll-text mark")).to_have_text(" am")
    notebook.keyboard.press("ArrowLeft")
    expect(inspector.locator(".ll-text mark")).to_have_text(" I")


def test_all_four_panes_are_in_sight_on_a_laptop_and_nothing_jumps(notebook):
    resize(notebook, 1366, 768)
    inspector = view(notebook, "inspector")
    inspector.get_by_role("slider").focus()
    notebook.wait_for_function(TWO_BY_TWO, arg=inspector.element_handle())
    heights = set()
    keys = ("Home", "ArrowRight", "ArrowRight", "End")  # the last line is the longest
    for key, line in zip(keys, (1, 2, 3, 14), strict=True):
        notebook.keyboard.press(key)
        expect(inspector).to_contain_text(f"line {line} of 14")
        heights.add(round(inspector.bounding_box()["height"]))
        assert inspector.evaluate(CLIPPED) == []
    assert len(heights) == 1
    assert heights.pop() <= notebook.locator(".jp-NotebookPanel-notebook").bounding_box()["height"]


def test_the_keyboard_alone_reaches_each_control_and_one_sees_where_it_is(notebook):
    inspector = view(notebook, "inspector")
    play = inspector.get_by_role("button", name="Play")
    play.focus()
    for name in ("Start", "Back", "Next"):
        notebook.keyboard.press("Tab")
        expect(inspector.get_by_role("button", name=name)).to_be_focused()
        assert notebook.evaluate(FOCUSED) == ["solid", "3px"]
    notebook.keyboard.press("Tab")
    expect(inspector.get_by_role("slider")).to_be_focused()
    notebook.keyboard.press("Tab")  # the slider's number, which can be typed
    for number in range(4):
        notebook.keyboard.press("Tab")
        expect(inspector.get_by_role("region").nth(number).locator("[tabindex]")).to_be_focused()
        assert notebook.evaluate(FOCUSED) == ["solid", "3px"]


def test_play_goes_to_the_last_line_and_again(notebook):
    inspector = view(notebook, "inspector")
    inspector.get_by_role("slider").focus()
    for key in ("End", "ArrowLeft", "ArrowLeft"):
        notebook.keyboard.press(key)
    expect(inspector.locator(".ll-text mark")).to_have_text(" today")
    play = inspector.get_by_role("button", name=re.compile("Play|Pause"))
    play.evaluate(NOTED)
    play.click()
    expect(inspector).to_contain_text("this line brings no text")
    notebook.wait_for_function("() => window.noted.length > 2")
    assert notebook.evaluate("window.noted") == ["▶ Play", "❚❚ Pause", "▶ Play"]


def test_ten_thousand_fragments_do_not_freeze_the_page(notebook):
    inspector = view(notebook, "long-inspector")
    slider = inspector.get_by_role("slider")
    slider.focus()
    notebook.keyboard.press("End")
    expect(inspector).to_contain_text("line 10,000 of 10,000")
    notebook.keyboard.press("ArrowLeft")
    expect(inspector).to_contain_text("line 9,999 of 10,000")
    assert inspector.locator(".ll *").count() < 300


def test_the_race_runs_to_its_end(notebook):
    race = view(notebook, "race")
    batch, stream = race.get_by_role("region").all()
    race.get_by_role("slider").focus()
    for _ in range(26):  # tenths of a second
        notebook.keyboard.press("ArrowRight")
    expect(stream).to_contain_text("Yes, I am")
    expect(batch).to_contain_text("nothing to read yet")
    race.get_by_role("button", name="▶ Play").click()
    for pane in (batch, stream):
        expect(pane).to_contain_text("✔ complete")
        expect(pane).to_contain_text("How may I assist you today?")


@pytest.mark.parametrize("name", ["waterfall", "time-bars"])
def test_a_picture_has_its_words_and_its_table(notebook, name):
    shown = view(notebook, name)
    picture = shown.locator("img")
    loaded = "image => image.naturalWidth > 600"
    notebook.wait_for_function(loaded, arg=picture.element_handle())
    assert len(picture.get_attribute("alt")) > 80
    shown.get_by_text("The same as a table").click()
    expect(shown.locator("pre")).to_be_visible()
    shown.get_by_text("The same as a table").click()


def test_a_chat_is_asked_stopped_and_asked_again(notebook, model, artefacts):
    chat = view(notebook, "chat-box")
    question = chat.get_by_label("Question")
    question.fill("slow")
    question.press("Enter")
    expect(chat).to_contain_text("tick tick tick")
    chat.get_by_role("button", name="Stop").click()
    assert model.gone.wait(60)
    expect(chat).to_contain_text("Stopped.")

    question.fill("error")
    question.press("Enter")
    expect(chat).to_contain_text("the llama has left")
    question.fill("hello <img src=x onerror=alert(1)>")
    chat.get_by_role("button", name="Send").click()
    expect(chat).to_contain_text("You said: hello <img")
    expect(chat).to_contain_text("3 tokens, 100.0 tokens/s")
    assert model.asked[-1]["messages"][0] == {"role": "user", "content": "slow"}
    expect(chat.get_by_text("You said: hello")).to_be_in_viewport()  # scrolled to its end


@pytest.mark.parametrize(
    "length", [1, *(pytest.param(n, marks=pytest.mark.long) for n in (60, 400))]
)
def test_a_question_typed_at_any_speed_is_asked_whole(notebook, model, length):
    chat = view(notebook, "chat-box")
    question = chat.get_by_label("Question")
    for turn in range(20):
        text = f"{length}, {turn}: " + "llama " * length + "end"
        question.click()
        notebook.keyboard.type(text, delay=0)
        notebook.keyboard.press("Enter")
        expect(chat.get_by_role("log")).to_contain_text(f"You said: {text}")
        expect(question).to_have_value("")
        assert model.asked[-1]["messages"][-1]["content"] == text


def test_a_question_that_was_left_is_asked_when_one_comes_back(notebook, model):
    chat = view(notebook, "chat-box")
    question = chat.get_by_label("Question")
    question.fill("first a thought")
    chat.get_by_label("System prompt").focus()
    notebook.wait_for_timeout(300)
    assert model.asked[-1]["messages"][-1]["content"] != "first a thought"
    question.press("Enter")
    expect(chat.get_by_role("log")).to_contain_text("You said: first a thought")
    expect(question).to_have_value("")


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_the_views_can_be_seen_wide_and_narrow(notebook, artefacts, theme):
    """Last, since it leaves the page as it is: pictures for a person, and nothing sticks out."""
    use_theme(notebook, theme == "dark")
    for width in (1366, 768):
        resize(notebook, width, 1000)
        for name in VIEWS:
            shown = view(notebook, name)
            expect(shown).to_be_visible()
            assert shown.evaluate(ALL_IN_VIEW) == []
            shown.screenshot(path=artefacts / f"view-{name}-{width}-{theme}.png")
