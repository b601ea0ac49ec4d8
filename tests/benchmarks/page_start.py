"""How long a student waits for the first cell of a page: an empty cache, five times.

    uv run python tests/benchmarks/page_start.py [FOLDER WITH A SITE]

Each time, a new Chromium opens chapter 01 from a plain server on this machine, runs the first
code cell as soon as its page takes keys, and waits for the cell's end. Target: the median of
the five is at most 8 s on two cores with nothing else to do. Without a folder, the site is built
first.
"""

import functools
import http.server
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROUNDS = 5
TARGET = 8.0  # seconds
CHAPTER = "01-raw-bytes.ipynb"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
OPENED = f"""() => {{
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.context?.path === '{CHAPTER}' && panel.context.isReady;
}}"""
RUN = """() => {
    const { content } = window.jupyterapp.shell.currentWidget;
    content.activeCellIndex = content.widgets.findIndex(cell => cell.model.type === 'code');
    window.jupyterapp.commands.execute('notebook:run-cell');
}"""
ENDED = """() => window.jupyterapp.shell.currentWidget.content.widgets
    .find(cell => cell.model.type === 'code').model.executionCount !== null"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A plain web server."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass


def once(chromium: Browser, address: str) -> tuple[float, float]:
    """Seconds until the notebook is there, and until its first cell has run."""
    page = chromium.new_page(viewport={"width": 1366, "height": 768})
    page.set_default_timeout(120_000)
    start = time.perf_counter()
    page.goto(f"{address}/lab/index.html?path={CHAPTER}", wait_until="commit")
    page.wait_for_function(OPENED)
    opened = time.perf_counter() - start
    page.evaluate(RUN)
    page.wait_for_function(ENDED)
    return opened, time.perf_counter() - start


def measure(site: Path) -> float:
    """Five starts, and their median."""
    program = next(filter(None, map(shutil.which, CHROMIUM)))
    handler = functools.partial(Quiet, directory=site)
    taken = []
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        sync_playwright() as playwright,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        for _ in range(ROUNDS):
            chromium = playwright.chromium.launch(executable_path=program, args=FLAGS)
            opened, ran = once(chromium, address)
            chromium.close()
            taken.append(ran)
            load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
            print(f"notebook {opened:5.1f} s   first cell {ran:5.1f} s   {load}")
        server.shutdown()
    return statistics.median(taken)


def main() -> int:
    with tempfile.TemporaryDirectory() as made:
        site = Path(*sys.argv[1:2]) if sys.argv[1:] else Path(made) / "site"
        if not sys.argv[1:]:
            subprocess.run([sys.executable, "-m", "llamalab.site", str(site)], check=True)
        median = measure(site)
    print(f"median {median:.1f} s (target: at most {TARGET:.0f} s with two idle cores)")
    return median > TARGET


if __name__ == "__main__":
    sys.exit(main())
