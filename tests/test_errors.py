"""What a student reads when something goes wrong."""

import pickle

import llamalab
from llamalab.errors import BrokenStream, LlamalabError, ServerNotFound


def test_the_message_says_what_why_and_what_to_do():
    error = ServerNotFound("No server.", why="nothing listens there", do="llamalab serve")
    assert str(error) == "No server.\n  Why: nothing listens there\n  Do:  llamalab serve"


def test_a_notebook_shows_a_few_lines_and_no_traceback():
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    shown = []
    shell._showtraceback = lambda kind, value, lines: shown.extend(lines)
    shell.run_cell("from llamalab import ServerNotFound\nraise ServerNotFound('Gone.', do='wait')")
    assert shown == ["ServerNotFound: Gone.\n  Do:  wait"]


def test_the_partial_text_is_shown():
    assert "'Yes, I'" in str(BrokenStream("Cut.", partial="Yes, I"))


def test_the_partial_text_survives_a_process_boundary():
    error = BrokenStream("Cut.", why="a", do="b")
    error.partial = "Yes"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_all_errors_are_one_family():
    for name in ("ServerNotFound", "ModelNotFound", "ServerBusy", "BadAnswer", "BrokenStream"):
        assert issubclass(getattr(llamalab, name), LlamalabError)
