"""The class's server that a student has named once: kept in the student's copy, for next time."""

import os
import sys
from pathlib import Path

from llamalab import find, keys
from llamalab.address import parse_host, without_password
from llamalab.errors import LlamalabError, ServerNotFound

FILE = ".llamalab-server"  # address and key in one; only its owner may read it
FORGET = "none"  # as in `--server none`


def use(lesson: Path, server: str | None) -> None:
    """Let the lesson ask the server that was named, or the one that was kept in its folder.

    An address in OLLAMA_HOST counts more than the one that was kept.
    """
    if server == FORGET:
        (lesson / FILE).unlink(missing_ok=True)
    elif server:
        os.environ["OLLAMA_HOST"] = parse_host(server)
    else:
        use_kept(lesson)


def use_kept(lesson: Path) -> None:
    """Use the server that was kept, if it answers; say so if it does not, and go on without."""
    if os.environ.get("OLLAMA_HOST", "").strip() or not (address := kept(lesson)):
        return
    clean = keys.take_out(address)
    try:
        find.who_answers(clean, timeout=3)
    except ServerNotFound as error:
        if error.status != 401:  # it is off, or far away: today is not a class
            print(
                f"Class:  {error.what} {error.why}. Going on without it; ", end="", file=sys.stderr
            )
            print("`uv run llamalab --server none` forgets it.", file=sys.stderr, flush=True)
            return
        # It is here and refuses the key: what asks it next says so, and does not go elsewhere.
    os.environ["OLLAMA_HOST"] = clean


def kept(lesson: Path) -> str:
    """The address in a lesson's folder, with its key; "" for none."""
    try:
        address = (lesson / FILE).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return address if address.isprintable() else ""


def keep(lesson: Path, server: str | None) -> None:
    """Keep the address of a server that has answered, with its key, for its owner's eyes only."""
    if not server or server == FORGET:
        return
    address = parse_host(server)
    try:
        keys.write_private(lesson / FILE, address + "\n")
    except OSError as error:
        what = f"The address of the class's server cannot be kept in {lesson}."
        raise LlamalabError(what, str(error), "name another folder: llamalab lab FOLDER") from None
    print(f"Class:  {without_password(address)} is kept for next time (--server none forgets it)")
