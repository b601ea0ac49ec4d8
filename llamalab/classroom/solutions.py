"""All exercises for an instructor: solutions, common wrong attempts, and what `check` says.

Nothing is written down here. The solutions and the attempts are those that the tests run, and each
attempt is given to `check`, so that the question and the hint are those that a student gets.
"""

import contextlib
import difflib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from llamalab.exercises import checking
from llamalab.exercises.causes import Found
from llamalab.exercises.guesses import GUESSES, Guess
from llamalab.exercises.script_cases import SCRIPTS
from llamalab.exercises.solutions import SOLUTIONS, Attempt, Solution
from llamalab.lesson.progress import chapters
from llamalab.lesson.reset import chapter_named

SCRIPT = "my_script.py"


def all_solutions(chapter: str | None = None) -> Iterator[str]:
    """The text about each chapter's exercises in Markdown, piece by piece as it is ready.

    `chapter` is a number or a name as `llamalab reset` takes it; None means all. An attempt at a
    script is run, which takes a second or more. Raises `LlamalabError` for an unknown chapter.
    """
    file = chapter_named(chapter) if chapter else None
    for each in chapters():
        if file in (None, each.file):
            yield f"# {each.number} {each.title}\n"
            for name, guess in GUESSES.items():
                if name[:2] == each.number:
                    yield about_guess(name, guess)
            for name in each.exercises:
                yield from about_exercise(name, SOLUTIONS[name])


def about_guess(name: str, guess: Guess) -> str:
    """A guess with what is right, and why."""
    lines = [f"## Guess {name}", "", guess.question, ""]
    lines += [f"- {letter}) {text}" for letter, text in guess.choices.items()]
    right = "depends on the answer that came" if guess.right is None else f"{guess.right}"
    why = guess.why.replace("{right}", f"{guess.choices.get(str(guess.right), guess.right)}")
    if guess.right is not None and guess.measure:
        right += " (for the recording; `check` measures the student's own answer)"
    return "\n".join([*lines, *([""] if guess.choices else []), f"**Right:** {right}. {why}", ""])


def about_exercise(name: str, solution: Solution) -> Iterator[str]:
    """An exercise: its solution, the steps of `hint`, and each wrong attempt with its help."""
    yield f"## Exercise {name}\n\n{code(solution.code)}"
    if solution.another:
        yield f"Another way to write it:\n\n{code(solution.another)}"
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(solution.steps, 1))
    yield f"Hints, step by step:\n\n{steps}\n"
    for number, attempt in enumerate(solution.attempts, 1):
        yield f"### Wrong attempt {number} at {name}\n\n" + about_attempt(name, solution, attempt)


def about_attempt(name: str, solution: Solution, attempt: Attempt) -> str:
    is_script = name in SCRIPTS
    program = attempt.code if is_script else solution.program(attempt)
    shown = changes(solution.code, program) if is_script else code(program)
    advice = advice_on(name, program)
    return f"{shown}\n`check` asks: {advice.question}\n\nIts hint: {advice.hint}\n"


def changes(script: str, attempt: str) -> str:
    """What is different in a script that is nearly the solution, as `diff` shows it."""
    lines = difflib.unified_diff(script.splitlines(), attempt.splitlines(), n=1, lineterm="")
    shown = ["..." if line.startswith("@@") else line for line in list(lines)[2:]]
    return code("\n".join(shown), "diff")


def advice_on(name: str, program: str) -> Found:
    """What `check` says about a program, a function's cell or a script."""
    with in_empty_folder(), contextlib.redirect_stdout(io.StringIO()):
        if name in SCRIPTS:
            Path(SCRIPT).write_text(program, encoding="utf-8")
            return checking.wrong_with(name, SCRIPT)
        made: dict = {}
        exec(program, made)
        return checking.wrong_with(name, made[name])


@contextlib.contextmanager
def in_empty_folder() -> Iterator[None]:
    """Work in an empty folder for a moment: a student's copy does not take notes then."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def code(text: str, language: str = "python") -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"
