"""The preflight: is everything there that the lesson needs? For notebooks and for `cli`.

    llamalab.doctor()          a table in a notebook, lines in a terminal
    llamalab doctor            the same; its exit code is 1 where a line FAILs

FAIL is for what stops the lesson; a note is for what only limits it. Each check is one small
function in `packages`, `machine` or `network`; `checks` lists and does them, `report` shows what
they found. They fetch, write and mend nothing, and nothing is loaded before it is needed: what
they look for may be missing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llamalab.checkup.report import Report


def doctor() -> "Report":
    """Look at everything the lesson needs, in about a second.

    `.ok` says whether the lesson can begin; `.lines` has each line's `name`, `state` ("OK",
    "note" or "FAIL"), `found` and `do`.
    """
    from llamalab.checkup.checks import checkup

    return checkup()
