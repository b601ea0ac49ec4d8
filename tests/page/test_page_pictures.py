"""matplotlib is loaded before a cell that draws, and not before any other."""

import asyncio

import pytest

from llamalab.page.pictures import load_when_drawn


class Kernel:
    """Notes what it runs, and what is loaded before."""

    def __init__(self):
        self.seen: list[str] = []

    async def run(self, code: str) -> str:
        self.seen.append(f"run {code}")
        return "ok"

    async def load(self, name: str) -> None:
        self.seen.append(f"load {name}")


def test_a_cell_without_a_picture_loads_nothing():
    kernel = Kernel()
    load_when_drawn(kernel, kernel.load)
    assert asyncio.run(kernel.run("llamalab.inspector(body)")) == "ok"
    assert kernel.seen == ["run llamalab.inspector(body)"]


@pytest.mark.parametrize("code", ["llamalab.waterfall(body)", "time_bars(a, b)"])
def test_a_cell_with_a_picture_waits_for_it(code):
    kernel = Kernel()
    load_when_drawn(kernel, kernel.load)
    assert asyncio.run(kernel.run(code)) == "ok"
    assert kernel.seen == ["load matplotlib", f"run {code}"]


def test_a_site_without_matplotlib_runs_the_cell_all_the_same():
    async def load(name: str) -> None:
        raise ValueError(f"No known package with name '{name}'")

    kernel = Kernel()
    load_when_drawn(kernel, load)
    assert asyncio.run(kernel.run("waterfall(body)")) == "ok"
