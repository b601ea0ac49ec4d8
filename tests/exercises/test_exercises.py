"""check(): each solution passes, each wrong attempt gets its question and hint, nothing raises."""

import re
import sys

import pytest

import llamalab
from llamalab.exercises import checking
from llamalab.exercises.cases import EXERCISES
from llamalab.exercises.checking import check, hint, solution
from llamalab.exercises.script_cases import SCRIPTS
from llamalab.exercises.solutions import SOLUTIONS

ATTEMPTS = [
    pytest.param(name, number, id=f"{name}-{number}")
    for name in EXERCISES
    for number in range(len(SOLUTIONS[name].attempts))
]
WAYS = [(name, "code") for name in EXERCISES]
WAYS += [(name, "another") for name in EXERCISES if SOLUTIONS[name].another]


@pytest.fixture(autouse=True)
def _new_kernel():
    checking.forget()


@pytest.fixture
def said(capsys):
    """What check prints about a solution; it must not raise, and returns None."""

    def said(name, *answer):
        assert check(name, *answer) is None
        return capsys.readouterr().out

    return said


def function(name: str, code: str):
    """The function of a text, as a cell makes it."""
    made: dict = {}
    exec(code, made)
    return made[name]


def test_each_exercise_has_a_solution_two_steps_and_wrong_attempts():
    assert SOLUTIONS.keys() == EXERCISES.keys() | SCRIPTS.keys()
    assert all(2 <= len(each.steps) <= 3 for each in SOLUTIONS.values())
    assert all(len(each.attempts) >= 4 for each in SOLUTIONS.values())


@pytest.mark.parametrize(("name", "way"), WAYS)
def test_each_solution_passes_every_case(said, name, way):
    out = said(name, function(name, getattr(SOLUTIONS[name], way)))
    assert out == f"OK: {name} is right in all {len(EXERCISES[name])} cases.\n"


@pytest.mark.parametrize("helper", ["split_lines", "load_answers", "tokens_per_second"])
def test_the_helpers_own_functions_pass(said, helper):
    assert said(helper, getattr(llamalab, helper)).startswith("OK")


@pytest.mark.parametrize(("name", "number"), ATTEMPTS)
def test_a_wrong_attempt_gets_what_happened_then_its_question(said, name, number):
    attempt = SOLUTIONS[name].attempts[number]
    wrong = function(name, SOLUTIONS[name].program(attempt))
    first, second = said(name, wrong), said(name, wrong)
    assert first.startswith(f"Not yet: {name} is right in ")
    assert re.search(r"\n  given: (.+\n)+  (returned|raised): (.+\n)+  expected: ", first)
    assert second.startswith(first)
    assert attempt.asks in second.removeprefix(first)
    assert second.endswith(f'\n  more help: llamalab.hint("{name}")\n')


@pytest.mark.parametrize("name", EXERCISES)
def test_each_case_is_met_by_a_wrong_attempt(said, name):
    asked = set()
    for attempt in SOLUTIONS[name].attempts:
        wrong = function(name, SOLUTIONS[name].program(attempt))
        asked.add(re.search(r"right in (\d+) of", said(name, wrong))[1])
    assert len(asked) >= len(EXERCISES[name]) - 1


@pytest.mark.parametrize("name", EXERCISES)
def test_a_starter_is_told_kindly_that_it_is_not_solved_yet(said, name):
    def starter(_): ...

    def refuses(_):
        raise NotImplementedError

    for unsolved in (starter, refuses, lambda _: ...):
        assert said(name, unsolved) == (
            f"{name} is not solved yet: it returns nothing. Write its body.\n"
        )


# Help, step by step -----------------------------------------------------------------------------


def test_a_new_kind_of_failure_begins_with_what_happened_again(said):
    wrong = [function("who_answered", f"def who_answered(r): return {text}") for text in ("1", "r")]
    assert "question:" not in said("who_answered", wrong[0])
    assert "question:" in said("who_answered", wrong[1])  # the same case
    constant = function("who_answered", 'def who_answered(r): return "mistral"')
    assert "question:" not in said("who_answered", constant)


def test_after_a_right_check_the_count_starts_again(said):
    def wrong(record):
        return record["done"]

    for _ in range(2):
        assert "question:" not in said("who_answered", wrong)
        said("who_answered", lambda record: record["model"])


def test_the_first_hint_is_about_what_went_wrong_and_each_call_tells_more(said, capsys):
    said("split_lines", lambda content: content.splitlines())
    hints = []
    for _ in range(5):
        assert hint("split_lines") is None
        hints.append(capsys.readouterr().out)
    assert '.decode("utf-8") turns bytes into text' in hints[0]
    steps = SOLUTIONS["split_lines"].steps
    assert [out.splitlines()[0] for out in hints[1:4]] == [f"Hint: {step}" for step in steps]
    assert 'llamalab.solution("split_lines")' in hints[3]
    assert hints[4] == hints[3]


@pytest.mark.parametrize(("name", "number"), ATTEMPTS)
def test_each_hint_says_something_new(said, capsys, name, number):
    wrong = function(name, SOLUTIONS[name].program(SOLUTIONS[name].attempts[number]))
    said(name, wrong)
    words = said(name, wrong)
    for _ in range(2):  # the same mistake again: its hint was told already
        hint(name)
        (text,) = re.findall(r"Hint: (.+)", capsys.readouterr().out)
        assert text not in words
        words += text + said(name, wrong)
    assert len({*SOLUTIONS[name].steps}) == len(SOLUTIONS[name].steps)


def test_the_last_hint_leads_to_the_solution_after_the_same_mistake_again(said, capsys):
    hints = []
    for _ in range(4):
        said("conversation", lambda texts: texts)
        hint("conversation")
        hints.append(capsys.readouterr().out)
    assert len({*hints}) == 4
    last = 'llamalab.solution("conversation") shows the solution'
    assert [last in out for out in hints] == [False, False, False, True]


def hint_for(said, capsys, name: str, body: str) -> str:
    first, _, _ = SOLUTIONS[name].code.partition("):\n")
    said(name, function(name, f"{first}):\n    {body}\n"))
    hint(name)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("who_answered", "return model", '`model` is a key, not a variable: record["model"].'),
        ("who_answered", "return record[model]", '`model` is a key, not a variable: record["mod'),
        ("who_answered", "return mistral", 'Put it in quotes: "mistral".'),
        ("who_answered", "return recrod['model']", "Look for recrod in your code. Make it before"),
        ("who_answered", "return record.model", 'Write ["model"] in place of .model'),
        ("status_and_type", "return status_code, headers", "response.status_code."),
        ("join_fragments", "return ''.join(response)", "`response` is a key, not a variable: answ"),
        ("time_to_first_token", "return response", "`response` is a key, not a variable: answer["),
        ("conversation", "return [{role: texts[0]}]", 'Put it in quotes: "role".'),
        ("load_answers", "return [loads(line) for line in lines]", "module: json.loads."),
        ("load_answers", "return [{'done': false}]", "Python writes False."),
        ("load_answers", "return [json.load(line) for line in lines]", "with an s."),
        ("split_lines", "return json.loads(content)", "Run `import json` first."),
        ("seconds_for_500", "return eval_count", '`eval_count` is a key, not a variable: last["e'),
        ("time_to_first_token", "return arrivals[0][1]['response']", "The line is bytes: make a"),
    ],
)
def test_an_error_of_python_gets_a_hint_from_this_lesson(said, capsys, name, body, words):
    assert words in hint_for(said, capsys, name, body)


def test_a_hint_before_any_check_is_the_first_step(capsys):
    hint("join_fragments")
    assert capsys.readouterr().out == f"Hint: {SOLUTIONS['join_fragments'].steps[0]}\n"


@pytest.mark.parametrize("name", SOLUTIONS)
def test_the_solution_is_shown_as_code_that_runs(capsys, name):
    assert solution(name) is None
    out = capsys.readouterr().out
    compile(out, name, "exec")
    assert out.startswith(SOLUTIONS[name].code.rstrip())
    assert ("# Another way" in out) == bool(SOLUTIONS[name].another)


@pytest.mark.parametrize("tell", [hint, solution, check])
@pytest.mark.parametrize("name", ["no_such_exercise", llamalab.split_lines, None, ["a"]])
def test_an_unknown_name_lists_the_exercises(capsys, tell, name):
    assert tell(name) is None
    out = capsys.readouterr().out
    for exercise in SOLUTIONS:
        assert exercise in out


# What happened ----------------------------------------------------------------------------------


def test_what_was_printed_is_shown_and_not_run_into_the_notebook(said):
    out = said("who_answered", lambda record: print(record["model"]))
    assert "\n  printed:  'mistral'\n  returned: None\n" in out
    assert out.endswith("\n  `print` only shows it. Use `return`.\n")
    assert not out.startswith("mistral")


@pytest.mark.parametrize(("number", "did"), [(-3, "returned"), (-2, "returned"), (-1, "printed")])
def test_an_error_that_should_be_raised_is_said_at_once(said, number, did):
    solved = SOLUTIONS["join_fragments"]
    out = said(
        "join_fragments", function("join_fragments", solved.program(solved.attempts[number]))
    )
    note = out.splitlines()[-1]
    assert note.startswith(f"  You {did} the error")
    assert "raise" in note


def test_printing_beside_returning_is_right_and_mentioned(said):
    def chatty(record):
        print("looking ...")
        return record["model"]

    out = said("who_answered", chatty)
    assert out.startswith("OK")
    assert "It also prints" in out


@pytest.mark.parametrize(
    ("value", "words"),
    [(7, "(an int, not a str)"), (["mistral"], "(a list, not a str)"), (b"mistral", "(a bytes, ")],
)
def test_a_wrong_type_is_said_with_its_article(said, value, words):
    assert words in said("who_answered", lambda _: value)


def test_the_types_are_not_compared_where_an_error_is_expected(said):
    out = said("join_fragments", lambda a: "".join(r.get("response", "") for r in a))
    assert "  returned: 'Yes'\n  expected: an error that says 'out of memory'\n" in out


def test_changing_the_input_is_said(said):
    def eats(answers):
        return "".join(answers.pop(0)["response"] for _ in range(len(answers)))

    assert "'Yes,' (and changed the value that was given)" in said("join_fragments", eats)


def test_a_function_that_is_interrupted_or_exits_does_not_take_the_notebook_with_it(said):
    def interrupted(_):
        raise KeyboardInterrupt

    assert "you stopped it" in said("split_lines", interrupted)
    assert "Does a loop in your function ever end?" in said("split_lines", interrupted)
    assert "raised:   SystemExit: bye" in said("split_lines", lambda _: sys.exit("bye"))


def test_a_function_with_the_wrong_number_of_parameters_is_asked_about_them(said):
    said("split_lines", lambda: [])
    assert "How many names are in the brackets" in said("split_lines", lambda: [])


def test_an_error_that_is_expected_is_not_a_keyboard_interrupt_nor_an_exit(said):
    def exits(lines):
        return [sys.exit() if "Yes" in line else {"done": False} for line in lines]

    assert said("load_answers", exits).startswith("Not yet")


def test_a_value_that_cannot_be_shown_does_not_raise(said):
    class Odd:
        def __repr__(self):
            raise ValueError("odd")

    assert "(Odd, which cannot be shown)" in said("split_lines", lambda _: Odd())


def test_an_error_that_cannot_be_shown_does_not_raise(said):
    class OddError(BaseException):
        def __str__(self):
            raise ValueError("odd")

    def fails(_):
        raise OddError

    assert "raised:   OddError: (OddError, which cannot be shown)" in said("who_answered", fails)


def test_a_long_value_is_shortened(said):
    assert all(
        len(line) < 200 for line in said("split_lines", lambda _: ["x" * 10_000]).splitlines()
    )


@pytest.mark.parametrize("name", EXERCISES)
def test_what_is_given_and_expected_is_shown_complete(said, name):
    for case in EXERCISES[name]:
        for value in (case.given, case.expected):
            shown = checking._show_lines(value)
            assert " ... " not in shown
            assert max(map(len, shown.splitlines())) <= 110


def test_the_headers_of_a_response_are_shown(said):
    assert "<Response [200]> with headers {'Content-Type': " in said("status_and_type", print)


def test_the_result_instead_of_the_function_is_noticed(said):
    assert "without brackets" in said("split_lines", ["a line"])
    assert "without brackets" in said("split_lines")


# An older version -------------------------------------------------------------------------------


@pytest.fixture
def cells():
    """Runs cells in a separate IPython, as a kernel does; what they print in all."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    def cells(*texts: str) -> str:
        import builtins

        main, shown = sys.modules["__main__"], vars(builtins).get("display")
        shell = InteractiveShell()
        sys.modules["__main__"] = shell.user_module  # as in a kernel
        try:
            with capture_output() as captured:
                for text in texts:
                    shell.run_cell(text, store_history=True)
            return captured.stdout
        finally:
            sys.modules["__main__"] = main
            shell.history_manager.end_session()
            if shown is None:
                vars(builtins).pop("display", None)

    return cells


OLD = "def who_answered(record):\n    return 'mistral'"
CHECK = "from llamalab import check\ncheck('who_answered', who_answered)"


@pytest.mark.parametrize(
    "newer", ["def who_answered(record):\n    return record[", "1 / 0\n" + OLD]
)
def test_an_older_version_is_not_judged_after_its_newest_cell_failed(cells, newer):
    out = cells(OLD, newer, CHECK)
    assert "Your newest cell with who_answered stopped with an error" in out
    assert "Not yet" not in out


@pytest.mark.parametrize(
    "later",
    [
        "1 / 0",  # not a cell with its def
        "def who_answered(record):\n    return 'mistral'\n1 / 0",  # after the def
        "def another(record):\n    return who_answered(",
        "who_answered = lambda record: 'mistral'",
    ],
)
def test_the_newest_version_is_judged_whatever_else_failed(cells, later):
    out = cells(OLD, later, CHECK)
    assert "Not yet: who_answered is right in 1 of 2" in out


def test_an_older_version_that_is_given_on_purpose_is_judged(cells):
    check_old = "import llamalab\nllamalab.check('who_answered', old)"
    assert "Not yet" in cells(OLD, "old = who_answered", OLD + "  # newer", check_old)
