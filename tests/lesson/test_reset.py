"""A fresh chapter, and the old one beside it."""

import pytest

from llamalab import cli
from llamalab.lesson import copying, progress

CHAPTER = "04-join-fragments.ipynb"
OLD = "04-join-fragments-old.ipynb"


@pytest.fixture
def here(lesson, copy, page, monkeypatch):
    """The student's copy of a lesson with a chapter 04, which the student has run."""
    monkeypatch.setattr(copying, "PACKAGED", lesson)
    (lesson / CHAPTER).write_text(page(ran="2"))
    copying.copy_lesson(lesson, copy)
    (copy / CHAPTER).write_text(page("1 + 2", ran="mine"))
    monkeypatch.chdir(copy)
    return copy


@pytest.mark.parametrize(
    "typed", ["4", "04", "04-join-fragments", CHAPTER, f"llama-lesson/{CHAPTER}"]
)
def test_a_chapter_is_fresh_again_and_the_old_one_is_kept(here, page, capsys, typed):
    assert cli.main(["reset", typed]) == 0
    assert (here / OLD).read_text() == page("1 + 2", ran="mine")
    fresh = copying.state_of(here / CHAPTER)
    assert (fresh.text, fresh.run) == (copying.read_manifest(here)[CHAPTER], False)
    said = capsys.readouterr().out
    assert said.startswith(f"{CHAPTER} is fresh again. Your old one is {OLD} now.\n")


def test_each_old_one_gets_a_name_of_its_own(here, page):
    (here / OLD).write_text("a name I liked")
    assert cli.main(["reset", "4"]) == 0
    assert (here / OLD).read_text() == "a name I liked"
    kept = (here / "04-join-fragments-old-2.ipynb").read_text()
    assert kept == page("1 + 2", ran="mine")


def test_what_is_fresh_is_left_as_it_is(here, capsys):
    cli.main(["reset", "4"])
    capsys.readouterr()
    assert cli.main(["reset", "4"]) == 0
    assert capsys.readouterr().out == f"{CHAPTER} is fresh already.\n"
    assert not (here / "04-join-fragments-old-2.ipynb").exists()


def test_a_chapter_that_was_deleted_comes_back(here, capsys):
    (here / CHAPTER).unlink()
    assert cli.main(["reset", "4"]) == 0
    assert (here / CHAPTER).is_file()
    assert not (here / OLD).exists()


def test_a_chapter_that_is_reset_is_not_done_any_more(here, lesson, page, capsys):
    (lesson / CHAPTER).write_text(page('llamalab.check("join", join)'))
    for name in ("join", "another"):
        progress.remember(name)
    notes = (here / progress.NOTES).read_text()
    assert cli.main(["reset", "4"]) == 0
    assert "is fresh again. Its exercises are open again. Your old" in capsys.readouterr().out
    assert progress.solved(here) == {"another"}
    assert (here / progress.NOTES).read_text().startswith(notes)  # nothing is lost
    progress.remember("join")
    assert progress.solved(here) == {"another", "join"}
    assert cli.main(["reset", "4"]) == 0  # nothing was run since: only the tick goes
    assert capsys.readouterr().out == f"{CHAPTER} is fresh already. Its exercises are open again.\n"


def test_after_a_reset_the_next_start_has_nothing_newer(here, lesson):
    cli.main(["reset", "4"])
    assert copying.copy_lesson(lesson, here) == []


@pytest.mark.parametrize("typed", ["5", "12", "-4", "four", "", "..", "generate.py", "04-join"])
def test_what_is_no_chapter_is_refused_in_one_sentence(here, capsys, typed):
    before = sorted(here.iterdir())
    assert cli.main(["reset", "--", typed]) == 1
    assert capsys.readouterr().err == (
        f"There is no chapter {typed!r}: the chapters are 00 to 04.\n"
    )
    assert sorted(here.iterdir()) == before


def test_a_copy_elsewhere_is_named(here, page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["reset", "4", str(here)]) == 0
    assert (here / OLD).read_text() == page("1 + 2", ran="mine")


def test_without_a_copy_one_is_told_how_to_make_it(here, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["reset", "4"]) == 1
    assert capsys.readouterr().err == (
        f"There is no copy of the lesson in {(tmp_path / 'llama-lesson').resolve()}.\n"
        "  Do:  llamalab\n"
    )
    assert not (tmp_path / "llama-lesson").exists()
