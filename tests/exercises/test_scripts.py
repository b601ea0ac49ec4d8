"""The script's judge: each solution passes, each wrong attempt gets its question."""

from pathlib import Path

import pytest

from llamalab.exercises import checking
from llamalab.exercises.checking import check, hint
from llamalab.exercises.script_cases import SCRIPTS
from llamalab.exercises.script_judge import Judge
from llamalab.exercises.solutions import ASK_SCRIPT, CHAT_SCRIPT, EXIT_CODE, SOLUTIONS

# One attempt of each exercise runs each time; the others, which start a script up to nine times
# each, with `-m long`.
ATTEMPTS = [
    pytest.param(name, number, id=f"{name}-{number}", marks=[pytest.mark.long] * (number > 0))
    for name in SCRIPTS
    for number in range(len(SOLUTIONS[name].attempts))
]


@pytest.fixture(autouse=True)
def _new_kernel():
    checking.forget()


@pytest.fixture
def said(capsys, tmp_path, monkeypatch):
    """What check prints about a script; it lies in a separate folder, where check finds it."""
    monkeypatch.chdir(tmp_path)

    def said(name, text, file="my_script.py"):
        Path(file).write_text(text, encoding="utf-8")
        assert check(name, file) is None
        return capsys.readouterr().out

    return said


@pytest.fixture
def patient(monkeypatch):
    """A judge for whom a script that streams and has timeouts is never too slow."""
    for limit in ("TIMEOUT", "SILENCE", "PATIENCE"):
        monkeypatch.setattr(f"llamalab.exercises.script_judge.{limit}", 60)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("name", SCRIPTS)
def test_the_solution_passes_every_run(said, name):
    runs = len(SCRIPTS[name].cases)
    out = said(name, SOLUTIONS[name].code)
    assert out == f"Running my_script.py ...\nOK: my_script.py is right in all {runs} runs.\n"


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("name", [name for name in SCRIPTS if SOLUTIONS[name].another])
def test_the_other_solution_passes_every_run(said, name):
    assert "\nOK: " in said(name, SOLUTIONS[name].another)


@pytest.mark.parametrize(("name", "number"), ATTEMPTS)
def test_a_wrong_attempt_gets_what_happened_then_its_question(said, name, number):
    attempt = SOLUTIONS[name].attempts[number]
    first, second = said(name, attempt.code), said(name, attempt.code)
    assert first.startswith("Running my_script.py ...\nNot yet: my_script.py is right in ")
    assert "question:" not in first
    assert second.startswith(first)
    assert attempt.asks in second.removeprefix(first)


# As a terminal does -----------------------------------------------------------------------------


def test_it_shows_what_was_typed_and_printed_and_the_exit_code(said):
    out = said("model_option", SOLUTIONS["model_option"].attempts[0].code)
    assert out == (
        "Running my_script.py ...\n"
        "Not yet: my_script.py is right in 1 of 3 runs.\n"
        '  $ python my_script.py --model tiny "Who?"\n'
        "  I am mistral. You asked: Who?\n"
        "  exit code: 0\n"
        "  expected: it prints 'I am tiny. You asked: Who?', exit code 0\n"
    )


def test_it_shows_the_lines_of_a_traceback_that_are_the_scripts_own(said, tmp_path):
    out = said("exit_code", EXIT_CODE.replace("requests.RequestException", "KeyError"))
    assert '  Traceback (most recent call last):\n    File "my_script.py", line 16, in ' in out
    assert "response = requests.post(" in out
    assert "requests.exceptions.ConnectionError: " in out
    assert "site-packages" not in out
    assert str(tmp_path) not in out


def test_of_a_long_stderr_it_shows_the_last_lines(said):
    out = said("ask_script", "import sys\nfor n in range(99): print('line', n, file=sys.stderr)\n")
    assert '"Who?"\n  ...\n  line 93\n' in out
    assert "  line 98\n  exit code: 0\n" in out


def test_a_traceback_is_not_an_exit_code_1(said):
    out = said(
        "exit_code", EXIT_CODE.replace("except requests.RequestException", "except KeyError")
    )
    assert "right in 3 of 5 runs" in out
    assert "ConnectionError" in out


def test_it_shows_what_was_typed_into_a_chat_and_which_fault_the_server_has(said):
    out = said("chat_script", CHAT_SCRIPT.replace("requests.RequestException, ", ""))
    assert "  $ python my_script.py\n  (the server's first answer breaks: fault 'refuse')\n" in out
    assert "  < What is my cat called?\n  < What is my name?\n" in out


def test_a_sentence_on_stdout_is_not_one_on_stderr(said, capsys):
    out = said("exit_code", EXIT_CODE.replace("prompt\"', file=sys.stderr", "prompt\"'"))
    assert "  exit code: 2\n" in out
    assert out.endswith("  Nothing came on stderr. All that you see here is on stdout.\n")
    hint("exit_code")
    assert "print(..., file=sys.stderr) prints on stderr" in capsys.readouterr().out


def test_the_messages_that_a_chat_sent_are_described(said):
    out = said("chat_script", CHAT_SCRIPT.replace("text += fragment", "text = fragment"))
    assert out.endswith("the assistant's message is empty: join the fragments first.\n")
    only_user = 'messages.append({"role": "assistant", "content": text})'
    out = said("chat_script", CHAT_SCRIPT.replace(only_user, "pass"))
    assert out.endswith("  The second request of your script has: user, user.\n")


def test_a_chat_without_a_timeout_waits_for_ever_and_is_told(said):
    out = said("chat_script", CHAT_SCRIPT.replace(", timeout=(5, 330)", ""))
    assert "right in 11 of 12 runs" in out
    assert "fault 'stall'" in out
    assert out.endswith("on a silent server: give `requests.post` a `timeout`.\n")


@pytest.mark.usefixtures("patient")
def test_a_web_page_in_place_of_an_answer_is_a_fault(said):
    out = said("chat_script", CHAT_SCRIPT.replace(" ValueError,", ""))
    assert "right in 9 of 12 runs" in out
    assert "fault 'html'" in out
    assert "JSONDecodeError: Expecting value" in out


def test_the_option_is_counted_in_sys_argv(said, capsys):
    said("model_option", EXIT_CODE + "# --model\n")
    hint("model_option")
    assert "is true here, too. Look for the length 4" in capsys.readouterr().out


def test_the_hint_after_a_wrong_run_is_about_this_run(said, capsys):
    said("ask_script", ASK_SCRIPT.replace("sys.argv[1]", '"Who?"'))
    hint("ask_script")
    assert "sys.argv[1] is the first text after the script's name" in capsys.readouterr().out


# Not solved yet ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_that_is_not_there_is_not_solved_yet(capsys, name):
    check(name, "no_such_script.py")
    assert capsys.readouterr().out == (
        f"{name} is not solved yet: there is no file no_such_script.py in this folder.\n"
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_gap_is_named_with_its_line(said, name):
    out = said(name, "import sys\n\nprompt = ...\n")
    assert out == (
        f"{name} is not solved yet: my_script.py is not complete; "
        "there is still a gap (...) in line 3.\n"
    )


@pytest.mark.parametrize(
    ("name", "why"),
    [("model_option", "it does not know --model"), ("exit_code", "it sets no exit code")],
)
def test_the_script_of_the_stage_before_is_not_solved_yet(said, name, why):
    assert f"{name} is not solved yet: my_script.py is not complete; {why}" in said(
        name, ASK_SCRIPT
    )


@pytest.mark.parametrize("answer", [None, print, "my_script"])
def test_what_is_not_the_name_of_a_script_is_said(capsys, answer):
    check("ask_script", answer)
    assert capsys.readouterr().out == (
        'Give check the name of your script: check("ask_script", "my_script.py")\n'
    )


# The judge --------------------------------------------------------------------------------------


def test_a_script_that_does_not_end_is_stopped_and_asked_about(said, monkeypatch):
    monkeypatch.setattr("llamalab.exercises.script_judge.TIMEOUT", 0.5)
    endless = "import time\nwhile True:\n    time.sleep(1)\n"
    assert "exit code: it did not end" in said("ask_script", endless)
    assert "Does it wait for something that never comes?" in said("ask_script", endless)


def test_a_run_that_is_not_needed_any_more_is_stopped(tmp_path):
    (tmp_path / "wait.py").write_text("import time\ntime.sleep(60)\n")
    with Judge(tmp_path / "wait.py") as judge:
        for number in range(9):
            judge.start((str(number),))
    assert all(script.returncode for script in judge._running)


def test_a_run_is_made_once(tmp_path):
    script = tmp_path / "count.py"
    script.write_text("open('runs', 'a').write('x')\n".replace("runs", str(tmp_path / "runs")))
    with Judge(script) as judge:
        assert judge.run(()) is judge.run(())
    assert (tmp_path / "runs").read_text() == "x"


def test_a_request_like_no_other_is_refused_and_the_judge_goes_on(said):
    out = said("ask_script", ASK_SCRIPT.replace('"prompt": prompt', '"text": prompt'))
    assert "Not yet" in out
    assert "KeyError: 'response'" in out


def test_the_lesson_keeps_its_server_after_a_chat_was_judged(said):
    from llamalab import find

    before = find.address()
    said("chat_script", SOLUTIONS["chat_script"].code)
    assert find.address() == before
