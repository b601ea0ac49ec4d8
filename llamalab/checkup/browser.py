"""Checks of a web page that the lesson runs in, where there is neither a disk nor a network."""

from llamalab import find
from llamalab.checkup.report import Finding, note, ok


def files() -> Finding:
    if find.page().keeps_files():
        return ok("what you write and solve is kept in this browser, for this page only")
    said = "this browser keeps nothing of what your cells write (a private window?)"
    return note(said, "File, Download saves a notebook to your computer")


def server() -> Finding:
    address = find.server(quiet=True)
    who = find.who_answers(address)
    if who == find.BUILTIN and address == find.DEFAULT:  # else it is the class's
        return ok(f"{who} runs in this page; it plays recordings and has no model")
    return ok(f"{who} at {address}")
