"""The page for instructors: what it says of the chapters is what the chapters say."""

import ast
import builtins
import json
import re

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from llamalab.classroom import instructors
from llamalab.classroom.instructors import PLANS, fill
from llamalab.classroom.sections import Section, taught_chapters, title_of
from llamalab.exercises.guesses import GUESSES
from llamalab.lesson.copying import FOR_INSTRUCTORS, lesson_source
from llamalab.lesson.progress import chapter_files

PAGE = lesson_source() / FOR_INSTRUCTORS
CHAPTERS = taught_chapters()


def test_the_page_is_what_the_notebooks_say_now():
    text = PAGE.read_text(encoding="utf-8")
    assert fill(text) == text, "run: uv run python -m llamalab.classroom.instructors"
    assert set(re.findall(r"<!-- from the notebooks: (\w+) -->", text)) == {*instructors.PLACES}


def test_a_place_is_filled_and_the_text_around_it_stays():
    page = "# Mine\n<!-- from the notebooks: citation -->\nold\n<!-- end -->\nAnd this.\n"
    filled = fill(page)
    assert filled.startswith("# Mine\n")
    assert filled.endswith("<!-- end -->\nAnd this.\n")
    assert "old" not in filled
    assert "version" in filled
    assert fill(filled) == filled


def test_every_guess_has_its_answer_in_its_section():
    asked = [guess.answer() for guess in GUESSES.values()]
    assert [right for chapter in CHAPTERS for one in chapter.sections for right in one.guesses] == (
        asked
    )
    assert f"*Right: {asked[0]}.*" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("minutes", PLANS)
def test_a_plan_leaves_some_minutes_for_questions_and_not_too_many(minutes):
    sections = [one for chapter in CHAPTERS for one in chapter.sections if one.is_in(minutes)]
    left = minutes - PLANS[minutes] - sum(section.minutes for section in sections)
    assert 0.05 * minutes <= left <= 0.12 * minutes
    shown = instructors.plan(minutes, CHAPTERS)
    assert f"Questions, and what took longer: {left} minutes" in shown
    assert any(section.leave_out for section in sections)


@pytest.mark.parametrize("minutes", PLANS)
def test_a_plan_has_an_exercise_and_the_summary_of_each_of_its_chapters(minutes):
    for chapter in CHAPTERS:
        taught = [section.title for section in chapter.sections if section.is_in(minutes)]
        assert not taught or {taught[0], taught[-1]} == {"Opening", "Summary"}
    assert any(one.is_exercise and one.is_in(minutes) for c in CHAPTERS for one in c.sections)


# What is left out is not missed: the cells that are run have all the names they use --------------


def cells_by_section(file: str) -> list[tuple[Section, list[str]]]:
    """Each section of a chapter with the code of its cells."""
    found: list[tuple[Section, list[str]]] = []
    for cell in json.loads((lesson_source() / file).read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if "speaker" in cell["metadata"]:
            found.append((Section(title_of(text), **cell["metadata"]["speaker"]), []))
        elif cell["cell_type"] == "code" and not text.startswith("%%"):
            found[-1][1].append(TransformerManager().transform_cell(text))
    return found


def missing(codes: list[str]) -> set[str]:
    """The names that are used and were not made before: `data` is one of chapter 01's mistakes."""
    made, used = {*dir(builtins), "get_ipython", "_exit_code", "data"}, set()
    for code in codes:
        tree = ast.parse(code)
        nodes = list(ast.walk(tree))
        made |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        made |= {n.arg for n in nodes if isinstance(n, ast.arg)}
        made |= {n.name for n in nodes if isinstance(n, (ast.FunctionDef, ast.ExceptHandler))}
        made |= {
            (alias.asname or alias.name).partition(".")[0]
            for n in nodes
            if isinstance(n, (ast.Import, ast.ImportFrom))
            for alias in n.names
        }
        loaded = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        used |= loaded - made
    return used


@pytest.mark.parametrize("file", chapter_files())
@pytest.mark.parametrize("minutes", [*PLANS, None])
def test_nothing_that_is_taught_needs_a_section_that_is_left_out(file, minutes):
    taught = [
        (section, codes)
        for section, codes in cells_by_section(file)
        if minutes is None or section.is_in(minutes)
    ]
    late = [section for section, _ in taught if section.leave_out]
    for out in [[], late, *([section] for section in late)]:
        kept = [code for section, codes in taught if section not in out for code in codes]
        assert missing(kept) == set(), [section.title for section in out]


def test_a_name_that_is_missing_is_seen():
    assert missing(["a = 1", "print(a, b)"]) == {"b"}


def test_no_note_names_what_is_not_in_the_room():
    text = PAGE.read_text(encoding="utf-8")
    assert not re.search(r"\bthe (?:document|original|source)\b", text)
