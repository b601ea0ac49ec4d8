"""Running JupyterLab on the lesson, with a model server, until Ctrl-C.

JupyterLab runs as a child process that listens on this machine only. Its settings come from
`llamalab/lesson/settings/`, laid over the student's own for this one run: nothing of theirs is
changed.
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import requests
import zmq

from llamalab import find
from llamalab.errors import LlamalabError
from llamalab.lesson import class_server, hub
from llamalab.lesson.copying import FIRST_PAGE, lesson_folder, update_lesson
from llamalab.lesson.progress import about, next_chapter
from llamalab.standin import fetch_model
from llamalab.standin.run import PortTaken, listen

SETTINGS = Path(__file__).parent / "settings"


def open_lab(
    folder: str | None = None,
    port: int | None = None,
    browser: bool = True,
    server: str | None = None,
) -> int:
    """Open the lesson in JupyterLab and stay until Ctrl-C; returns the exit code.

    `folder` receives a copy of the lesson, or has it already; `None` is the usual place. `server`
    is the address of a class's server; it is kept in the folder, see `class_server`.
    Raises `LlamalabError` where the folder, the port or the server cannot be had.
    """
    if hub.is_here():
        return hub.open_there(folder)
    end_like_ctrl_c()
    try:
        if port:
            need_free(port)
        lesson = lesson_folder(folder)
        class_server.use(lesson, server)
        with a_server() as address:
            class_server.keep(lesson, server)
            print(f"Lesson: {lesson} ({about(lesson)})", flush=True)
            update_lesson(lesson)
            if not os.access(lesson, os.W_OK):
                print(f"Note:   nothing can be saved in {lesson}; a copy: llamalab lab FOLDER")
            if is_root():
                print("Root:   JupyterLab refuses to run as root, so it gets --allow-root.")
            with JupyterLab(lesson, address, port) as lab:
                show(lab.url, browser)
                code = lab.wait(meanwhile=go_on_alone)
    except KeyboardInterrupt:
        code = 0
        print()  # the terminal has shown ^C
    print("Stopped.", flush=True)
    return code


def end_like_ctrl_c() -> None:
    """Being told to end (a closed terminal, `kill`, a container's stop) is a Ctrl-C as well."""
    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)


def need_free(port: int, command: str = "lab") -> None:
    """Raise, in a sentence, where another program has the port that was asked for."""
    try:
        listen(port).close()
    except (PortTaken, OSError):
        raise LlamalabError(
            f"JupyterLab cannot have port {port}.",
            why="another program has it, or this system keeps it for itself",
            do=f"llamalab {command}   (finds a free port)",
        ) from None


@contextlib.contextmanager
def a_server() -> Iterator[str]:
    """A model server's address for the time of the lesson; ours where there is no other.

    Ours goes to Ollama's own port if that is free: what the student starts in a terminal, or a
    second `llamalab`, finds it there.
    """
    try:
        yield find.server(prepare=fetch_model.fetch_or_go_on)
    finally:
        find.stop()


def go_on_alone() -> None:
    """The other `llamalab`, whose server this one shares, has ended: this one has its own now."""
    if find.take_over():
        print(
            f"Server: {find.address()} (the other llamalab has ended; now this one's)", flush=True
        )


# --- JupyterLab -----------------------------------------------------------------------------


class JupyterLab:
    """JupyterLab as a child process, from `with` to the end of it.

    `.url` is the address to open, the key (token) to it included. `options` and `variables` come
    on top of the command line and the environment that a student's JupyterLab has.
    """

    def __init__(
        self,
        lesson: Path,
        server: str,
        port: int | None,
        options: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ):
        self._runtime = tempfile.TemporaryDirectory(prefix="llamalab-", ignore_cleanup_errors=True)
        self._child = subprocess.Popen(
            [*arguments(lesson, port), *options],
            env=environment(lesson, server, self._runtime.name, variables),
            cwd=self._runtime.name,  # where no json.py of a student's is taken for Python's own
            stdin=subprocess.DEVNULL,  # it never asks "Shut down this server (y/n)?"
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            **own_process_group(),
        )
        self._root = self._token = self.url = ""
        self._stopping = False
        self._errors = threading.Thread(target=self._pass_on_errors, daemon=True)
        self._errors.start()

    def __enter__(self) -> "JupyterLab":
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def address(self, path: str) -> str:
        """The address of another page of it, such as "lab/tree/01-raw-bytes.ipynb"."""
        return f"{self._root}{path}?token={self._token}"

    def wait(self, meanwhile: Callable[[], None] = lambda: None) -> int:
        """Wait until JupyterLab ends by itself ("Shut Down" in its File menu)."""
        while self._child.poll() is None:
            meanwhile()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout=0.5)  # on Windows, Ctrl-C interrupts no longer wait
        return self._child.returncode

    def stop(self) -> None:
        """End JupyterLab and its kernels: ask first, then insist."""
        self._stopping = True
        try:
            if self._child.poll() is None:
                self._ask_to_stop()
                self._child.wait(timeout=10)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            pass
        finally:
            if self._child.poll() is None:
                self._child.kill()
                self._child.wait()
            self._errors.join(timeout=1)
            self._runtime.cleanup()

    def _pass_on_errors(self) -> None:
        """What JupyterLab complains of is shown, but not the dying words of a kernel we end."""
        with self._child.stderr as errors:
            for line in errors:
                if not self._stopping:
                    print(line, end="", file=sys.stderr, flush=True)

    def _ask_to_stop(self) -> None:
        if self._root:  # the polite way, the same on every system: the kernels end first
            key = {"Authorization": f"token {self._token}"}
            with contextlib.suppress(requests.RequestException):
                if requests.post(self._root + "api/shutdown", headers=key, timeout=5).ok:
                    return
        self._child.terminate()

    def _wait_until_ready(self) -> None:
        """JupyterLab writes down where it listens, and with which token, as soon as it does."""
        while not self.url:
            if self._child.poll() is not None:
                self._errors.join(timeout=1)  # its words come before ours
                raise LlamalabError(
                    f"JupyterLab did not start (exit code {self._child.returncode}).",
                    why="see its own words above",
                    do="jupyter lab --debug   (says more)",
                )
            for note in Path(self._runtime.name).glob("jpserver-*.json"):
                with contextlib.suppress(ValueError):  # not wholly written yet
                    found = json.loads(note.read_text(encoding="utf-8"))
                    self._root, self._token = found["url"], found["token"]
                    self.url = self.address("")
            time.sleep(0.05)


def arguments(lesson: Path, port: int | None) -> list[str]:
    """JupyterLab's command line, which overrides the student's own configuration."""
    chapter = next_chapter(lesson)
    page = chapter.file if chapter else FIRST_PAGE
    args = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser"),
        f"--ServerApp.root_dir={lesson}",
        # Our own workspace: no tabs of other work appear, and none is lost there.
        f"--LabApp.default_url=/lab/workspaces/llamalab/tree/{page}",
        "--ServerApp.ip=127.0.0.1",
        *("--log-level=ERROR", "--LabApp.log_level=ERROR"),
    ]
    if port:
        args += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if zmq.has("curve"):  # else each kernel warns in the terminal that it talks in the clear
        args.append("--KernelManager.transport_encryption=auto")
    if is_root():
        args.append("--allow-root")
    if shell := os.environ.get("SHELL"):  # not a login shell, which would forget our PATH
        args.append(f"--ServerApp.terminado_settings={{'shell_command': [{shell!r}]}}")
    return args


def environment(
    lesson: Path, server: str, runtime: str, variables: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What JupyterLab, its kernels and its terminals get to know: our server, settings, Python."""
    known = os.environ | dict(variables or {})
    settings = [str(SETTINGS), known.get("JUPYTER_CONFIG_PATH", "")]
    path = [str(Path(sys.executable).parent), known.get("PATH", "")]
    return known | {
        "OLLAMA_HOST": server,
        "LLAMALAB_LESSON": str(lesson),
        "PATH": os.pathsep.join(filter(None, path)),
        "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, settings)),
        "JUPYTER_RUNTIME_DIR": runtime,
        "JUPYTER_TOKEN": secrets.token_hex(24),  # it would print its own, over our lines
        "JUPYTER_PREFER_ENV_PATH": "1",  # its kernel is the one that can import llamalab
    }


def own_process_group() -> dict:
    """A Ctrl-C in the terminal reaches us alone; we end JupyterLab in good order."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def is_root() -> bool:
    """Whether this is the administrator, as in many containers."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def show(page: str, browser: bool) -> None:
    """Open the page, and say where it is in any case: a tab is soon closed by mistake."""
    opened = browser and open_page(page)
    print(f"Page:   {page}" + ("" if opened else "   <- open this in a browser"))
    print("Stop:   Ctrl-C", flush=True)


def open_page(url: str, new_window: bool = False) -> bool:
    """Open a page in the user's browser; False where there is none."""
    on_a_screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform == "linux" and not (on_a_screen or os.environ.get("BROWSER")):
        return False  # a browser found here would be one for text, in this very terminal
    return webbrowser.open_new(url) if new_window else webbrowser.open(url)
