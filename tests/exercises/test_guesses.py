"""Guesses: each one's right answer, a wrong one, and "?" that spoils nothing."""

import re

import pytest

from llamalab.exercises import guesses
from llamalab.exercises.checking import check
from llamalab.exercises.guesses import GUESSES, Guess
from llamalab.exercises.guessing import feedback

LETTERS = Guess("One or two?", {"a": "one", "b": "two"}, "b", "It is {right}.")
NUMBER = Guess("How many?", {}, 14, "There are {right} of them.", measure=len)
NEARLY = Guess("How long?", {}, 3.3, "It takes {right} seconds.", near=0.2)
TEXT = Guess("Who?", {}, "Mistral", "The record says so.")


@pytest.mark.parametrize("name", GUESSES)
def test_a_guess_has_a_name_with_its_chapter_a_question_and_a_reason(name):
    guess = GUESSES[name]
    assert re.fullmatch(r"0\d-[a-z0-9-]+", name)
    assert guess.question.endswith("?")
    assert guess.why.endswith(".")
    assert not guess.choices or guess.right in {*guess.choices, None}
    assert list(guess.choices) == list("abcdef"[: len(guess.choices)])


@pytest.mark.parametrize("name", GUESSES)
def test_a_question_mark_only_gets_how_to_guess(name, capsys):
    check(name, "?")
    out = capsys.readouterr().out
    assert out.startswith("Guess first: write ")
    assert len(out.splitlines()) == 1
    assert GUESSES[name].why not in out


@pytest.mark.parametrize("name", [name for name in GUESSES if GUESSES[name].right is not None])
def test_the_right_guess_is_right_and_another_one_is_told_what_is_right(name, capsys):
    guess = GUESSES[name]
    check(name, guess.right)
    assert capsys.readouterr().out.startswith("Right! It is ")
    wrong = next((each for each in guess.choices if each != guess.right), None) or -1
    check(name, wrong)
    out = capsys.readouterr().out
    assert out.startswith(f"Not this time. It is {guess.right}")
    assert "{right}" not in out


@pytest.mark.parametrize("answer", ["b", "B", " b) ", "two", "Two"])
def test_a_choice_is_its_letter_or_its_text(answer):
    assert feedback("02-x", LETTERS, answer) == "Right! It is b: two.\n  It is two."


@pytest.mark.parametrize("answer", [14, 14.0, "14"])
def test_a_number_may_be_in_quotes(answer):
    assert feedback("02-x", NUMBER, answer).startswith("Right! It is 14.\n  There are 14")


@pytest.mark.parametrize(("answer", "verdict"), [(3, "Right!"), ("3,9", "Right!"), (5, "Not this")])
def test_a_number_may_be_near(answer, verdict):
    assert feedback("06-x", NEARLY, answer).startswith(verdict)


def test_a_text_is_right_in_any_case():
    assert feedback("00-x", TEXT, " mistral").startswith("Right!")
    assert feedback("00-x", TEXT, "smollm2").startswith("Not this time. It is Mistral.")


def test_a_guess_is_judged_on_the_students_own_data():
    assert feedback("02-x", NUMBER, 3, ["a", "b", "c"]).startswith("Right! It is 3.\n  There are 3")
    assert feedback("02-x", NUMBER, 14, ["a"]).startswith("Not this time. It is 1.")


def test_a_guess_that_only_the_data_knows_asks_for_it():
    guess = Guess("How many?", {}, None, "{right}.", measure=len)
    assert "needs your own data" in feedback("02-x", guess, 3)
    assert feedback("02-x", guess, 2, "ab").startswith("Right! It is 2.")


def test_data_of_the_wrong_kind_is_said():
    assert "The third argument" in feedback("02-x", NUMBER, 14, 7)


@pytest.mark.parametrize("answer", ["?", " ? ", "", None, ...])
def test_no_guess_yet_is_not_a_wrong_one(answer):
    assert feedback("02-x", LETTERS, answer).startswith(
        "Guess first: write one letter, a or b in place"
    )
    assert feedback("02-x", NUMBER, answer).startswith("Guess first: write a number in place")


def test_what_is_not_a_choice_or_not_a_number_is_asked_for_again():
    assert feedback("02-x", LETTERS, "x") == "Guess first: write one letter, a or b, in quotes."
    assert feedback("02-x", NUMBER, "many") == "Guess first: write a number, without words."


def test_the_example_of_the_table_is_in_it():
    assert guesses.GUESSES["02-how-many"].measure("a\nb\n") == 3
