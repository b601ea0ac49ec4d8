"""The `llamalab` command: the front door.

Each command imports what it needs when it runs, so that `--help` answers at once.
"""

import argparse
import contextlib
import difflib
import math
import os
import shutil
import sys
from pathlib import Path

from llamalab import __version__

HELP = """\
How a large language model talks over the wire: a Jupyter lesson with a server in the box.

the lesson
  lab [FOLDER]     open your copy of the lesson in JupyterLab; `llamalab` alone does the same
  reset CHAPTER    get a fresh chapter; your old one is kept beside it
  doctor           see whether everything is there that the lesson needs

the server
  ask PROMPT       ask one question and watch the answer arrive
  record PROMPT    ... and keep it in a file; `serve --recordings FOLDER` replays it
  pull [MODEL]     fetch the model in the box, 98 MB, once
  serve            run the built-in server in this terminal

the class
  present [CHAPTER]    show a chapter on the projector, your notes in a second window
  handout [CHAPTER]    a chapter as a page to print, with its outputs
  solutions [CHAPTER]  the exercises' solutions and common wrong attempts, with their hints
  share                one model server for a class: nginx, a key and a sheet for each student
"""

EXAMPLES = """\
examples
  llamalab                             open the lesson
  llamalab lab ~/my-lesson             ... in your own folder
  llamalab lab --no-browser            ... and print its address instead of opening it
  llamalab reset 04                    start chapter 04 again
  llamalab ask "Are you listening?"
  llamalab record "Name three animals."
  llamalab doctor                      what is missing, and what fixes it
  llamalab serve --speed 4             answer four times as fast as the model did
  llamalab present 04                  chapter 04 on the projector
  llamalab share --students 30 --run   one server for a class

`llamalab COMMAND --help` tells what a command can do. The server is the one OLLAMA_HOST names,
else an Ollama on this machine, else the built-in one.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (0 well, 1 failed, 2 usage, 130 Ctrl-C)."""
    for stream in (sys.stdout, sys.stderr):  # a console that is not UTF-8 shows "?", and goes on
        with contextlib.suppress(AttributeError):  # a test's stand-in cannot be reconfigured
            stream.reconfigure(errors="replace")
    arguments = parse(sys.argv[1:] if argv is None else argv)
    from llamalab.errors import LlamalabError

    try:
        return arguments.run(arguments)
    except LlamalabError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except OSError as error:  # `llamalab ask ... | head`: no one reads on; `... > file`: disk full
        if not isinstance(error, BrokenPipeError):
            print(f"llamalab cannot go on: {error}", file=sys.stderr)
        with contextlib.suppress(AttributeError, OSError):  # what it still holds goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def parse(argv: list[str]) -> argparse.Namespace:
    """The arguments of a command line; no command means `lab`. Exits with 2 where it is wrong."""
    first = argv[0] if argv else ""
    parser = make_parser(first if first in COMMANDS else "lab")
    if first in ("-h", "--help", "--version") or first in COMMANDS:
        return parser.parse_args(argv)
    if first and not first.startswith("-") and not is_folder(first):
        close = difflib.get_close_matches(first, COMMANDS, n=1) or ["lab"]
        parser.error(
            f"there is no command {first!r}; did you mean `{close[0]}`?\n"
            f"To open the lesson in a folder of that name: llamalab lab {first}"
        )
    arguments = parser.parse_args(["lab", *argv])
    if arguments.folder in COMMANDS:
        parser.error(f"write the command first: llamalab {arguments.folder} ...")
    return arguments


def is_folder(text: str) -> bool:
    """Whether a first word is meant as a folder, not as a command with a slip in it."""
    return text.startswith(("~", ".")) or "/" in text or os.sep in text or Path(text).is_dir()


def make_parser(only: str = "") -> argparse.ArgumentParser:
    """The parser of all commands, or with the arguments of `only` one: others take time to load."""
    parser = argparse.ArgumentParser(
        prog="llamalab",
        usage="llamalab [COMMAND] [OPTIONS]",
        description=HELP,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"llamalab {__version__}")
    commands = parser.add_subparsers(prog="llamalab", metavar="COMMAND", help=argparse.SUPPRESS)
    for name, (add_arguments, run) in COMMANDS.items():
        command = commands.add_parser(name, description=run.__doc__, allow_abbrev=False)
        if only in ("", name):
            add_arguments(command)
        command.set_defaults(run=run)
    return parser


def lab_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        nargs="?",
        metavar="FOLDER",
        help="the folder with your copy of the lesson (default: llama-lesson, in the project's "
        "folder or in this one). What you have changed or run is never overwritten.",
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="print the page's address, open nothing"
    )
    parser.add_argument(
        "--port", type=port, metavar="N", help="JupyterLab's port (default: a free one from 8888)"
    )
    parser.add_argument(
        "--server",
        metavar="URL",
        help="the class's server, as on your sheet: http://ada:KEY@192.0.2.7:8080. It is kept for "
        "next time, for you alone; `--server none` forgets it.",
    )


def lab(arguments: argparse.Namespace) -> int:
    """Open your copy of the lesson in JupyterLab, with a model server. Ctrl-C stops both."""
    from llamalab.lesson.jupyterlab import open_lab

    browser = not arguments.no_browser
    return open_lab(arguments.folder, arguments.port, browser, server=arguments.server)


def chapter_argument(parser: argparse.ArgumentParser, default: str, also: str = "") -> None:
    """A chapter that may be left out; `also` is what else can be named."""
    text = f"its number, as in 4 or 04, or its file's name{also} (default: {default})"
    parser.add_argument("chapter", nargs="?", metavar="CHAPTER", help=text)


def reset_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "chapter", metavar="CHAPTER", help="its number, as in 4 or 04, or its file's name"
    )
    parser.add_argument(
        "folder", nargs="?", metavar="FOLDER", help="the folder with your copy of the lesson"
    )


def reset(arguments: argparse.Namespace) -> int:
    """Put a fresh chapter into your copy of the lesson. The old one is kept under a new name."""
    from llamalab.lesson.reset import reset

    print(reset(arguments.chapter, arguments.folder))
    return 0


def present_arguments(parser: argparse.ArgumentParser) -> None:
    chapter_argument(parser, "00")
    parser.add_argument(
        "--plan",
        type=int,
        choices=[45, 90, 180],
        help="the sections and the clock of a plan, in minutes (default: all sections)",
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="print the two addresses, open nothing"
    )
    parser.add_argument(
        "--port", type=port, metavar="N", help="JupyterLab's port (default: a free one from 8888)"
    )


def present(arguments: argparse.Namespace) -> int:
    """Show a chapter on the projector, one section at a time, and your notes in a second window."""
    from llamalab.classroom.presenting.stage import present

    chapter, plan = arguments.chapter, arguments.plan
    return present(chapter, arguments.port, browser=not arguments.no_browser, plan=plan)


def question_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "prompt", nargs="+", type=question, metavar="PROMPT", help="your question, in quotes"
    )
    parser.add_argument("--model", help="the model that answers (default: the lesson's)")
    parser.add_argument(
        "--server", metavar="URL", help="the server's address (default: the one found)"
    )


def server_for(arguments: argparse.Namespace) -> str:
    """The server to ask: the one named, or the one found."""
    from llamalab import find
    from llamalab.standin import fetch_model

    if arguments.server:
        return arguments.server
    kept_server()
    return find.server(quiet=True, prepare=fetch_model.fetch_or_go_on, share=False)


def kept_server() -> None:
    """Use the class's server that the student's copy of the lesson knows, if it does."""
    from llamalab.lesson import class_server
    from llamalab.lesson.copying import find_folder

    class_server.use_kept(find_folder())


def ask(arguments: argparse.Namespace) -> int:
    """Ask the model one question and print its answer as it arrives; without a text, exit 1."""
    from llamalab import MODEL, stream

    server, prompt = server_for(arguments), " ".join(arguments.prompt)
    with Printed() as printed:
        for fragment in stream(prompt, arguments.model or MODEL, server):
            printed.show(fragment)
    return 0 if printed.any else 1  # `stream` has said why


class Printed:
    """Fragments in the terminal as they arrive, and a newline after the last one, come what may."""

    def __init__(self):
        self.any = False

    def show(self, fragment: str) -> None:
        self.any = True
        print(fragment, end="", flush=True)

    def __enter__(self) -> "Printed":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.any:
            print(flush=True)


def record_arguments(parser: argparse.ArgumentParser) -> None:
    question_arguments(parser)
    parser.add_argument("--chat", action="store_true", help="ask it as a chat (/api/chat)")
    parser.add_argument(
        "--to", metavar="FILE", help="a file or a folder (default: MODEL-PROMPT.ndjson, here)"
    )
    parser.add_argument("--force", action="store_true", help="replace FILE if it is there")


def record(arguments: argparse.Namespace) -> int:
    """Ask a server, and keep its answer in a file that `llamalab serve --recordings` replays."""
    from llamalab import MODEL
    from llamalab import record as keep

    server, prompt = server_for(arguments), " ".join(arguments.prompt)
    asked = [{"role": "user", "content": prompt}] if arguments.chat else prompt
    with Printed() as printed:
        file = keep(
            *(asked, arguments.to, arguments.model or MODEL, server, arguments.force),
            show=printed.show,
        )
    print(f"Recorded: {file}")
    return 0


def serve_arguments(parser: argparse.ArgumentParser) -> None:
    from llamalab.standin.http.faults import FAULTS

    parser.add_argument(
        "--port", type=port, default=11434, metavar="N", help="default: 11434, as Ollama's"
    )
    parser.add_argument(
        "--speed",
        type=speed,
        default=1.0,
        metavar="X",
        help="multiple of the recorded pace; 0 makes no pauses at all (default: 1)",
    )
    parser.add_argument(
        "--recordings",
        type=Path,
        metavar="DIR",
        help="a folder with your own recordings, which come first",
    )
    parser.add_argument(
        "--engine",
        metavar="URL",
        help="what is not recorded, let this server answer: any that speaks the OpenAI protocol, "
        "such as http://host:8000/v1 (default: the model in the box)",
    )
    parser.add_argument("--model", metavar="NAME", help="the engine's name for its model")
    parser.add_argument(
        "--fault", choices=FAULTS, metavar="NAME", help="let each answer break in this way, below"
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    faults = [f"  {name:<15}{fault.about}" for name, fault in FAULTS.items()]
    one = "To break one request only, put /fault/NAME after the address:"
    example = '  llamalab ask "Are you listening?" --server http://127.0.0.1:11434/fault/cut'
    parser.epilog = "\n".join(["faults", *faults, "", one, example])


def serve(arguments: argparse.Namespace) -> int:
    """Run the built-in server in this terminal, for this machine only. Ctrl-C stops it."""
    from llamalab.standin.answers.local_model import local_model
    from llamalab.standin.answers.remote_model import remote_model
    from llamalab.standin.fetch_model import fetch_or_go_on
    from llamalab.standin.run import serve

    if arguments.engine:
        engine = remote_model(arguments.engine, arguments.model or "")
    else:
        fetch_or_go_on()
        engine = local_model()
    serve(arguments.port, arguments.speed, arguments.recordings, engine, arguments.fault)
    return 0


def pull_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="default: smollm2:135m, the model in the box"
    )
    parser.add_argument("--server", metavar="URL", help="let this server fetch it, for its own use")


def pull(arguments: argparse.Namespace) -> int:
    """Fetch a model, with a bar to watch: the built-in model, or a different one with Ollama."""
    from llamalab import client
    from llamalab.standin import fetch_model
    from llamalab.standin.answers import builtin_model

    if arguments.server or arguments.model not in (None, builtin_model.NAME):
        client.pull(arguments.model or builtin_model.NAME, arguments.server)
    else:
        fetch_model.fetch()
        print(f"{builtin_model.NAME} is here: {builtin_model.model_path()}")
        print(elsewhere(builtin_model.NAME), end="")
    return 0


def elsewhere(model: str) -> str:
    """What to do where another server is asked, which does not have the built-in one's model."""
    from llamalab import client, find
    from llamalab.errors import LlamalabError

    address, who = find.present() or ("", find.BUILTIN)
    if who == find.BUILTIN:
        return ""
    with contextlib.suppress(LlamalabError):
        if model in client.models(address):
            return ""
    return (
        f"That is for the built-in server. {who} at {address} is asked first, and does not have "
        f"it.\n  Do:  llamalab pull {model} --server {address}   (lets it fetch the model)\n"
    )


def doctor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="show every check, if all is well, too")
    parser.epilog = "OK, or a note of what limits the lesson, or FAIL: then the exit code is 1."


def doctor(arguments: argparse.Namespace) -> int:
    """Check whether everything is there that the lesson needs, and say what fixes it if not."""
    from llamalab import doctor

    kept_server()
    report = doctor()
    print(report.text(min(100, shutil.get_terminal_size((100, 24)).columns), arguments.all))
    return 0 if report.ok else 1


def share_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--students",
        metavar="FILE|N",
        help="a file with a student on each line, or a table (CSV) with a column `name`; or how "
        "many students there are",
    )
    parser.add_argument(
        "--upstream",
        nargs="+",
        action="extend",
        default=[],
        metavar="URL",
        help="the model servers, each such as http://192.0.2.20:11434 (default: an Ollama on this "
        "machine, else the built-in server)",
    )
    parser.add_argument(
        "--listen",
        metavar="ADDRESS[:PORT]",
        help="this machine's address, as the students see it (default: the one it has in its "
        "network, port 8080)",
    )
    parser.add_argument("--cert", metavar="FILE", help="the certificate for https, with --key FILE")
    parser.add_argument("--key", metavar="FILE", help="the certificate's private key")
    parser.add_argument(
        "--site",
        metavar="FOLDER",
        help="also serve the lesson in the browser: what python -m llamalab.site has built",
    )
    parser.add_argument("--out", default="llama-class", metavar="DIR", help="default: llama-class")
    parser.add_argument(
        "--add", action="append", default=[], metavar="NAME", help="give a late student a key"
    )
    parser.add_argument(
        "--withdraw", action="append", default=[], metavar="NAME", help="take a key back"
    )
    parser.add_argument(
        "--run", dest="start", action="store_true", help="run nginx with it until Ctrl-C"
    )
    parser.add_argument(
        "--watch", action="store_true", help="show each student's answers and errors as they come"
    )
    parser.epilog = (
        "Type it again in the same folder to change something: the keys stay, and what you do not "
        "say stays as it was. --add and --withdraw also work while nginx runs."
    )


def share(arguments: argparse.Namespace) -> int:
    """One model server for a class: writes nginx's configuration, and a key and a sheet for each.

    Nothing of llamalab's is in the path of a request. Only the lesson's requests get through, one
    answer at a time for each student.
    """
    from llamalab.classroom.share.command import Asked, share

    return share(Asked(**{field: getattr(arguments, field) for field in Asked._fields}))


def handout_arguments(parser: argparse.ArgumentParser) -> None:
    chapter_argument(parser, "all chapters", ", or `instructors` for the page for instructors")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("llama-handout"),
        metavar="DIR",
        help="where the pages go (default: %(default)s). A page that you have changed is kept.",
    )


def handout(arguments: argparse.Namespace) -> int:
    """Write each chapter as one HTML page to print: outputs and pictures in it, no network."""
    from llamalab.classroom.handout import write_handouts

    print("\n".join(write_handouts(arguments.chapter, arguments.out)))
    print("To print, open a page in a browser and press Ctrl+P.")
    return 0


def solutions_arguments(parser: argparse.ArgumentParser) -> None:
    chapter_argument(parser, "all chapters")
    parser.epilog = "The attempts at a script, in 05 and 09, are run: this takes half a minute."


def solutions(arguments: argparse.Namespace) -> int:
    """Print the exercises' solutions, and common wrong attempts with the hint each one gets."""
    from llamalab.classroom.solutions import all_solutions

    for text in all_solutions(arguments.chapter):
        print(text, flush=True)
    return 0


def question(text: str) -> str:
    """A prompt as it was typed; argparse turns the ValueError into its usage message."""
    if not text.strip():
        raise ValueError
    try:
        text.encode()
    except UnicodeEncodeError:  # the locale is C, the terminal UTF-8 all the same
        return os.fsencode(text).decode(errors="replace")
    return text


def port(text: str) -> int:
    """A TCP port's number; argparse turns the ValueError into its usage message."""
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError
    return number


def speed(text: str) -> float:
    number = float(text)
    if not (number >= 0 and math.isfinite(number)):
        raise ValueError
    return number


COMMANDS = {
    "lab": (lab_arguments, lab),
    "reset": (reset_arguments, reset),
    "doctor": (doctor_arguments, doctor),
    "ask": (question_arguments, ask),
    "record": (record_arguments, record),
    "pull": (pull_arguments, pull),
    "serve": (serve_arguments, serve),
    "present": (present_arguments, present),
    "handout": (handout_arguments, handout),
    "solutions": (solutions_arguments, solutions),
    "share": (share_arguments, share),
}
