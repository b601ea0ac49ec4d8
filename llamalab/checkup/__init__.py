"""The preflight: is everything there that the lesson needs?

    llamalab.doctor()          a table in a notebook, lines in a terminal
    llamalab doctor            the same; its exit code is 1 where a line FAILs

FAIL is for what stops the lesson; a note is for what only limits it. Each check is one small
function in `packages`, `machine` or `network`; `checks` lists and does them, `report` shows what
they found. They fetch, write and fix nothing, and nothing is loaded before it is needed: what
they look for may be missing.
"""
