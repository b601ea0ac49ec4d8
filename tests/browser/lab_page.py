"""What a person does on a Jupyter page: open a notebook, run it, look. For the browser's tests."""

from pathlib import Path
from urllib.parse import quote, urlsplit

import nbformat
from playwright.sync_api import Browser, Page

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (  # no sandbox inside a container; nothing that looks for the network
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
MINUTE = 60_000  # ms; how long to wait for what takes a second on a machine with nothing else to do

# What only the page's own model knows, asked of the page (JupyterLab's and Notebook 7's).
CONNECTED = """path => {
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.context?.path === path
        && panel.sessionContext.session?.kernel?.connectionStatus === 'connected';
}"""
NOTEBOOK = "() => window.jupyterapp.shell.currentWidget.context.model.toJSON()"
ALL_RUN = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    const code = panel.context.model.toJSON().cells.filter(cell => cell.cell_type === 'code');
    return code.every(cell => cell.execution_count !== null)
        && panel.sessionContext.session.kernel.status === 'idle';
}"""
SCROLLED = """element => {  // until it stays there: cells get their height once they are in view
    element.scrollIntoView({block: 'end'});
    const top = element.getBoundingClientRect().top;
    window.framesStill = top === window.lastTop ? window.framesStill + 1 : 0;
    window.lastTop = top;
    return window.framesStill > 30;
}"""
LAID_OUT = "() => document.querySelector('#jp-top-panel').offsetWidth === innerWidth"
THEME = "name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})"


def new_page(browser: Browser, address: str) -> Page:
    """An empty page, as wide as a laptop's, that may open what the server at `address` has."""
    server = urlsplit(address)
    size = {"width": 1280, "height": 800}
    page = browser.new_page(viewport=size, base_url=f"{server.scheme}://{server.netloc}")
    page.set_default_timeout(MINUTE)
    page.request.get(address, timeout=MINUTE)  # the token in it becomes a cookie
    return page


def open_notebook(page: Page, path: str, app: str = "lab/tree") -> None:
    """Open a notebook of the served folder, and wait for its kernel.

    `app` is "lab/tree" for JupyterLab, "notebooks" for Jupyter Notebook 7: one server has both.
    """
    page.goto(f"/{app}/{quote(path)}")
    page.wait_for_function(CONNECTED, arg=path)


def run_all(page: Page) -> None:
    """Run all cells, those after an error as well as far as Jupyter does; wait for the last."""
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_function(ALL_RUN)


def cells(page: Page) -> list[dict]:
    """The open notebook's cells, with their outputs, as they would be saved."""
    return page.evaluate(NOTEBOOK)["cells"]


def from_menu(page: Page, menu: str, entry: str) -> None:
    """Choose an entry of a menu with the mouse."""
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.get_by_role("menuitem", name=entry, exact=True).click()
    page.mouse.move(0, 0)  # nothing under the pointer lights up in a picture


def resize(page: Page, width: int, height: int) -> None:
    """Give the window this size, and wait until JupyterLab has laid its page out in it."""
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_function(LAID_OUT)


def use_theme(page: Page, dark: bool) -> None:
    """JupyterLab's own dark or light theme."""
    page.evaluate(THEME, f"JupyterLab {'Dark' if dark else 'Light'}")
    page.locator(f'body[data-jp-theme-light="{"false" if dark else "true"}"]').wait_for(
        state="attached"
    )


def write_notebook(file: Path, *sources: str) -> None:
    """A notebook of these code cells."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in sources],
        metadata={"kernelspec": {"display_name": "Python 3", "name": "python3"}},
    )
    nbformat.write(notebook, file)
