"""Presenting a chapter: what the command makes, says and leaves behind."""

import hashlib
import json
import re
import signal
import sys
from pathlib import Path

import psutil  # comes with ipykernel
import pytest
import requests
from opening import need_ended, presented

from llamalab import cli, find
from llamalab.classroom import instructors
from llamalab.classroom.instructors import PLANS
from llamalab.classroom.presenting import stage
from llamalab.classroom.sections import taught_chapters
from llamalab.lesson.copying import lesson_source
from llamalab.lesson.progress import chapter_files

CHAPTER = "04-join-fragments.ipynb"


def fingerprints(folder: Path) -> dict[str, str]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def cells(file: Path) -> list[dict]:
    return json.loads(file.read_text(encoding="utf-8"))["cells"]


def test_the_copy_has_no_outputs_and_beside_it_are_the_chapters_as_they_are(tmp_path):
    before = fingerprints(lesson_source())
    stage.copy_lesson(tmp_path / "lesson")
    page, stored = tmp_path / "lesson" / CHAPTER, tmp_path / "lesson" / stage.STORED / CHAPTER
    assert not any(cell.get("outputs") for cell in cells(page))
    assert [cell["id"] for cell in cells(page)] == [cell["id"] for cell in cells(stored)]
    assert stored.read_bytes() == (lesson_source() / CHAPTER).read_bytes()
    assert (tmp_path / "lesson" / "images" / "04-funnel.svg").is_file()
    assert fingerprints(lesson_source()) == before


def test_the_plan_has_each_chapter_s_title_and_its_minutes(tmp_path):
    stage.copy_lesson(tmp_path / "lesson")
    times = json.loads((tmp_path / "lesson" / stage.STORED / "chapters.json").read_text())
    assert times["plan"] is None
    notes = [cell["metadata"].get("speaker", {}) for cell in cells(lesson_source() / CHAPTER)]
    assert len(times["chapters"]) == 10
    chapter = times["chapters"][4]
    assert [right for right in chapter.pop("guesses") if right] == [["b, only an empty line"]]
    assert chapter == {
        "path": CHAPTER,
        "title": "Join the fragments into text",
        "minutes": sum(note.get("minutes", 0) for note in notes),
        "taught": [True] * sum(map(bool, notes)),
        "pause": 0,
    }


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_s_minutes_are_those_on_the_page_for_instructors(plan):
    """What is left of the plan's minutes is what the page's last row but one says."""
    chapters = [stage.about(file, plan) for file in chapter_files()]
    taught = sum(chapter["minutes"] + chapter["pause"] for chapter in chapters)
    page = instructors.plan(plan, taught_chapters())
    assert f"Questions, and what took longer: {plan - taught} minutes" in page
    notes = [cell["metadata"].get("speaker") for cell in cells(lesson_source() / CHAPTER)]
    in_plan = [note["plan"] is not None and note["plan"] <= plan for note in notes if note]
    assert chapters[4]["taught"] == in_plan


def test_a_chapter_that_is_not_there_is_said_before_anything_starts(capsys):
    assert cli.main(["present", "12", "--no-browser"]) == 1
    said = capsys.readouterr()
    assert said.err == "There is no chapter '12': the chapters are 00 to 09.\n"
    assert said.out == ""


def test_where_no_server_answers_the_recordings_do(unused_address, monkeypatch, capsys):
    monkeypatch.setenv("OLLAMA_HOST", unused_address)
    with stage.two_servers() as (live, recordings):
        assert live == recordings
        assert find.who_answers(live) == find.BUILTIN
    said = capsys.readouterr().out
    assert said.startswith("No server answers at ")
    assert f"Server: {recordings} (the recordings, instead)" in said


def test_both_windows_are_opened_and_shown(monkeypatch, capsys):
    pages = []
    monkeypatch.setattr(stage, "open_page", lambda page, **_: pages.append(page) is None)
    stage.show("http://127.0.0.1:1/lab", "http://127.0.0.1:1/speaker", browser=True)
    assert pages == ["http://127.0.0.1:1/lab", "http://127.0.0.1:1/speaker"]
    assert "Projector: http://127.0.0.1:1/lab\n" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signal")
def test_ctrl_c_ends_all_and_removes_the_copy(tmp_path):
    before = fingerprints(lesson_source())
    with presented("4", TMPDIR=str(tmp_path)) as there:
        (copy,) = tmp_path.glob("llamalab-present-*/lesson")
        assert (copy / CHAPTER).is_file()
        page = requests.get(there.speaker)
        root = there.projector.partition("lab/tree/")[0]
        without_token = requests.get(f"{root}api/contents/{CHAPTER}")
        foreign = re.findall(r"https?://[^\s\"'<]+", page.text)
        started = psutil.Process(there.process.pid).children(recursive=True)
        there.process.send_signal(signal.SIGINT)
        _, said = there.process.communicate()
    assert f"/lab/tree/{CHAPTER}?token=" in there.projector
    assert page.status_code == 200
    assert foreign == []
    assert without_token.status_code == 403
    assert (there.process.returncode, said) == (0, "")
    assert len(started) >= 1
    need_ended(started)
    assert list(tmp_path.glob("llamalab-present-*")) == []
    assert fingerprints(lesson_source()) == before
