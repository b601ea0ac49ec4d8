"""What a page does in its own way, for the rooms that ask `find.page` for it."""

from pathlib import Path

from llamalab.page import judging, kept, scripts, server

_entered = False
_keeps = False


def enter() -> None:
    """Let `requests` and `!python` work in this page. The second time, nothing happens."""
    global _entered, _keeps
    if not _entered:
        _entered = True
        server.connect()
        scripts.answer_commands()
        _keeps = kept.keep_files()


def keeps_files() -> bool:
    """Whether the browser keeps what cells write."""
    return _keeps


def start() -> server.PageServer:
    """Start the lesson's server in this interpreter."""
    return server.PageServer.start()


def judge(
    script: Path, arguments: tuple[str, ...], lines: tuple[str, ...], desk: judging.Desk
) -> tuple[str, str, int | None]:
    """Run a student's script with the judge's server: both outputs and the exit code."""
    return judging.run(script, arguments, lines, desk)
