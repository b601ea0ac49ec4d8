"""The runs of each exercise with a script: what is typed, what should happen, what to ask.

A script takes the address of its server from OLLAMA_HOST, which is a URL here. `script_judge`
runs it and says what its server answers.
"""

from collections.abc import Callable
from typing import NamedTuple

from llamalab.client import MODEL
from llamalab.exercises.script_judge import FIRST, RECORDED, Found, Judge, Run


class ScriptCase(NamedTuple):
    """One run of the student's script.

    `expected` says in words what should happen; `right` says whether a run did it, and may ask
    the judge for other runs. `lines` are typed while the script runs. With `fault`, the first
    answer breaks in this way. `question` and `hint` are those of `cases.Case`; where a run shows
    more, `cause` finds better ones.
    """

    arguments: tuple[str, ...]
    expected: str
    right: Callable[[Run, Judge], bool]
    question: str
    hint: str
    lines: tuple[str, ...] = ()
    fault: str = ""
    cause: Callable[[Run], Found | None] = lambda run: None

    @property
    def asked(self) -> tuple[tuple[str, ...], tuple[str, ...], str]:
        """What the judge needs to know for this run."""
        return self.arguments, self.lines, self.fault


class Script(NamedTuple):
    """An exercise with a script: its runs, and whether a text is still the given one."""

    cases: list[ScriptCase]
    unsolved: Callable[[str], str]  # of the script's text: why, or ""


# ask_script, model_option, exit_code --------------------------------------------------------


def _prints(arguments: tuple[str, ...], text: str, question: str, hint: str) -> ScriptCase:
    return ScriptCase(
        arguments,
        f"it prints {text!r}, exit code 0",
        lambda run, _: run.printed.strip() == text and run.exit_code == 0,
        question,
        hint,
    )


def _ends(arguments: tuple[str, ...], code: int, question: str, hint: str) -> ScriptCase:
    return ScriptCase(
        arguments,
        f"one sentence on stderr, exit code {code}",
        lambda run, _: run.exit_code == code and bool(run.errors.strip()),
        question,
        hint,
        cause=lambda run: _on_stdout(run, code),
    )


def _on_stdout(run: Run, code: int) -> Found | None:
    if run.exit_code != code or run.errors.strip() or not run.printed.strip():
        return None
    return Found(
        "on stdout",
        "There are two outputs, stdout and stderr. On which one is your sentence?",
        "print(..., file=sys.stderr) prints on stderr. A simple print(...) prints on stdout.",
        note="Nothing came on stderr. All that you see here is on stdout.",
    )


def _takes_no_option(run: Run) -> Found | None:
    if not run.exit_code or run.requests:
        return None
    return Found(
        "length of sys.argv",
        "How long is sys.argv with --model? What does your script do then?",
        "`if len(sys.argv) != 2` is true here, too. Look for the length 4 before that.",
    )


WHO = _prints(
    ("Who?",),
    f"I am {MODEL}. You asked: Who?",
    "Follow the prompt: from the command line into the request. Do you print every fragment?",
    'Print answer["response"] of each record, with end="" and nothing in between.',
)

# chat_script ---------------------------------------------------------------------------------

TOLD, ASKED = "My name is Ada.", "What is my name?"


def _said(text: str) -> str:
    return f"{FIRST}, you said: {text}"


def _turns(run: Run) -> list[list[dict]]:
    """The messages of each request to /api/chat."""
    return [asked.get("messages", []) for path, asked in run.requests if path == "/api/chat"]


def _memory(run: Run) -> Found | None:
    """What is wrong with the messages of the second request."""
    turns = _turns(run)
    if len(turns) < 2:
        return None
    messages = [(each.get("role"), str(each.get("content"))) for each in turns[-1]]
    roles = [role for role, _ in messages]
    answers = [content for role, content in messages if role == "assistant"]
    question = "What is in `messages` of the second request? Who said what?"
    if roles != ["user", "assistant", "user"]:
        return Found(
            "roles",
            question,
            "Append the user's message before you post, and the assistant's answer after it.",
            note=f"The second request of your script has: {', '.join(map(str, roles))}.",
        )
    if answers == [_said(TOLD)] or answers[0] not in _said(TOLD):
        return None
    what = "only a part of the answer" if answers[0] else "empty"
    return Found(
        "fragments",
        question,
        'Start with text = "" for each answer, and add each fragment: text += ...',
        note=f"It has three, but the assistant's message is {what}: join the fragments first.",
    )


def _waits_for_ever(run: Run) -> Found | None:
    if run.exit_code is not None:
        return None
    return Found(
        "no timeout",
        "The connection stays open, but no more data comes. How long does your script wait?",
        "timeout=(5, 330) in post: 5 seconds for the connection, 330 for each next piece.",
        note="Your script waits for ever on a silent server: give `requests.post` a `timeout`.",
    )


def _answers(run: Run, _: Judge) -> bool:
    return run.exit_code == 0 and len(_turns(run)) == 2 and _said(TOLD) in run.printed


def _remembers(run: Run, _: Judge) -> bool:
    *_, last = _turns(run)
    said = [(message.get("role"), message.get("content").strip()) for message in last]
    return said[-3:] == [("user", TOLD), ("assistant", _said(TOLD)), ("user", ASKED)]


def _survives(run: Run, judge: Judge) -> bool:
    """One sentence about the fault, then the next answer, then a good end."""
    plain = judge.run((), _lines(RECORDED))
    goes_on = run.exit_code == 0 and len(_turns(run)) == 2 and _said(ASKED) in run.printed
    return goes_on and judge.said(run, plain) >= 3


def _lines(first: str) -> tuple[str, ...]:
    return first, ASKED


def _fault(name: str, question: str, hint: str, cause=lambda run: None) -> ScriptCase:
    expected = "one sentence about what went wrong, then the next answer, exit code 0"
    return ScriptCase((), expected, _survives, question, hint, _lines(RECORDED), name, cause)


# In the order of a student's work; each run meets one new mistake.
SCRIPTS: dict[str, Script] = {
    "ask_script": Script(
        [
            WHO,
            _prints(
                ("What is a byte?",),
                f"I am {MODEL}. You asked: What is a byte?",
                "This run has another prompt. Where does your script read the prompt?",
                "sys.argv[1] is the first text after the script's name. Put it into the request.",
            ),
        ],
        lambda text: "",
    ),
    "model_option": Script(
        [
            WHO,
            _prints(
                ("--model", "tiny", "Who?"),
                "I am tiny. You asked: Who?",
                "Which name did you type after --model? Which name is in the request?",
                'Put the name into the request: {"model": model, ...}.',
            )._replace(cause=_takes_no_option),
            _prints(
                ("--model", "smollm2:135m", "What is a byte?"),
                "I am smollm2:135m. You asked: What is a byte?",
                "This run has another model and another prompt. Are both in the request?",
                "Read both from the command line. Neither of them is written in the script.",
            ),
        ],
        lambda text: "" if "--model" in text else "it does not know --model. Add it, and save",
    ),
    "exit_code": Script(
        [
            _prints(
                ("Who?",),
                f"I am {MODEL}. You asked: Who?",
                "This answer is complete. Which exit code says that all went well?",
                "An answer that is complete ends with exit code 0.",
            ),
            _ends(
                (),
                2,
                "No prompt was typed. How long is sys.argv then?",
                "Look at len(sys.argv) first. Print how to use the script, then sys.exit(2).",
            ),
            _ends(
                ("Stop here",),
                1,
                'The last record is {"error": ...}. What does your script do with this record?',
                'If a record has the key "error", print its text to sys.stderr, then sys.exit(1).',
            ),
            _ends(
                ("Hang up",),
                1,
                "The server closed the connection, and no answer came. What raises an error here?",
                "requests.post raises an error: except requests.RequestException around it.",
            ),
            _ends(
                ("Lose the end",),
                1,
                "All records came but the last one. How do you know that an answer is complete?",
                "After the loop, look at the last record: is it done? If not, sys.exit(1).",
            ),
        ],
        lambda text: "" if "exit" in text else "it sets no exit code. Add sys.exit, and save",
    ),
    "chat_script": Script(
        [
            ScriptCase(
                (),
                f"two requests to /api/chat, it prints {_said(TOLD)!r}, exit code 0",
                _answers,
                "Does your loop post each line to /api/chat, until there are no more lines?",
                "`for line in sys.stdin:` gives each line and ends after the last one (Ctrl-D).",
                (TOLD, ASKED),
            ),
            ScriptCase(
                (),
                "the second request has three messages: question, answer, and the new question",
                _remembers,
                "What is in `messages` of the second request? Who said what?",
                "Append the user's message before you post, and the assistant's answer after it.",
                (TOLD, ASKED),
                cause=_memory,
            ),
            ScriptCase(
                (),
                f"{FIRST!r} is printed before the rest of the answer arrives",
                lambda run, _: run.streamed,
                "When does your script print a fragment: at once, or when all have come?",
                "post(..., stream=True), iter_lines(), and print(..., flush=True) each fragment.",
                _lines(RECORDED),
            ),
            _fault(
                "refuse",
                "The connection was closed, and no answer came. Where is your `try`?",
                "Put `try` around the request and the loop: except requests.RequestException.",
            ),
            _fault(
                "busy",
                'The status is 503, and the record is {"error": ...}. Do you look for this key?',
                'Look for the key "error" in each record, before you read its message.',
            ),
            _fault(
                "error-midway",
                "The last record is an error. Does the user read what it says?",
                'A record with the key "error" may come at any time. Print its text, and go on.',
            ),
            _fault(
                "cut",
                "The connection broke in the middle of the answer. Is the loop inside the `try`?",
                "The error comes from iter_lines(): the loop over it has to be inside `try`.",
            ),
            _fault(
                "empty",
                "The status is 200, but no record came. How do you know an answer is complete?",
                "After the loop, was a record done? If not, say that the answer is not complete.",
            ),
            _fault(
                "no-done",
                "All the text came, but no record was done. Does the user read that?",
                "Note for each answer whether a record was done: its text alone cannot tell.",
            ),
            _fault(
                "html",
                "This is a web page, not JSON. Which error does json.loads raise?",
                "json.loads raises a ValueError. Catch it, and say that this is not an answer.",
            ),
            _fault(
                "garbage",
                "One line is not JSON. What does the user read about it?",
                "json.loads raises a ValueError. Catch it: `except (requests.RequestException, "
                "ValueError)`.",
            ),
            _fault(
                "stall",
                "The server fell silent. What does the user read about it?",
                "A timeout raises a RequestException. Catch it, and print one sentence.",
                _waits_for_ever,
            ),
        ],
        lambda text: "",
    ),
}
