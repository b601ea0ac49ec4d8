"""Opening the lesson: a copy of it for the student, a server, JupyterLab. Only `cli` enters.

JupyterLab runs as a child process that listens on this machine only. Its settings come from
`llamalab/jupyter/`, laid over the student's own for this one run: nothing of theirs is changed.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import requests
import zmq

from llamalab import find, model
from llamalab.errors import LlamalabError
from llamalab.standin.run import PortTaken, listen

HERE = Path(__file__).parent
PACKAGED = HERE / "lesson"  # the notebooks in an installed package
CHECKOUT = HERE.parent / "notebooks"  # the notebooks in a checkout
DEFAULT_FOLDER = "llama-lesson"
FIRST_PAGE = "00-start-here.ipynb"
CURE = "name another folder: llamalab lab FOLDER"
MANIFEST = ".llamalab.json"  # in the student's folder: what was copied, as fingerprints
PART = ".llamalab-part-"  # in front of the name of what is being written there


def open_lab(folder: str | None = None, port: int | None = None, browser: bool = True) -> int:
    """Open the lesson in JupyterLab and stay until Ctrl-C; returns the exit code.

    `folder` receives a copy of the lesson (a checkout opens its own `notebooks/` without one).
    Raises `LlamalabError` where the folder, the port or the server cannot be had.
    """
    end_like_ctrl_c()
    try:
        if port:
            need_free(port)
        lesson = lesson_folder(folder)
        with a_server() as address:
            print(f"Lesson: {lesson}", flush=True)
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


def need_free(port: int) -> None:
    """Raise, in a sentence, where another program has the port that was asked for."""
    try:
        listen(port).close()
    except (PortTaken, OSError):
        raise LlamalabError(
            f"JupyterLab cannot have port {port}.",
            why="another program has it, or this system keeps it for itself",
            do="llamalab lab   (finds a free port)",
        ) from None


@contextlib.contextmanager
def a_server() -> Iterator[str]:
    """A model server's address for the time of the lesson; ours where there is no other.

    Ours goes to Ollama's own port if that is free: what the student starts in a terminal, or a
    second `llamalab`, finds it there.
    """
    try:
        yield find.server(port=urlsplit(find.DEFAULT).port, prepare=model.fetch_or_go_on)
    finally:
        find.stop()


def go_on_alone() -> None:
    """The other `llamalab`, whose server this one shares, has ended: this one has its own now."""
    if find.take_over():
        print(f"Server: {find.DEFAULT} (the other llamalab has ended; now this one's)", flush=True)


# --- JupyterLab -----------------------------------------------------------------------------


class JupyterLab:
    """JupyterLab as a child process, from `with` to the end of it.

    `.url` is the address to open, the key (token) to it included.
    """

    def __init__(self, lesson: Path, server: str, port: int | None):
        self._runtime = tempfile.TemporaryDirectory(prefix="llamalab-", ignore_cleanup_errors=True)
        self._child = subprocess.Popen(
            arguments(lesson, port),
            env=environment(server, self._runtime.name),
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
                    self.url = f"{self._root}?token={self._token}"
            time.sleep(0.05)


def arguments(lesson: Path, port: int | None) -> list[str]:
    """JupyterLab's command line, which has the last word over the student's own configuration."""
    args = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser"),
        f"--ServerApp.root_dir={lesson}",
        # A workspace of our own: no tabs of other work appear, and none is lost there.
        f"--LabApp.default_url=/lab/workspaces/llamalab/tree/{FIRST_PAGE}",
        "--ServerApp.ip=127.0.0.1",
        *("--log-level=ERROR", "--LabApp.log_level=ERROR"),
    ]
    if port:
        args += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if zmq.has("curve"):  # else each kernel warns in the terminal that it talks in the clear
        args.append("--KernelManager.transport_encryption=auto")
    if is_root():
        args.append("--allow-root")
    return args


def environment(server: str, runtime: str) -> dict[str, str]:
    """What JupyterLab and its kernels get to know: our server, our settings, this Python."""
    settings = [str(HERE / "jupyter"), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    return os.environ | {
        "OLLAMA_HOST": server,
        "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, settings)),
        "JUPYTER_RUNTIME_DIR": runtime,
        "JUPYTER_TOKEN": secrets.token_hex(24),  # one of its own it would print, over our lines
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


def open_page(url: str) -> bool:
    """Open a page in the student's browser; False where there is none."""
    on_a_screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform == "linux" and not (on_a_screen or os.environ.get("BROWSER")):
        return False  # a browser found here would be one for text, in this very terminal
    return webbrowser.open(url)


# --- The lesson's files ---------------------------------------------------------------------


def lesson_folder(folder: str | None = None) -> Path:
    """The folder to open: a checkout's own notebooks, or the student's, made if need be."""
    if folder is None and lesson_source() == CHECKOUT:
        return CHECKOUT
    with sentences(f"The lesson cannot be kept in {folder or DEFAULT_FOLDER}."):
        target = Path(folder or DEFAULT_FOLDER).expanduser().resolve()
        if lesson_source().resolve() in target.parents:
            raise OSError(
                errno.EINVAL, "the lesson itself is there, and would be copied into itself"
            )
        target.mkdir(parents=True, exist_ok=True)
    return target


def lesson_source() -> Path:
    """Where the lesson comes from: the installed package, or the checkout."""
    return PACKAGED if PACKAGED.is_dir() else CHECKOUT


def update_lesson(lesson: Path) -> None:
    """Bring the lesson into the student's folder; say once what could not take its own place."""
    if lesson == lesson_source().resolve():
        return
    with sentences(f"The lesson cannot be copied to {lesson}."):
        beside = copy_lesson(lesson_source(), lesson)
    if beside:
        print(f"Newer:  {', '.join(beside)} (put beside yours; nothing of yours is changed)")


@contextlib.contextmanager
def sentences(what: str) -> Iterator[None]:
    """Whatever a disk has against a folder, in words."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: ~nobody, a link to itself
        why = getattr(error, "strerror", None) or str(error)
        where = getattr(error, "filename", None)
        full = getattr(error, "errno", None) == errno.ENOSPC
        if where and not full and PART not in str(where):  # of a full disk, it names the source
            why += f": {where}"
        raise LlamalabError(what, why, "make room there" if full else CURE) from None


def copy_lesson(source: Path, target: Path) -> list[str]:
    """Copy what is new in the lesson; return what is new beside a file of the student's.

    The manifest tells whose a file is: one that is still what was copied once is an older lesson
    and makes way; any other is the student's, and the newer one gets the next free name.
    """
    target.mkdir(parents=True, exist_ok=True)
    known = read_manifest(target / MANIFEST)
    copied, beside = dict(known), []
    names = lesson_files(source)
    sweep({(target / name).parent for name in names})
    for name in names:
        new = fingerprint(source / name)
        if is_students(target / name, copied.get(name), new):
            if copied.get(name) == new:
                continue  # what the student has changed is the newest there is
            place = place_beside(target, name, copied, new)
            if copied.get(place) == new:
                continue  # it has come before; now it is the student's, or was thrown away
            beside.append(place)
        else:
            place = name
        if content_of(target / place) != new:
            put(source / name, target / place)
        copied[place] = new
    if copied != known:
        with replacing(target / MANIFEST) as part:
            part.write_text(json.dumps(copied, indent=1), encoding="utf-8")
    return beside


def is_students(file: Path, copied: str | None, new: str) -> bool:
    """Whether a file is there that is neither what was copied once nor what would be now."""
    return content_of(file) not in (None, copied, new)


def place_beside(target: Path, name: str, copied: dict[str, str], new: str) -> str:
    """The name for a newer file beside the student's: "01-raw-bytes-new.ipynb", "...-new-2"."""
    stem, dot, suffix = name.rpartition(".")
    for number in count(1):
        place = f"{stem}-new{f'-{number}' if number > 1 else ''}{dot}{suffix}"
        if copied.get(place) == new or not is_students(target / place, copied.get(place), new):
            return place


def content_of(file: Path) -> str | None:
    """A file's fingerprint; None where nothing has that name."""
    try:
        return fingerprint(file)
    except OSError:  # a folder, a link that leads nowhere, a file that is not for us: not ours
        return "not to be read" if os.path.lexists(file) else None


def read_manifest(manifest: Path) -> dict[str, str]:
    """What was copied: path within the lesson -> fingerprint; nothing where it cannot be read."""
    try:
        return dict(json.loads(manifest.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def lesson_files(source: Path) -> list[str]:
    """The lesson's files, as "images/lesson.png"; not what running it leaves behind."""
    files = (path.relative_to(source) for path in source.rglob("*") if path.is_file())
    return sorted(
        path.as_posix()
        for path in files
        if not any(part.startswith((".", "my_", "__pycache__")) for part in path.parts)
    )


def put(source: Path, target: Path) -> None:
    """Copy a file; whoever looks sees the old one or the new one, never half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part:
        shutil.copyfile(source, part)


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path to write to, which takes the target's place once all is written.

    Of one's own: another `llamalab` may be writing to the same folder.
    """
    part = target.with_name(f"{PART}{secrets.token_hex(8)}")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def sweep(folders: set[Path]) -> None:
    """Remove what a copy left behind that was killed: not what is being written just now."""
    for left in (left for folder in folders for left in folder.glob(f"{PART}*")):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 3600:
                left.unlink()


def fingerprint(path: Path) -> str:
    """The sha256 of what a person would call the file's content.

    For a notebook its cells, outputs included: JupyterLab writes the kernel's version into the
    rest as soon as one looks at a page.
    """
    content = path.read_bytes()
    if path.suffix == ".ipynb":
        with contextlib.suppress(ValueError, KeyError, TypeError):
            content = json.dumps(json.loads(content)["cells"], sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()
