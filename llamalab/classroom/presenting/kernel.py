"""What is different in the kernel of a presented chapter: no endless waiting, and a spare server.

`llamalab present` has each Python that its JupyterLab starts call `prepare`, so it is true for
the scripts that a cell runs (`!python ask_1.py`) as well. The cells stay as they are.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import requests
from urllib3.exceptions import ReadTimeoutError

from llamalab.address import without_password
from llamalab.errors import ServerNotFound
from llamalab.find import who_answers

PATIENCE = 30.0  # seconds without a byte: a large model may need most of them to load
# What `llamalab present` tells its kernels: where the servers are, and which one is in use.
LIVE, RECORDINGS = "LLAMALAB_LIVE", "LLAMALAB_RECORDINGS"
SWITCH = "LLAMALAB_SWITCH"  # a file that is there while the recordings are in use
LIMIT = "LLAMALAB_PATIENCE"  # seconds, instead of PATIENCE


class NoAnswer(requests.exceptions.ReadTimeout):
    """Nothing arrived for a long time. A notebook shows one sentence, not sixty lines."""

    def _render_traceback_(self) -> list[str]:
        return [f"NoAnswer: {self}"]


class Stopped(KeyboardInterrupt):
    """Someone stopped the cell while it waited for a server. Shown at once, in one sentence."""

    def _render_traceback_(self) -> list[str]:
        return [f"KeyboardInterrupt: {self}"]


def prepare() -> None:
    """Limit the waiting of `requests`, and start with the recordings where they are in use."""
    limit_waiting(float(os.environ.get(LIMIT) or PATIENCE))
    if os.environ.get("OLLAMA_HOST") == os.environ.get(LIVE) and in_use():
        os.environ["OLLAMA_HOST"] = os.environ[RECORDINGS]


def in_use() -> bool:
    """Whether the recordings are in use: a kernel that starts later uses them, too."""
    return bool(os.environ.get(SWITCH)) and Path(os.environ[SWITCH]).exists()


def use(server: str, names: dict) -> None:
    """Ask another server from now on: LIVE or RECORDINGS.

    `names` are the notebook's variables: an address in one of them (`SERVER`, `url`) changes, too.
    Raises `requests.ConnectionError` where LIVE does not answer: then nothing changes.
    """
    if server == LIVE:
        need_answer(os.environ[LIVE])
    other = LIVE if server == RECORDINGS else RECORDINGS
    old, new = os.environ[other], os.environ[server]
    with contextlib.suppress(OSError):  # even where the disk is full
        if server == RECORDINGS:
            Path(os.environ[SWITCH]).touch()
        else:
            Path(os.environ[SWITCH]).unlink(missing_ok=True)
    os.environ["OLLAMA_HOST"] = new
    for name, value in list(names.items()):
        if isinstance(value, str) and f"{value}/".startswith(f"{old}/"):
            names[name] = new + value[len(old) :]


def need_answer(address: str) -> None:
    """Raise `requests.ConnectionError` where no model server answers within two seconds."""
    try:
        who_answers(address, timeout=2.0)
    except ServerNotFound:
        said = f"{server_of(address)} does not answer, so the recordings stay in use"
        raise requests.ConnectionError(said) from None


def limit_waiting(seconds: float) -> None:
    """A request without `timeout` raises `NoAnswer` after `seconds` without a byte.

    Without this, `requests.post(url, json=...)` waits for ever on a server that stays silent.
    """
    send = requests.Session.send

    def send_with_limit(session, request, **options):
        if options.get("timeout") is not None:
            with stoppable(request.url):
                return send(session, request, **options)
        with in_a_sentence(request.url, seconds):
            response = send(session, request, **options | {"timeout": seconds})
        read = response.iter_content

        def iter_content(*arguments, **named):
            return limited(read(*arguments, **named), request.url, seconds)

        response.iter_content = iter_content  # `iter_lines` reads from it, too
        return response

    requests.Session.send = send_with_limit


def limited(pieces: Iterator, url: str, seconds: float) -> Iterator:
    """The pieces of a body as they arrive."""
    with in_a_sentence(url, seconds):
        yield from pieces


@contextlib.contextmanager
def stoppable(url: str) -> Iterator[None]:
    """Turn an interrupt into `Stopped`."""
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(f"stopped while waiting for {server_of(url)}.") from None


@contextlib.contextmanager
def in_a_sentence(url: str, seconds: float) -> Iterator[None]:
    """Turn the errors of too long a wait into `NoAnswer`, and an interrupt into `Stopped`."""
    try:
        with stoppable(url):
            yield
    except (requests.Timeout, requests.ConnectionError) as error:
        stalled = error.args and isinstance(error.args[0], ReadTimeoutError)
        if not (stalled or isinstance(error, requests.Timeout)) or isinstance(error, NoAnswer):
            raise
        said = f"Nothing arrived from {server_of(url)} for {seconds:g} seconds"
        raise NoAnswer(f"{said}, so this cell stopped waiting.", request=error.request) from None


def server_of(url: str) -> str:
    """The server in a URL, without a key.

    >>> server_of("http://ada:KEY@192.0.2.7:8080/api/generate")
    'http://192.0.2.7:8080'
    """
    return without_password("/".join(url.split("/")[:3]))
