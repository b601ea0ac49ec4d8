"""`!python my_script.py` in a page: the script runs in this interpreter, as a program would.

It has a fresh namespace, its own `sys.argv` and streams, and an exit code. What it prints is kept
back as a pipe keeps it, until it is flushed, unless it is shown in a cell.
"""

import builtins
import codecs
import io
import os
import shlex
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ONLY_PYTHON = "This page has no terminal. Only `!python` with the name of a script works here."


class TooLong(BaseException):
    """A script did not end in its time."""


class Output(io.RawIOBase):
    """A stream's end: gives each piece of what is written to a function."""

    def __init__(self, take: Callable[[bytes], object]):
        super().__init__()
        self._take = take

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        self._take(bytes(data))
        return len(data)


def run(
    script: Path,
    arguments: list[str],
    out: Callable[[bytes], object],
    err: Callable[[bytes], object],
    stdin: str = "",
    seconds: float | None = None,
    cell: bool = False,
) -> int | None:
    """Run a script to its end and return its exit code; None where it takes more than `seconds`.

    `out` and `err` get what it prints, in pieces; in a `cell` at the end of each line, and
    otherwise as late as a pipe does.
    """
    try:
        source = script.read_bytes()
    except OSError as error:
        where = script.absolute()
        said = f"python: can't open file '{where}': [Errno {error.errno}] {error.strerror}\n"
        err(said.encode())
        return 2
    with streams(out, err, stdin, cell), settings(script, arguments) as namespace:
        end = None if seconds is None else time.monotonic() + seconds
        code = exit_code(str(script), source, namespace, end)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    return code


def exit_code(name: str, source: bytes, namespace: dict, end: float | None) -> int | None:
    """Run the source; an error is printed as Python prints it."""
    try:
        code = compile(source, name, "exec")
        if end is not None:
            sys.settrace(stopwatch(name, end))
        exec(code, namespace)
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    except TooLong:
        return None
    except BaseException as error:
        print_error(error)
        return 1
    finally:
        sys.settrace(None)
    return 0


def print_error(error: BaseException) -> None:
    """Print it as Python does, without the frames of this file."""
    shown = traceback.TracebackException.from_exception(error)
    frames = [frame for frame in shown.stack if frame.filename != __file__]
    shown.stack = traceback.StackSummary.from_list(frames)
    if not frames:  # a SyntaxError: nothing has run
        shown.__suppress_context__ = True
    lines = list(shown.format())
    if not frames and lines[0].startswith("Traceback"):
        del lines[0]
    print("".join(lines), end="", file=sys.stderr)


def stopwatch(name: str, end: float) -> Callable:
    """A trace function that ends the script at a time: there is no one else to do it."""

    def look(frame: types.FrameType, event: str, argument: object) -> Callable | None:
        if frame.f_code.co_filename != name:
            return None
        frame.f_trace_opcodes = True  # a loop may be on one line
        if time.monotonic() > end:
            raise TooLong
        return look

    return look


@contextmanager
def streams(
    out: Callable[[bytes], object], err: Callable[[bytes], object], stdin: str, cell: bool
) -> Iterator[None]:
    """The script's own stdin, stdout and stderr; `input` reads from the first."""
    before = sys.stdin, sys.stdout, sys.stderr, builtins.input
    written = [io.TextIOWrapper(io.BufferedWriter(Output(take)), "utf-8") for take in (out, err)]
    written[0].reconfigure(line_buffering=cell)
    written[1].reconfigure(errors="backslashreplace", line_buffering=True)
    typed = io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8")
    sys.stdin, sys.stdout, sys.stderr, builtins.input = typed, *written, read_line
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr, builtins.input = before


def read_line(prompt: object = "") -> str:
    """`input`, which in a page would ask the person at the keyboard."""
    print(prompt, end="", flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError("EOF when reading a line")
    return line.removesuffix("\n")


@contextmanager
def settings(script: Path, arguments: list[str]) -> Iterator[dict]:
    """The script's namespace, `sys.argv` and path; what it changes of the process is put back."""
    argv, path, environment, folder = sys.argv, sys.path, os.environ.copy(), Path.cwd()
    notebook = sys.modules["__main__"]
    main = types.ModuleType("__main__")
    main.__file__ = str(script)
    sys.argv, sys.path = [str(script), *arguments], [str(script.parent.absolute()), *path]
    sys.modules["__main__"] = main
    try:
        yield main.__dict__
    finally:
        sys.argv, sys.path, sys.modules["__main__"] = argv, path, notebook
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)


def command(line: str, show: Callable[[bytes], object], cell: bool = True) -> int:
    """Do what was typed after the `!`; both outputs of a script go to `show`, as in a terminal."""
    words = shlex.split(line)
    if len(words) < 2 or Path(words[0]).name not in ("python", "python3") or words[1][0] == "-":
        show(f"{ONLY_PYTHON}\n".encode())
        return 127
    return run(Path(words[1]), words[2:], show, show, cell=cell)


def answer_commands() -> None:
    """Let the notebook's `!python …` and `said = !python …` end here."""
    from IPython import get_ipython
    from IPython.utils.text import SList

    shell = get_ipython()
    if shell is None:
        return

    def system(line: str) -> None:
        cell, decoder = sys.stdout, codecs.getincrementaldecoder("utf-8")("replace")

        def show(data: bytes) -> None:
            cell.write(decoder.decode(data))

        shell.user_ns["_exit_code"] = command(shell.var_expand(line, depth=1), show)

    def getoutput(line: str, split: bool = True, depth: int = 0) -> object:
        said = bytearray()
        command(shell.var_expand(line, depth=depth + 1), said.extend, cell=False)
        text = said.decode("utf-8", "replace")
        return SList(text.splitlines()) if split else text

    shell.system, shell.getoutput = system, getoutput
