"""The handout: one page for each chapter, with all that it shows in it."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from llamalab import cli
from llamalab.classroom.handout import handout, write_handouts
from llamalab.errors import LlamalabError
from llamalab.lesson.copying import FOR_INSTRUCTORS
from llamalab.lesson.progress import chapter_files

# What a browser loads by itself: in a separate page, only data that is in the page.
LOADS = {"src", "srcset", "data", "poster", "background", "action"}
CHAPTER = "01-raw-bytes"


class Tags(HTMLParser):
    """All tags of a page with their attributes."""

    def __init__(self, page: str):
        super().__init__()
        self.all: list[tuple[str, dict]] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.all.append((tag, dict(attributes)))


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {name: handout(name) for name in [*chapter_files(), FOR_INSTRUCTORS]}


def test_a_page_loads_nothing_and_runs_nothing(pages):
    for name, page in pages.items():
        for tag, attributes in Tags(page).all:
            assert tag not in ("script", "link", "iframe", "object", "embed"), name
            for key in LOADS & attributes.keys():
                assert attributes[key].startswith("data:"), (name, tag, attributes[key][:60])
            if tag == "a":
                assert re.match(r"https?://|#", attributes.get("href", "#")), (name, attributes)
        assert not re.search(r"url\(|@import", page), name


def test_a_page_has_the_code_the_outputs_and_the_pictures(pages):
    page = pages[f"{CHAPTER}.ipynb"]
    assert "<title>01 Fetch an answer as raw bytes</title>" in page
    assert "&lt;Response [200]&gt;" in page
    assert "NameError" in page
    pictures = [each for tag, each in Tags(page).all if tag == "img"]
    assert len(pictures) == 3
    assert all(picture["src"].startswith("data:image/svg+xml;base64,") for picture in pictures)
    assert all(len(picture["alt"]) > 80 for picture in pictures)
    (chart,) = re.findall(
        r'<img [^>]*src="data:image/png;base64,[^>]*>', pages["06-streaming.ipynb"]
    )
    assert re.search(r'alt="[^"]{80,}"', chart)


def test_what_is_folded_on_the_screen_is_open_on_paper(pages):
    folded = [each for page in pages.values() for tag, each in Tags(page).all if tag == "details"]
    assert folded
    assert all("open" in attributes for attributes in folded)


def test_no_speakers_note_is_in_a_students_page(pages):
    assert "Press Shift+Enter once, slowly" not in pages["00-start-here.ipynb"]
    assert "Press Shift+Enter once, slowly" in pages[FOR_INSTRUCTORS]


def test_the_command_writes_one_chapter_or_all(pages, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("llamalab.classroom.handout.handout", pages.get)
    assert cli.main(["handout", "1", "--out", str(tmp_path)]) == 0
    assert [file.name for file in tmp_path.iterdir()] == [f"{CHAPTER}.html"]
    assert cli.main(["handout", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"Unchanged: {tmp_path / CHAPTER}.html" in said
    assert len(list(tmp_path.iterdir())) == len(chapter_files())


def test_a_page_as_llamalab_wrote_it_is_replaced_by_a_newer_one(tmp_path, monkeypatch):
    monkeypatch.setattr("llamalab.classroom.handout.__version__", "0.0.1")
    write_handouts("01", tmp_path)
    monkeypatch.undo()
    (said,) = write_handouts("01", tmp_path)
    assert said == f"Written: {tmp_path / CHAPTER}.html"
    assert "llamalab 0.0.1" not in (tmp_path / f"{CHAPTER}.html").read_text("utf-8")


@pytest.mark.parametrize("change", [lambda page: page.replace("bytes", "BYTES", 1), lambda _: "my"])
def test_a_page_that_was_changed_is_kept_and_the_new_one_is_put_beside_it(tmp_path, change):
    write_handouts("01", tmp_path)
    page = tmp_path / f"{CHAPTER}.html"
    mine = change(page.read_text("utf-8"))
    page.write_text(mine, "utf-8", newline="\n")
    (said,) = write_handouts("01", tmp_path)
    assert f"{CHAPTER}-new.html" in said
    assert "kept" in said
    assert page.read_text("utf-8") == mine
    assert write_handouts("01", tmp_path) == [f"Unchanged: {tmp_path / CHAPTER}-new.html"]


def test_a_chapter_that_is_not_there_and_a_folder_that_cannot_be_are_said_in_words(tmp_path):
    with pytest.raises(LlamalabError, match="no chapter '77'"):
        write_handouts("77", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(LlamalabError, match="cannot be written"):
        write_handouts("01", tmp_path / "file")


@pytest.mark.long
def test_a_browser_shows_it_without_any_network_and_prints_it_on_a4(tmp_path):
    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if not chromium:
        pytest.skip("there is no Chromium")
    from playwright.sync_api import sync_playwright

    write_handouts(None, tmp_path)
    quiet = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=quiet)
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for file in sorted(tmp_path.glob("*.html")):
            page.goto(file.as_uri())
            assert page.evaluate("[...document.images].every(each => each.naturalWidth > 0)")
            paper = page.pdf(prefer_css_page_size=True)
            assert re.search(rb"/MediaBox ?\[0 0 59[456][.\d]* 84[123]", paper), file.name
        browser.close()
    loaded = [url for url in asked if not url.startswith(("file:", "data:"))]
    assert loaded == []
    assert len(asked) >= len(list(Path(tmp_path).glob("*.html")))
