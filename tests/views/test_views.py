"""The views without a browser: their twins, what they escape, how they break, how a chat stops."""

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from io import BytesIO

import pytest
from PIL import Image
from slow_model import slow_model
from tiny_server import head, tiny_server

import llamalab
from llamalab import chat_box, client, inspector, race, time_bars, waterfall
from llamalab.errors import LlamalabError
from llamalab.standin.answers.recordings import FOLDER
from llamalab.views.base import PAPER, WIDGET
from llamalab.views.chat_box import Turn
from llamalab.views.inspector import CUT, _fragment_in

NAME = "mistral-are-you-listening"
CONTENT = (FOLDER / f"{NAME}.ndjson").read_bytes().partition(b"\n")[2]
RECORDS = [json.loads(line) for line in CONTENT.splitlines()]
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def body(*records: dict) -> bytes:
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def said(text: str, **more) -> dict:
    return {"response": text, "done": False, **more}


def html(view) -> str:
    """All HTML that is in the live view now, but for its style sheet."""
    _, *shown = (widget.value for widget in inside(view.widget, "HTMLModel"))
    return "".join(shown)


def inside(widget, name: str) -> list:
    """The widgets of one kind in a view, itself included, from top to bottom."""
    children = [found for child in getattr(widget, "children", ()) for found in inside(child, name)]
    return [widget] * (widget._model_name == name) + children


def slider(view):
    (found,) = inside(view.widget, "IntSliderModel")
    return found


VIEWS = {
    "inspector": lambda: inspector(CONTENT),
    "waterfall": lambda: waterfall(CONTENT),
    "race": lambda: race(CONTENT),
    "time_bars": lambda: time_bars([NAME]),
    "chat_box": lambda: chat_box(server="http://127.0.0.1:9"),
}


# ---- all of them


def test_importing_llamalab_loads_no_view_until_it_is_used():
    code = "import sys, llamalab; heavy = {'matplotlib', 'ipywidgets', 'llamalab.views'}"
    code += "; print(heavy & {*sys.modules})"
    code += "; llamalab.inspector, llamalab.race; print('llamalab.views' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["set()", "True"]


def test_the_package_names_its_views():
    for name in VIEWS:
        assert name in llamalab.__all__
        assert name in dir(llamalab)
        assert callable(getattr(llamalab, name))
    with pytest.raises(AttributeError, match="no attribute 'panorama'"):
        _ = llamalab.panorama


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_shows_a_widget_and_its_twin(name):
    view = VIEWS[name]()
    bundle = view._repr_mimebundle_()
    assert bundle["text/plain"] == repr(view) == str(view)
    assert bundle[WIDGET]["model_id"] == view.widget.model_id
    assert ("image/png" in bundle) == (name in ("waterfall", "time_bars"))


@pytest.mark.parametrize("name", VIEWS)
def test_the_twin_is_the_same_each_time(name):
    one, other = VIEWS[name]()._repr_mimebundle_(), VIEWS[name]()._repr_mimebundle_()
    assert one.pop(WIDGET) != other.pop(WIDGET)
    assert one == other


@pytest.mark.parametrize("missing", ["ipywidgets", "matplotlib"])
def test_without_a_package_the_twin_is_there(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    bundle = waterfall(CONTENT)._repr_mimebundle_()
    assert bundle["text/plain"].startswith("First text after 2.25 s")
    assert (WIDGET in bundle) == (missing != "ipywidgets")
    assert ("image/png" in bundle) == (missing != "matplotlib")
    told = "python -m pip install ipywidgets" in bundle["text/plain"]
    assert told == (missing == "ipywidgets")


@pytest.mark.parametrize("view", [waterfall, race, lambda x: time_bars({"it": x})])
def test_an_answer_a_body_a_list_and_a_recording_look_the_same(view):
    answer = llamalab.Answer("Yes", RECORDS)
    given = [answer, CONTENT, RECORDS, iter(RECORDS), NAME, FOLDER / f"{NAME}.ndjson"]
    assert len({view(x).text() for x in given}) == 1


@pytest.mark.parametrize("x", [3, None, {"response": "Yes"}, ["Yes"], "no-such-recording"])
def test_what_is_no_answer_is_said_in_a_sentence(x):
    with pytest.raises(LlamalabError) as caught:
        waterfall(x)
    assert caught.value.do


@pytest.mark.parametrize("view", [waterfall, lambda x: time_bars([x])])
def test_a_picture_is_small_and_light(view):
    png = view(said(" word", created_at=f"2026-01-01T00:00:{i:02}Z") for i in range(30)).picture()
    assert len(png) < 60_000
    corner = Image.open(BytesIO(png)).convert("RGB").getpixel((0, 0))
    assert "#{:02x}{:02x}{:02x}".format(*corner) == PAPER


def test_drawing_changes_no_setting_of_matplotlib():
    import matplotlib

    before = dict(matplotlib.rcParams)
    waterfall(CONTENT).picture()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("text", [EVIL, "$\\frac{$", "\u202ereversed", "😀\x00\x1b[31m"])
def test_no_text_of_a_model_is_taken_for_more_than_text(text, recwarn):
    at = {"created_at": "2026-01-01T00:00:01Z"}
    content = body(said(text, **at, **{text: text}), {**said(text, **at), "done": True})
    for view in (inspector(content), waterfall(content), race(content), time_bars({text: content})):
        view._repr_mimebundle_()
        assert "<script" not in html(view)
        assert "<img src=x" not in html(view)
    assert not recwarn.list


# ---- inspector


def test_the_inspector_moves_all_four_panes():
    view = inspector(CONTENT)
    slider(view).value = 4
    shown = html(view)
    assert "bytes 284 to 379 of 1,642" in shown
    assert "line 4 of 14" in shown
    assert f"&quot;response&quot;: {marked('&quot; am&quot;')}" in shown
    assert f"&quot;response&quot;:&quot;{marked(' am')}&quot;," in shown
    assert f"Yes, I{marked(' am')}" in shown
    assert shown.count("<mark>") == 2  # the line, in its bytes and among the lines
    assert shown.count("<mark ") == 4  # the fragment, in each pane


def marked(shown: str) -> str:
    return f'<mark class="ll-fragment">{shown}</mark>'


@pytest.mark.parametrize("fragment", ['"', "\\", "é\n", "\u2028", "response", '","response":"'])
def test_a_fragment_is_marked_in_the_bytes_as_it_is_written_there(fragment):
    record = {"model": "response", "response": fragment, "done": False}
    for escaped in (True, False):
        line = json.dumps(record, ensure_ascii=escaped).encode()
        first, last = _fragment_in(line, fragment)
        assert json.loads(line[first - 1 : last + 1]) == fragment
        assert line[:first].endswith(b'"response": "')
        assert html(inspector(line)).count('<mark class="ll-fragment">') == 4


def test_a_line_without_text_leaves_no_pane_empty():
    view = inspector(body({"status": "loading"}, said("")))
    assert "no text yet" in html(view)
    assert "this line brings no text" in html(view)


def test_buttons_go_back_and_forth_and_stay_inside():
    view = inspector(CONTENT)
    start, back, forth = inside(view.widget, "ButtonModel")
    forth.click()
    forth.click()
    assert slider(view).value == 3
    back.click()
    assert slider(view).value == 2
    start.click()
    back.click()
    assert slider(view).value == 1
    slider(view).value = 14
    forth.click()
    assert slider(view).value == 14


def test_bytes_that_are_no_ascii_are_shown_one_by_one():
    view = inspector(body(said("é")))
    assert '<b class="ll-byte">c3</b><b class="ll-byte">a9</b>' in html(view)
    assert r'<b class="ll-byte">\n</b>' in html(view)


@pytest.mark.parametrize("cut", range(1, len(body(said("é")))))
def test_chunks_show_where_they_begin(cut):
    content = body(said("é"))
    view = inspector(content, [content[:cut], content[cut:]])
    assert html(view).count(CUT) == 2  # in the bytes, and between the numbers above them
    assert f'<small class="ll-chunks">chunk 1{CUT}chunk 2</small>' in html(view)
    assert "in 2 chunks" in view.text()


def test_a_chunk_that_begins_with_a_line_is_flagged_once():
    line = body(said("Yes"))
    view = inspector(line * 2, [line, line])
    assert "chunk 2" not in html(view)
    slider(view).value = 2
    assert html(view).count(f'<small class="ll-chunks">{CUT}chunk 2</small>') == 1


def test_of_many_small_chunks_the_first_and_the_last_number_are_shown():
    content = body(said("Yes"))
    view = inspector(content, [content[i : i + 1] for i in range(len(content))])
    assert f'<small class="ll-chunks">chunks 1–{len(content)}</small>' in html(view)


def test_the_panes_are_as_high_as_the_largest_line_needs_and_keep_it():
    one, long = inspector(CONTENT), inspector(body(said("word " * 1_000)) * 9)
    heights = set()
    for line in (1, 4, 14):
        slider(one).value = line
        heights.add(
            re.search(r'style="--ll-top: (\d+)px; --ll-bottom: (\d+)px"', html(one)).groups()
        )
    ((top, bottom),) = heights
    assert 100 <= int(top) <= 160
    assert 100 <= int(bottom) <= 160
    assert "--ll-top: 200px; --ll-bottom: 200px" in html(long)


@pytest.mark.parametrize("name", ["inspector", "waterfall", "race"])
def test_a_twin_is_no_wider_than_a_terminal(name):
    assert max(map(len, VIEWS[name]().text().splitlines())) <= 88


def test_lines_that_are_no_records_are_shown_with_what_is_wrong():
    view = inspector(b"\xff\n<html>\n\n[1]\n" + body({"error": "gone"}, {"status": "pulling"}))
    for line in range(1, 7):
        slider(view).value = line
        assert ("This line is not a record" in html(view)) == (line < 5)
    assert view.text().count("no record: ") == 4


def test_an_empty_body_is_shown_too():
    assert inspector(b"").text().startswith("0 bytes")
    assert "not a single byte" in html(inspector(b""))


def test_the_inspector_says_what_it_wants():
    with pytest.raises(LlamalabError, match="looks at bytes, not at a str"):
        inspector(CONTENT.decode())


@pytest.mark.parametrize("line", [1, 5_000, 10_000])
def test_ten_thousand_fragments_stay_a_small_page(line):
    view = inspector(body(said("word ")) * 10_000)
    slider(view).value = line
    shown = html(view)
    assert f"line {line:,} of 10,000" in shown
    assert len(shown) < 12_000
    assert len(view.text().splitlines()) < 30


def test_one_huge_line_stays_a_small_page():
    view = inspector(body(said("word " * 100_000, **{"key " * 9_999: "value"})))
    assert len(html(view)) < 20_000
    assert len(view.text()) < 2_000


# ---- waterfall and bars


def test_the_waterfall_says_when_each_fragment_came():
    text = waterfall(CONTENT).text()
    assert "load 1.58 s (47%) · read 0.67 s (20%) · write 1.08 s (32%)" in text
    assert "     5      2.59 s  0.084 s  ' listening'" in text
    assert "(done)" in text.splitlines()[-1]


def test_a_cut_answer_is_shown_as_far_as_it_came():
    view = waterfall(CONTENT[:500])
    assert "When it was asked is not known" in view.text()
    assert "Not whole: A line is not JSON" in view.text()
    assert "' listening'" in view.text()
    assert view.picture()


def test_an_answer_without_its_last_record_says_so():
    assert "no last record (done: true) came" in waterfall(RECORDS[:5]).text()


def test_an_error_record_is_shown_with_its_words():
    view = waterfall([*RECORDS[:3], {"error": "the llama has left"}])
    assert "error: 'the llama has left'" in view.text()
    assert "Not whole: The server gave up" in view.text()
    assert view.picture()


@pytest.mark.parametrize("records", [[], RECORDS[:1], RECORDS[-1:], [{"error": "no"}], [{}]])
def test_one_record_or_none_is_enough_for_a_waterfall(records):
    view = waterfall(records)
    assert view.text()
    assert view._repr_mimebundle_()[WIDGET]


@pytest.mark.parametrize("when", [None, 5, "yesterday"])
def test_records_without_a_time_say_so(when):
    view = waterfall([said("Yes", created_at=when)])
    assert "do not say when they came" in view.text()
    assert view.picture() is None


def test_ten_thousand_fragments_are_one_picture_of_the_same_size():
    times = [f"2026-01-01T00:{i // 60 % 60:02}:{i % 60:02}.{i:09}Z" for i in range(3_600)] * 3
    view = waterfall(said(" word", created_at=time) for time in sorted(times)[:10_000])
    assert len(view.picture()) < 60_000
    assert len(view.text().splitlines()) < 40


def test_metrics_that_are_left_out_are_named():
    last = {key: value for key, value in RECORDS[-1].items() if key != "load_duration"}
    view = time_bars({"warm": [last], "cut": RECORDS[:3], "whole": RECORDS})
    lines = view.text().splitlines()
    assert "warm does not say (zero is left out): load_duration." in lines
    assert lines[2].split()[:2] == ["warm", "–"]
    assert [line for line in lines if line.startswith("cut is not complete")]
    assert not [line for line in lines if line.startswith("whole ") and "say" in line]
    assert view.picture()


def test_bars_without_answers_say_so():
    assert time_bars([]).text() == "No answers to compare."
    with pytest.raises(LlamalabError, match="several answers"):
        time_bars(NAME)


# ---- race


def test_the_stream_is_read_while_the_batch_waits():
    view = race(CONTENT)
    assert view.at(0) == ("", "")
    assert view.at(2.6) == ("", "Yes, I am listening")
    assert view.at(view.end)[0] == view.at(view.end)[1] == view.whole


def test_the_race_ends_with_both_answers_whole():
    view = race(CONTENT)
    assert html(view).count('<p class="ll-status">0.0 s: ○ nothing to read yet') == 2
    slider(view).value = slider(view).max
    assert html(view).count('<p class="ll-status">3.3 s: ✔ complete') == 2
    assert html(view).count("How may I assist you today?") == 2
    (play,) = inside(view.widget, "PlayModel")
    assert play.interval * play.max / 1000 == pytest.approx(view.end, abs=0.1)


def test_a_race_needs_times():
    with pytest.raises(LlamalabError, match="nothing to race"):
        race([said("Yes")])


def test_a_long_race_shows_the_end_of_its_text():
    at = {"created_at": "2026-01-01T00:00:01Z"}
    view = race([said("word ", **at) for _ in range(10_000)])
    slider(view).value = slider(view).max
    assert len(html(view)) < 20_000


# ---- chat


@pytest.fixture
def model():
    with slow_model() as model:
        yield model


@pytest.fixture
def chat(model):
    """A chat box on the model, shown."""
    box = chat_box("mistral", server=model.url)
    _ = box.widget
    return box


def in_a_kernel(story: Callable[[], Coroutine]) -> None:
    """Run what happens on an event loop, as in a kernel; afterwards no task is left."""

    async def told() -> None:
        await story()
        await until(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(told())


async def until(true: Callable[[], object]) -> None:
    """Wait for what other tasks do; a test that waits in vain fails after a minute."""
    for _ in range(6_000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


def asked(chat, text: str) -> None:
    """Ask where there is no event loop: the answer is there afterwards."""
    chat.ask(text)
    assert chat._now is None


def test_a_chat_shows_the_answer_and_how_fast_it_was(chat):
    asked(chat, "hello")
    assert "You said: hello" in html(chat)
    assert "3 tokens, 100.0 tokens/s" in html(chat)


def test_the_chat_starts_no_thread(chat):
    async def story():
        chat.ask("hello")
        await until(lambda: not chat._now)

    before = threading.active_count()
    in_a_kernel(story)
    assert "You said: hello" in html(chat)
    mine = {thread for thread in threading.enumerate() if thread.name.startswith("asyncio")}
    assert (threading.active_count() <= before + 1, mine) == (True, set())  # + the model's own


def test_half_a_character_ends_no_chat(chat):
    asked(chat, "smile \ud83e")
    assert "You said: smile ?" in html(chat)
    asked(chat, "hello")
    assert "You said: hello" in html(chat)


def test_bars_of_two_files_with_one_name_are_two(tmp_path):
    recording = (FOLDER / "mistral-are-you-listening.ndjson").read_bytes()
    for day in ("monday", "tuesday"):
        (tmp_path / day).mkdir()
        (tmp_path / day / "a.ndjson").write_bytes(recording)
    text = str(time_bars([tmp_path / "monday/a.ndjson", tmp_path / "tuesday/a.ndjson"]))
    assert "\n1 a " in text
    assert "\n2 a " in text


def test_an_answer_that_ends_at_its_limit_is_not_called_whole(chat):
    asked(chat, "limit")
    assert "The model has used up its tokens, and stops here." in html(chat)
    assert "whole" not in html(chat)


def test_an_answer_is_shown_while_it_comes(chat):
    async def story():
        chat.ask("slow")
        await until(lambda: "tick tick tick" in chat._now.text)
        assert "tick" not in html(chat)
        tick(chat)
        assert html(chat).count(chat._now.text) == 1
        assert 'role="log"' in html(chat)
        assert [message["role"] for message in chat.messages] == ["user"]
        chat.stop()

    in_a_kernel(story)


def tick(chat) -> None:
    """What the browser's clock does while a question is on its way."""
    (clock,) = inside(chat.widget, "PlayModel")
    assert clock.playing
    clock.value += 1


def field(chat):
    return inside(chat.widget, "TextModel")[1]


def press_enter(chat) -> None:
    field(chat)._handle_custom_msg({"event": "submit"}, [])


def test_a_question_that_arrives_after_its_enter_is_asked_whole(chat, model):
    press_enter(chat)
    tick(chat)
    assert not model.asked
    field(chat).value = "the whole question"
    assert [it["messages"][-1]["content"] for it in model.asked] == ["the whole question"]
    assert field(chat).value == ""


def test_a_question_that_was_there_before_its_enter_is_asked_after_three_ticks(chat, model):
    field(chat).value = "typed, left, and sent"
    assert not model.asked  # leaving the field is not Enter
    press_enter(chat)
    for _ in range(3):
        assert not model.asked
        tick(chat)
    assert [it["messages"][-1]["content"] for it in model.asked] == ["typed, left, and sent"]


def test_the_clock_stops_with_the_answer(chat):
    (clock,) = inside(chat.widget, "PlayModel")
    asked(chat, "hello")
    assert not clock.playing
    press_enter(chat)
    for _ in range(3):
        tick(chat)
    assert not clock.playing  # there was no question


def test_an_answer_whose_page_was_closed_does_not_block_the_next_one(chat, model):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asked_and_left(chat, model))
    asked(chat, "hello")
    assert "You said: hello" in html(chat)
    loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(loop), return_exceptions=True))
    loop.close()


async def asked_and_left(chat, model) -> None:
    chat.ask("error")
    await until(lambda: model.asked)


def test_the_chat_remembers(chat, model):
    asked(chat, "one")
    asked(chat, "two")
    contents = [message["content"] for message in model.asked[-1]["messages"]]
    assert contents == ["one", "You said: one", "two"]
    assert chat.messages == [*model.asked[-1]["messages"], said_by_model("You said: two")]


def said_by_model(text: str) -> dict:
    return {"role": "assistant", "content": text}


def test_the_system_prompt_is_posted_first(chat, model):
    system = inside(chat.widget, "TextModel")[0]
    system.value = "Be brief."
    asked(chat, "hello")
    assert model.asked[0]["messages"][0] == {"role": "system", "content": "Be brief."}
    assert chat.messages[0]["role"] == "system"


def test_another_model_is_asked_once_it_is_chosen(chat, model):
    (models,) = inside(chat.widget, "DropdownModel")
    assert models.options == ("mistral", "tiny:latest", "slow:latest")
    models.value = "tiny:latest"
    asked(chat, "hello")
    assert model.asked[0]["model"] == "tiny:latest"


@pytest.mark.parametrize("question", ["slow", "pause", "silent"])
def test_stop_closes_the_connection(chat, model, question):
    async def story():
        chat.ask(question)
        await until(lambda: model.asked)
        if question != "silent":
            await until(lambda: chat._now.text)
        chat.stop()
        assert chat._now is None  # at once
        await until(model.gone.is_set)

    in_a_kernel(story)
    assert "Stopped." in html(chat)


def test_an_interrupt_stops_a_question_asked_without_an_event_loop(chat, model, monkeypatch):
    monkeypatch.setattr("llamalab.views.chat_box.fragment_of", interrupt)
    with pytest.raises(KeyboardInterrupt):
        chat.ask("slow")
    assert model.gone.wait(60)
    assert chat._now is None


def interrupt(record: dict) -> str:
    raise KeyboardInterrupt


def test_what_came_before_the_stop_stays(chat):
    async def story():
        chat.ask("pause")
        await until(lambda: chat._now.text == "You said: ")
        chat.stop()

    in_a_kernel(story)
    assert chat.messages[-1] == said_by_model("You said: ")
    assert "You said: " in html(chat)


def test_a_question_without_an_answer_is_not_remembered(chat, model):
    async def story():
        chat.ask("silent")
        await until(lambda: model.asked)
        chat.stop()

    in_a_kernel(story)
    asked(chat, "hello")
    assert [message["content"] for message in chat.messages] == ["hello", "You said: hello"]


@pytest.mark.parametrize(
    ("question", "sentence"), [("error", "the llama has left"), ("cut", "the connection broke")]
)
def test_a_broken_answer_is_a_sentence_and_the_next_question_works(chat, question, sentence):
    asked(chat, question)
    assert sentence in html(chat)
    assert "You said: " in html(chat)
    asked(chat, "hello")
    assert sentence not in html(chat)
    assert "You said: hello" in html(chat)


def test_a_server_that_is_not_there_is_a_sentence(unused_address):
    box = chat_box(server=unused_address)
    _ = box.widget
    asked(box, "hello")
    assert "No server answers" in html(box)
    assert box.messages == []
    assert "No server answers" in box.text()


def test_one_question_at_a_time(chat, model):
    async def story():
        chat.ask("slow")
        await until(lambda: model.asked)
        chat.ask("hello")
        assert "stop it first" in html(chat)
        chat.stop()

    in_a_kernel(story)
    asked(chat, "hello")
    assert [request["messages"][-1]["content"] for request in model.asked] == ["slow", "hello"]


def test_a_refused_question_is_asked_once(chat, model):
    asked(chat, "busy")
    assert "The server is busy (HTTP 503)." in html(chat)
    assert len(model.asked) == 1


def test_a_server_that_needs_no_proxy_is_asked_without_one(model, monkeypatch):
    """`requests` knows a network in NO_PROXY, httpx does not."""
    with tiny_server(head("403 Forbidden", "Content-Length: 0")) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("no_proxy", "127.0.0.0/8")
        box = chat_box("mistral", server=model.url.replace("127.0.0.1", "127.1"))
        asked(box, "hello")
    assert box.text() == "you: hello\nslow: You said: hello"


def test_a_server_that_does_not_begin_to_answer_is_asked_once(chat, model, monkeypatch):
    monkeypatch.setattr(client, "READ", 0.2)
    asked(chat, "silent")
    assert "The server has not begun to answer in 0.2 seconds." in html(chat)
    assert len(model.asked) == 1


def test_where_nothing_answers_the_client_asks_again(model, unused_address, monkeypatch):
    """It knows other ways: to another server of this machine, or where a redirect leads."""
    box = chat_box("mistral", server=unused_address)
    monkeypatch.setattr(client, "post", partial(post_elsewhere, client.post, model.url))
    asked(box, "hello")
    assert box.text() == "you: hello\nslow: You said: hello"


def post_elsewhere(post, url: str, path: str, data: dict, server: str):
    return post(path, data, url)


@pytest.mark.parametrize(
    ("formats", "chosen"),
    [
        ({"mistral:latest": "recording", "smollm2:135m": "gguf"}, "smollm2:135m"),
        ({"tiny:latest": "gguf", "mistral:latest": "gguf"}, "mistral"),
        ({"mistral:latest": "recording"}, "mistral"),
        ({}, "mistral"),
    ],
)
def test_the_chat_starts_on_a_model_that_answers_everything(monkeypatch, formats, chosen):
    models = [(name, kind == "recording") for name, kind in formats.items()]
    monkeypatch.setattr("llamalab.views.live_records.offered", lambda server: models)
    box = chat_box()
    (dropdown,) = inside(box.widget, "DropdownModel")
    assert dropdown.value == box.model == chosen
    assert chosen not in box.text()  # the stored text is the same on every server


def test_what_the_model_says_is_text(chat):
    asked(chat, EVIL)
    assert "<script" not in html(chat)
    assert "&lt;script&gt;" in html(chat)


def test_a_chat_works_without_being_shown(model):
    box = chat_box(server=model.url)
    asked(box, "hello")
    assert box.text() == "you: hello\nslow: You said: hello"


def test_a_long_conversation_stays_a_small_page(chat):
    for _ in range(100):
        chat.turns.append(Turn("you", "word " * 10_000))
    chat._show()
    assert len(html(chat)) < 120_000


def test_a_new_chat_forgets(chat, model):
    asked(chat, "one")
    chat.clear()
    asked(chat, "two")
    assert len(model.asked[-1]["messages"]) == 1
