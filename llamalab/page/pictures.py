"""matplotlib in a page: 15 MB, which are loaded only before a cell that draws with them."""

import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

DRAWS = re.compile(r"\b(?:waterfall|time_bars|matplotlib)\b")  # what a cell with a picture names


class Kernel(Protocol):
    """JupyterLite's kernel, as far as it is changed here."""

    run: Callable[[str], Awaitable[Any]]


def load_when_drawn(kernel: Kernel, load: Callable[[str], Awaitable[Any]]) -> None:
    """Let the kernel load matplotlib before it runs a cell that draws; `load` is Pyodide's.

    Where the site has none, or it cannot be fetched, the cell runs without: views show tables.
    """
    run = kernel.run

    async def load_and_run(code: str) -> Any:
        if DRAWS.search(code):
            with contextlib.suppress(Exception):
                await load("matplotlib")
        return await run(code)

    kernel.run = load_and_run
