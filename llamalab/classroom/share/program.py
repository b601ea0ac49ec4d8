"""The program nginx: found, tested, started in a class's folder, told to read the keys again."""

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

from llamalab.classroom.share.addresses import Place, need_free
from llamalab.errors import LlamalabError
from llamalab.lesson.jupyterlab import own_process_group

PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin", "/usr/local/bin")
INSTALL = (
    "Linux: sudo apt install nginx   (or dnf, pacman, apk); macOS: brew install nginx; "
    "Windows: winget install nginxinc.nginx"
)


def find() -> str:
    """Where nginx is; on Debian it is not on the PATH of an ordinary user."""
    for place in (None, *PLACES):
        if found := shutil.which("nginx", path=place):
            return found
    raise LlamalabError("nginx is not installed on this machine.", do=INSTALL)


def command(folder: Path, *words: str) -> list[str]:
    """nginx with the configuration of a folder; all its files are in there."""
    program = find()
    version = subprocess.run([program, "-v"], capture_output=True, text=True).stderr
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", version)
    # Without it, nginx opens the system's own error log first, and warns that it may not.
    log = ["-e", "error.log"] if found and tuple(map(int, found.groups())) >= (1, 19, 5) else []
    return [program, "-p", folder.resolve().as_posix() + "/", "-c", "nginx.conf", *log, *words]


def run(folder: Path, *words: str) -> str:
    """Let nginx do something and end; what it says. Raises `LlamalabError` where it fails."""
    done = subprocess.run(command(folder, *words), capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise LlamalabError(f"nginx cannot use {folder / 'nginx.conf'}.", last_words(done.stderr))
    return done.stderr


def test(folder: Path) -> str:
    """Let nginx look at its configuration; returns its words."""
    return run(folder, "-t")


def running(folder: Path) -> psutil.Process | None:
    """The nginx that runs with a folder's configuration."""
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        process = psutil.Process(int((folder / "nginx.pid").read_text()))
        if "nginx" in process.name():
            return process
    return None


def need_stopped(folder: Path) -> None:
    """Raise, in a sentence, where nginx runs already with a folder's configuration."""
    if process := running(folder):
        raise LlamalabError(
            f"nginx runs already with the configuration in {folder} (process {process.pid}).",
            do="stop it there with Ctrl-C; or, if its terminal is gone: "
            f"{find()} -p {folder} -c nginx.conf -s stop",
        )


def reload(folder: Path) -> bool:
    """Let a running nginx read the keys again, while answers go on; whether one runs.

    When this returns, the old keys are good for nothing but the answers that run already.
    """
    if not (master := running(folder)):
        return False
    old = master.children()
    run(folder, "-s", "reload")
    end = time.monotonic() + 5
    while any(map(takes_requests, old)) and time.monotonic() < end:
        time.sleep(0.02)
    return True


def takes_requests(worker: psutil.Process) -> bool:
    """Whether a worker is there and was not told to end after its last answer."""
    try:
        return "shutting down" not in " ".join(worker.cmdline())
    except psutil.Error:
        return False


class Nginx:
    """nginx as a child process with a folder's configuration, from `with` to the end of it."""

    def __init__(self, folder: Path, listen: Place):
        need_stopped(folder)
        test(folder)
        need_free(listen)
        self.folder, self._listen = folder, listen
        self._child = subprocess.Popen(
            command(folder, "-g", "daemon off;"),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            **own_process_group(),
        )

    def __enter__(self) -> "Nginx":
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    def wait(self, seconds: float) -> None:
        """Wait that long, or until nginx ends; on Windows, Ctrl-C interrupts no longer wait."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout=seconds)

    def stop(self) -> None:
        """End nginx and its worker: ask first, then insist."""
        try:
            if self.running:
                if sys.platform == "win32":  # there, its worker would go on
                    run(self.folder, "-s", "stop")
                else:
                    self._child.terminate()
                self._child.wait(timeout=10)
        except (subprocess.TimeoutExpired, KeyboardInterrupt, LlamalabError):
            pass
        finally:
            if self.running:
                self._child.kill()
                self._child.wait()
            self._child.stderr.close()

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if not self.running:
                raise LlamalabError("nginx did not start.", last_words(self._child.stderr.read()))
            with contextlib.suppress(OSError):
                socket.create_connection(self._listen, timeout=1).close()
                if running(self.folder):  # it has written its number down, too
                    return
            time.sleep(0.02)
        raise LlamalabError("nginx has started, but does not answer.", do="see its error.log")


def last_words(text: str) -> str:
    """The line in which nginx says what is wrong."""
    lines = [line for line in text.splitlines() if re.search(r"\[(emerg|alert|error)\]", line)]
    return re.sub(r"^nginx: ", "", lines[0]) if lines else text.strip()
