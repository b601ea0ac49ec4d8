"""What every test can count on: one built-in server without pauses, its model, no proxies.

pytest's own process starts the server once; its workers and the notebooks' kernels inherit
OLLAMA_HOST and so find the same one.
"""

import importlib.util
import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path

import hypothesis
import pytest

collect_ignore_glob = ["*conftest.py"]  # for doctests: there are several modules of that name

ROOT = Path(__file__).parent.parent
LONGEST = ("tests/browser/", "notebooks/")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

# An example may take as long as it takes: the machine may have other things to do.
hypothesis.settings.register_profile(
    "patient",
    hypothesis.settings.default,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("patient")


@pytest.hookimpl(tryfirst=True)  # before xdist starts its workers
def pytest_sessionstart(session):
    if hasattr(session.config, "workerinput"):
        return
    # A shell that runs the tests in the background has them ignore Ctrl-C, and all they start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    keep_bytecode(session.config)
    from llamalab.standin.answers.local_model import local_model
    from llamalab.standin.run import BuiltinServer

    for name in PROXIES:
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)
    os.environ.pop("LLAMALAB_MODEL", None)  # a developer's own would say other things
    fetch_model()
    server = BuiltinServer.start(speed=0, engine=local_model())
    os.environ["OLLAMA_HOST"] = server.url
    session.config.add_cleanup(server.stop)


def keep_bytecode(config: pytest.Config) -> None:
    """Let modules be compiled once, also where Python may leave nothing beside their sources.

    The tests start some hundred programs: each would compile requests, a kernel or JupyterLab.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        config.add_cleanup(folder.cleanup)
        os.environ.setdefault("PYTHONPYCACHEPREFIX", folder.name)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker more than there are cores: half of the time, a test waits for something."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items):
    """The longest files first, so that no worker is alone with one at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))  # the rest keeps its order
    skip_live_chapters(items)


def skip_live_chapters(items) -> None:
    """Without the model, the chapters that ask it are skipped; in CI they fail."""
    reason = os.environ.get("LLAMALAB_NO_MODEL")
    if reason and not os.environ.get("CI"):
        chapters = {item.path for item in items if item.path.suffix == ".ipynb"}
        live = {path for path in chapters if "nbval-ignore-output" in path.read_text("utf-8")}
        for item in items:
            if item.path in live:
                item.add_marker(pytest.mark.skip(reason=reason))


def fetch_model() -> None:
    """Fetch the model in the box, once for all workers; why not, if not, is in the environment."""
    from llamalab.errors import PullFailed
    from llamalab.standin.answers import builtin_model

    try:
        builtin_model.pull()
    except PullFailed as error:
        os.environ["LLAMALAB_NO_MODEL"] = f"needs the model: {error.why}. Do: {error.do}"
    if importlib.util.find_spec("xllamacpp") is None:
        os.environ["LLAMALAB_NO_MODEL"] = "needs xllamacpp, which has no wheel for this machine"


@pytest.fixture(scope="session")
def model_file() -> Path:
    """The model in the box; a test that needs it is skipped, and in CI fails, where it is not."""
    from llamalab.standin.answers import builtin_model

    if reason := os.environ.get("LLAMALAB_NO_MODEL"):
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return builtin_model.model_path()


@pytest.fixture(scope="session")
def need():
    """`need("chromium", "google-chrome", do="...")`: the first of these programs that is here.

    A test without its program is skipped on somebody's laptop, and fails in CI, where nobody
    would see that it never ran.
    """

    def first_of(*programs: str, do: str) -> str:
        for program in programs:
            if found := shutil.which(program):
                return found
        reason = f"needs {' or '.join(programs)}: {do}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)

    return first_of


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """The folder for what a person wants to look at after the tests; git ignores it."""
    folder = ROOT / "artefacts"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def no_keys_left(monkeypatch):
    """A key in a test's address is forgotten at the test's end: its host is everybody's."""
    from llamalab import keys

    monkeypatch.setenv("NETRC", "")  # notes what was there, be it nothing
    monkeypatch.delenv("NETRC")
    monkeypatch.setattr(keys, "_file", None)
    monkeypatch.setattr(keys, "_entries", {})


@pytest.fixture
def unused_address():
    """An address of this machine where nothing listens, kept free until the test's end."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
