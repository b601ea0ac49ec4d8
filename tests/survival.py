"""What each reader makes of each fault: a table, and the command that fills it for real.

    uv run python tests/survival.py

Every cell is a real run against a real server that breaks (`llamalab.standin.http.faults`),
followed by a question to the same server, which has to be answered. `test_survival.py` runs the
same cells.
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from unittest import mock

import requests
from patience import PATIENCE

import llamalab
from llamalab import cli, client
from llamalab.errors import LlamalabError
from llamalab.standin.answers.recordings import FOLDER, Recording, read_folder
from llamalab.standin.http import faults
from llamalab.standin.run import BuiltinServer
from llamalab.wire import fragments_of, load_answers, split_lines

LEGEND = """\
text        the whole answer, right to its last character
no text     an answer without text, as it was on the wire; `ask` says so on stderr
silent      ... and nobody says so
no server, no model, busy, bad, broken
            ServerNotFound, ModelNotFound, ServerBusy, BadAnswer, BrokenStream, or a sentence
+           what had arrived is kept: in `.partial`, or on the screen before the sentence
After text and silent a program ends in 0, else in 1. After each cell the same server
answers a question well.
"""


def table(text: str) -> dict[str, dict[str, str]]:
    """`table[row][column]`; two spaces or more part the columns."""
    head, *rows = (re.split(r"  +", line) for line in text.strip().splitlines())
    return {name: dict(zip(head[1:], cells, strict=True)) for name, *cells in rows}


EXPECTED = table("""
fault          generate   stream     chat       ask        generate.py  chat_box   chapter 09
refuse         no server  no server  no server  no server  no server    no server  broken
slow-start     text       text       text       text       text         text       text
busy           busy       busy       busy       busy       busy         busy       busy
no-model       no model   no model   no model   no model   no model     no model   no model
cut            broken+    broken+    broken+    broken+    broken+      broken+    broken+
split-line     text       text       text       text       text         text       text
split-char     text       text       text       text       text         text       text
error-midway   broken+    broken+    broken+    broken+    broken+      broken+    broken+
stall          broken+    broken+    broken+    broken+    broken+      broken+    broken+
garbage        bad+       bad+       bad+       bad+       broken+      bad+       bad+
html           bad        bad        bad        bad        broken       bad        bad
empty          broken     broken     broken     broken     broken       broken     broken
no-done        broken+    broken+    broken+    broken+    broken+      broken+    broken+
huge-line      text       text       text       text       text         text       text
thinking-only  no text    no text    no text    no text    silent       no text    no text
""")

ERRORS = {
    llamalab.ServerNotFound: "no server",
    llamalab.ModelNotFound: "no model",
    llamalab.ServerBusy: "busy",
    llamalab.BadAnswer: "bad",
    llamalab.BrokenStream: "broken",
}
# How a sentence on stderr begins, and what it means.
SENTENCES = {
    "No server": "no server",
    "The server at": "no model",
    "The server has no model": "no model",
    "The server says: model": "no model",
    "The server is busy": "busy",
    "The server says: server busy": "busy",
    "A line is not JSON": "bad",
    "The answer was cut off": "broken",
    "The server gave up": "broken",
    "The server says: an error": "broken",
    "The server stopped": "broken",
    "The answer stopped": "broken",
    "The connection": "broken",
    "This is not the answer": "bad",
    "The answer has no text": "no text",
    "The model has only thought": "no text",
}

# ---- what is asked, and what there is to be read

# Recorded answers: of more records than arrive before the trouble.
LONG = [answer for answer in read_folder(FOLDER) if len(answer.lines) > faults.AFTER + 1]
QUESTION = next(answer for answer in LONG if answer.prompt == "Are you listening?")
CHAT = next(a for a in LONG if a.path == "/api/chat" and len(a.request["messages"]) == 1)
ASKED = QUESTION.request
SAID = {key: CHAT.request[key] for key in ("model", "messages")}  # a chat box sends no options
# Bytes. The fault's own 8 MB would take chapter 09 a minute: it reads with `iter_lines()`, whose
# time grows with the square of a line's length.
HUGE = 2**20
RIGHT = {
    "split-char": "Ça va ? 你好, Ōsaka 🦙",
    "huge-line": "a very long line, " * (HUGE // len("a very long line, ")),
    "thinking-only": "",
}


def fragments(recording: Recording) -> list[str]:
    lines = split_lines(b"".join(recording.lines))
    return list(fragments_of(load_answers(lines)))


def word_for_text(fault: str, recording: Recording, text: str) -> str:
    right = RIGHT.get(fault, "".join(fragments(recording)))
    if text == right:
        return "text" if text else "no text"
    return f"wrong text {text[:40]!r}"


def word_for_trouble(word: str, fault: str, recording: Recording, partial: str) -> str:
    arrived = fragments(recording)[: None if fault == "no-done" else faults.AFTER]
    if partial == "".join(arrived):
        return f"{word}+"
    return f"{word}, wrong text {partial[:40]!r}" if partial else word


def word_for_sentence(said: str) -> str:
    return next((word for begin, word in SENTENCES.items() if said.startswith(begin)), said)


# ---- the readers: each takes the address of a fault, and its name, and says how it went


def function(recording: Recording, ask: Callable[[str], Iterable[str]]) -> Callable[..., str]:
    """A reader that is a function of llamalab."""

    def reader(server: str, fault: str) -> str:
        try:
            return word_for_text(fault, recording, "".join(ask(server)))
        except LlamalabError as error:
            return word_for_trouble(ERRORS[type(error)], fault, recording, error.partial)

    return reader


def program(run: Callable[[str], tuple[int, str, str]]) -> Callable[..., str]:
    """A reader that is a program: `run(server)` gives its exit code, its stdout and its stderr."""

    def reader(server: str, fault: str) -> str:
        code, out, said = run(server)
        said, text = said.strip(), out.removesuffix("\n")
        word = word_for_sentence(said)
        if code == 0 and not said:
            word = word_for_text(fault, QUESTION, text).replace("no text", "silent")
        elif code != 0:
            word = word_for_trouble(word, fault, QUESTION, text)
        right = 0 if word in ("text", "silent") else 1
        return word if code == right else f"{word}, exit {code}"

    return reader


def llamalab_ask(server: str) -> tuple[int, str, str]:
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        code = cli.main(["ask", QUESTION.prompt, "--server", server])
    return code, out.getvalue(), said.getvalue()


NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
SCRIPT = NOTEBOOKS / "generate.py"
IMPATIENT = """
import runpy, sys, requests
post, (patience, *sys.argv) = requests.post, sys.argv[1:]

def impatient(*args, timeout, **more):
    connect, read = timeout
    return post(*args, timeout=(connect, min(read, float(patience))), **more)

requests.post = impatient
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def generate_py(server: str) -> tuple[int, str, str]:
    """The script in a separate process; its patience, and nothing else, is what `client` has."""
    arguments = [str(client.READ), str(SCRIPT), QUESTION.prompt]
    done = subprocess.run(
        [sys.executable, "-c", IMPATIENT, *arguments],
        env={**os.environ, "OLLAMA_HOST": server, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
    )
    return done.returncode, done.stdout, done.stderr


LAST_CHAPTER = NOTEBOOKS / "09-when-things-go-wrong.ipynb"


def last_loop() -> str:
    """The function that the last chapter ends in, as it stands in its cell."""
    cells = json.loads(LAST_CHAPTER.read_text(encoding="utf-8"))["cells"]
    sources = ("".join(cell["source"]) for cell in cells)
    return next(source for source in sources if "def ask_and_survive(" in source)


def chapter_09(server: str, fault: str) -> str:
    names = {"json": json, "requests": requests}
    exec(last_loop(), names)
    url = f"{server}/api/generate"
    text, trouble = names["ask_and_survive"](url, ASKED, patience=client.READ)
    if not trouble:
        return word_for_text(fault, QUESTION, text)
    return word_for_trouble(word_for_sentence(trouble), fault, QUESTION, text)


def chat_box(server: str, fault: str) -> str:
    box = llamalab.chat_box(SAID["model"], server)
    box.ask(CHAT.prompt)
    text = "".join(said["content"] for said in box.messages if said["role"] == "assistant")
    if box.trouble:
        return word_for_trouble(word_for_sentence(box.trouble), fault, CHAT, text)
    return word_for_text(fault, CHAT, text)


READERS = {
    "generate": function(QUESTION, lambda server: llamalab.generate(**ASKED, server=server)),
    "stream": function(QUESTION, lambda server: llamalab.stream(**ASKED, server=server)),
    "chat": function(CHAT, lambda server: llamalab.chat(**SAID, server=server)),
    "ask": program(llamalab_ask),
    "generate.py": program(generate_py),
    "chat_box": chat_box,
    "chapter 09": chapter_09,
}

# ---- filling the table


@contextlib.contextmanager
def broken_server() -> Iterator[str]:
    """The address of a server for `cell`."""
    quick = mock.patch.multiple(faults, SLOW_START=0.3, HUGE=HUGE)
    with tempfile.TemporaryDirectory() as folder, quick:
        for path, request, answer in (
            ("/api/generate", ASKED, QUESTION),
            ("/api/chat", SAID, CHAT),
        ):
            head = json.dumps({"path": path, "json": request}).encode() + b"\n"
            file = Path(folder, f"{path.rpartition('/')[2]}.ndjson")
            file.write_bytes(head + b"".join(answer.lines))
        with BuiltinServer.start(speed=0, recordings=folder) as server:
            yield server.url


def cell(url: str, fault: str, reader: str) -> str:
    """Let a reader meet a fault; how that went, and whether the server is still well."""
    # Of an answer that stalls, all that comes has to come in this time; a slow machine needs more.
    for patience in (0.5, 3, 20) if fault == "stall" else (client.READ,):  # seconds
        with mock.patch.object(client, "READ", patience):
            word = within(PATIENCE, lambda: READERS[reader](f"{url}/fault/{fault}", fault))
        if word == EXPECTED[fault][reader]:
            break
    well = llamalab.generate(**ASKED, server=url) == "".join(fragments(QUESTION))
    return word if well else f"{word}, and then nothing works"


def within(seconds: float, work: Callable[[], str]) -> str:
    """What `work` returns; "hangs" where it takes longer, and an error where it raises one."""
    words = ["hangs"]

    def run() -> None:
        try:
            words.append(work())
        except Exception as error:
            words.append(repr(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return words[-1]


def main() -> int:
    """Fill the table, print it; 1 where a cell is not as expected."""
    found = {}
    with broken_server() as url:
        for fault in faults.FAULTS:
            found[fault] = {reader: cell(url, fault, reader) for reader in READERS}
    print(shown(found))
    print()
    print(LEGEND)
    cells = [(fault, reader) for fault in found for reader in READERS]
    wrong = [(f, r) for f, r in cells if found[f][r] != EXPECTED[f][r]]
    for fault, reader in wrong:
        print(f"{fault}, {reader}: {found[fault][reader]!r}, not {EXPECTED[fault][reader]!r}")
    print(f"{len(cells) - len(wrong)} of {len(cells)} cells are as they should be.")
    return 1 if wrong else 0


def shown(found: dict[str, dict[str, str]]) -> str:
    """The table as it stands in this file."""
    rows = [["fault", *READERS], *([fault, *cells.values()] for fault, cells in found.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
