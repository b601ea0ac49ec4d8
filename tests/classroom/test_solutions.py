"""The solutions for instructors: those of the one place, with what `check` really says."""

import contextlib
import io

import pytest

from llamalab import cli
from llamalab.classroom.solutions import about_attempt, advice_on, all_solutions
from llamalab.exercises import checking
from llamalab.exercises.cases import EXERCISES
from llamalab.exercises.guesses import GUESSES
from llamalab.exercises.solutions import SOLUTIONS
from llamalab.lesson.copying import copy_lesson, lesson_source
from llamalab.lesson.progress import NOTES

CHAPTERS = [f"{number:02}" for number in range(10)]
WITH_SCRIPTS = ("05", "09")


@pytest.fixture(autouse=True)
def _new_kernel():
    checking.forget()


@pytest.fixture(scope="module")
def printed() -> str:
    """What the command prints about the chapters in which no script has to be run."""
    texts = [all_solutions(chapter) for chapter in CHAPTERS if chapter not in WITH_SCRIPTS]
    return "\n".join(text for each in texts for text in each)


def test_each_exercise_with_a_function_has_its_solution_and_all_its_attempts(printed):
    for name in EXERCISES.keys() - {"survive"}:  # of chapter 09, which has a script, too
        solution = SOLUTIONS[name]
        assert f"## Exercise {name}\n\n```python\n{solution.code.rstrip()}\n```" in printed
        assert solution.another.rstrip() in printed
        assert all(step in printed for step in solution.steps)
        assert printed.count(f" at {name}\n") == len(solution.attempts)
        for attempt in solution.attempts:
            assert attempt.asks in printed


def test_an_attempts_help_is_what_a_student_reads(capsys):
    name = "split_lines"
    for attempt in SOLUTIONS[name].attempts:
        program = SOLUTIONS[name].program(attempt)
        advice = advice_on(name, program)
        made: dict = {}
        exec(program, made)
        for _ in range(2):
            checking.check(name, made[name])
        checking.hint(name)
        said = capsys.readouterr().out
        assert f"\n  question: {advice.question}\n" in said
        assert f"\nHint: {advice.hint}\n" in said


def test_the_guesses_are_there_with_what_is_right(printed):
    for name, guess in GUESSES.items():
        if name[:2] not in WITH_SCRIPTS:
            assert f"## Guess {name}\n\n{guess.question}\n" in printed
    assert printed.count("**Right:**") == sum(n[:2] not in WITH_SCRIPTS for n in GUESSES)
    assert "{right}" not in printed


def test_it_starts_at_once_and_prints_one_chapter_if_asked(capsys):
    assert cli.main(["solutions", "4"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("# 04 Join the fragments into text\n")
    assert "join_fragments" in said
    assert "split_lines" not in said
    assert cli.main(["solutions", "77"]) == 1
    assert "There is no chapter '77'" in capsys.readouterr().err


def test_it_leaves_no_tick_and_no_failure_behind(tmp_path, monkeypatch):
    copy_lesson(lesson_source(), tmp_path)
    monkeypatch.chdir(tmp_path)
    before = {file.name for file in tmp_path.iterdir()}
    with contextlib.redirect_stdout(io.StringIO()):
        list(all_solutions("00"))
    assert not (tmp_path / NOTES).exists()
    assert {file.name for file in tmp_path.iterdir()} == before
    assert not checking._tries


def test_a_script_that_is_wrong_is_shown_as_a_change_of_the_solution_with_its_help():
    attempt = about_attempt(
        "ask_script", SOLUTIONS["ask_script"], SOLUTIONS["ask_script"].attempts[2]
    )
    assert '-    print(answer["response"], end="")\n+    print(answer["response"])' in attempt
    assert "`check` asks: Follow the prompt" in attempt
    assert "Its hint: Print answer" in attempt


@pytest.mark.long
def test_all_attempts_at_scripts_get_their_question():
    for chapter in WITH_SCRIPTS:
        printed = "\n".join(all_solutions(chapter))
        for name, solution in SOLUTIONS.items():
            if f"## Exercise {name}\n" in printed:
                assert all(attempt.asks in printed for attempt in solution.attempts), name
