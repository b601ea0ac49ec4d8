"""What a student has done: remembered beside the copy, and nowhere else."""

import json
from datetime import date

import pytest

import llamalab
from llamalab.lesson import copying, progress


@pytest.fixture
def chapters(lesson, page, monkeypatch):
    """An installed lesson of three chapters; chapter 01 has a guess and two exercises."""
    monkeypatch.setattr(copying, "PACKAGED", lesson)
    code = {
        copying.FIRST_PAGE: 'llamalab.check("hello", hello)',
        "01-raw-bytes.ipynb": 'llamalab.check("01-how-many", "?")\nllamalab.check("split", split)\n'
        'llamalab.check(\n    "load", load\n)',
        "02-split-lines.ipynb": "llamalab.check('script', 'my_script.py')",
    }
    for name, text in code.items():
        (lesson / name).write_text(page(text, heading=f"# Title of {name[:2]}\n\nand its text"))


@pytest.fixture
def here(chapters, lesson, copy, monkeypatch):
    """The student's copy, which is the folder that the notebooks run in."""
    copying.copy_lesson(lesson, copy)
    monkeypatch.chdir(copy)
    return copy


def test_a_new_copy_has_no_ticks(here, capsys):
    progress.progress()
    assert capsys.readouterr().out.splitlines() == [
        "  00  Title of 00",
        "  01  Title of 01",
        "  02  Title of 02",
        "Start at 00.",
    ]


def test_a_chapter_has_its_tick_when_all_its_exercises_are_solved(here, capsys):
    for name in ("hello", "split"):
        progress.remember(name)
    progress.progress()
    assert capsys.readouterr().out.splitlines() == [
        "✔ 00  Title of 00",
        "  01  Title of 01  (1 of 2 exercises)",
        "  02  Title of 02",
        "Continue at 01.",
    ]


def test_after_the_last_chapter_all_are_done(here, capsys):
    for name in ("hello", "split", "load", "script"):
        progress.remember(name)
    progress.progress()
    assert capsys.readouterr().out.splitlines()[-1] == "All chapters are done."


def test_the_same_text_comes_in_the_folder_that_has_the_copy(chapters, lesson, tmp_path, capsys):
    """As in a terminal, where `llamalab` was started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        copying.copy_lesson(lesson, tmp_path / copying.DEFAULT_FOLDER)
        patch.chdir(tmp_path / copying.DEFAULT_FOLDER)
        progress.remember("hello")
        progress.progress()
        in_the_copy = capsys.readouterr().out
        patch.chdir(tmp_path)
        progress.progress()
        assert capsys.readouterr().out == in_the_copy


def test_outside_a_copy_nothing_is_remembered(chapters, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    progress.remember("hello")
    assert [path.name for path in tmp_path.iterdir()] == ["package"]
    progress.progress()
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "  00  Title of 00"
    assert said[-1].startswith("Start at 00. The ticks are kept in the copy")


def test_beside_a_copy_nothing_is_remembered_either(chapters, lesson, tmp_path, monkeypatch):
    copying.copy_lesson(lesson, tmp_path / copying.DEFAULT_FOLDER)
    monkeypatch.chdir(tmp_path)
    progress.remember("hello")
    assert progress.solved(tmp_path / copying.DEFAULT_FOLDER) == set()


def test_an_exercise_is_noted_once_with_its_day(here):
    for _ in range(2):
        progress.remember("hello")
    (line,) = (here / progress.NOTES).read_text().splitlines()
    assert json.loads(line) == {"exercise": "hello", "on": date.today().isoformat()}


def test_half_a_line_costs_only_itself(here):
    progress.remember("hello")
    (here / progress.NOTES).open("a").write('{"exer\n[1]\n\n')
    progress.remember("split")
    assert progress.solved(here) == {"hello", "split"}


def test_a_folder_that_cannot_be_written_to_does_not_stop_the_student(here):
    (here / progress.NOTES).mkdir()
    progress.remember("hello")
    assert progress.solved(here) == set()


def test_a_new_lesson_leaves_the_ticks(here, lesson, page):
    progress.remember("hello")
    (lesson / copying.FIRST_PAGE).write_text(page('llamalab.check("hello", hello2)'))
    copying.copy_lesson(lesson, here)
    assert progress.solved(here) == {"hello"}


def test_a_damaged_chapter_has_its_name_for_a_title(here, lesson):
    (lesson / copying.FIRST_PAGE).write_text("<<<<<<< HEAD")
    assert progress.overview(here).splitlines()[0].endswith("00-start-here")


def test_where_no_tick_can_be_shown_an_x_stands_for_it(here, monkeypatch):
    progress.remember("hello")
    ascii_only = type("Out", (), {"encoding": "ascii"})
    monkeypatch.setattr(progress.sys, "stdout", ascii_only)
    assert progress.overview(here).splitlines()[0] == "x 00  Title of 00"


def test_the_command_says_whose_copy_it_opens_and_where_to_continue(here, copy, tmp_path):
    assert progress.about(tmp_path / "not-yet") == "your own copy, new"
    manifest = json.loads((copy / copying.MANIFEST).read_text()) | {"made": "2026-03-01"}
    (copy / copying.MANIFEST).write_text(json.dumps(manifest))
    assert progress.about(copy) == "your copy from 1 March 2026; start at 00"
    progress.remember("hello")
    assert progress.about(copy) == "your copy from 1 March 2026; continue at 01"
    assert progress.next_chapter(copy).file == "01-raw-bytes.ipynb"


def test_a_copy_without_a_date_is_spoken_of_without_one(here, copy):
    (copy / copying.MANIFEST).write_text("{}")
    assert progress.about(copy) == "your copy; start at 00"


def test_check_notes_what_it_said_ok_to_and_nothing_else(here, capsys):
    llamalab.check("who_answered", lambda record: "mistral")
    assert progress.solved(here) == set()
    llamalab.check("who_answered", lambda record: record["model"])
    assert progress.solved(here) == {"who_answered"}


def test_each_chapter_of_the_lesson_has_an_exercise_of_its_own():
    chapters = progress.chapters()
    names = [name for chapter in chapters for name in chapter.exercises]
    assert [chapter.number for chapter in chapters] == [f"{number:02}" for number in range(10)]
    assert all(chapter.exercises for chapter in chapters)
    assert len({*names}) == len(names)
