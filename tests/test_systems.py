"""Other systems, as far as this one can stand in: consoles, locales, folders, homes, Pythons.

A code page is `PYTHONIOENCODING`, a home nobody may write to is a mode, the branches for Windows
and macOS are run with `sys.platform` patched. The rest does `.github/workflows/ci.yml`.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import platformdirs.macos
import platformdirs.windows
import pytest
import requests
import yaml
from opening import opened
from patience import PATIENCE
from project import PROJECT
from tiny_server import chunk, head, tiny_server

from llamalab import find, recorder
from llamalab.lesson import copying, jupyterlab
from llamalab.standin import run as server_run
from llamalab.standin.answers import builtin_model

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SITE = Path(requests.__file__).parent.parent
GENERATE = ROOT / "notebooks" / "generate.py"
QUESTION, SENTENCE = "Are you listening?", "Yes, I am listening. How may I assist you today?"
LLAMALAB = (sys.executable, "-m", "llamalab")
ASK = (*LLAMALAB, "ask", QUESTION)
SCRIPT = (sys.executable, str(GENERATE), QUESTION)
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

on_posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such thing")


def started(*command: str, **how) -> subprocess.Popen:
    """A program whose words are read as bytes; a variable that is None is not there for it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | how.pop("env", {})
    environment = {name: value for name, value in environment.items() if value is not None}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, **(pipes | how))


def run(*command: str, **how) -> tuple[int, bytes, bytes]:
    """A program's exit code, and what it wrote."""
    process = started(*command, **how)
    said, complained = process.communicate(timeout=PATIENCE)
    return process.returncode, said, complained


# --- A separate environment --------------------------------------------------------------

SETTINGS = {
    "a Windows console": {"PYTHONIOENCODING": "cp1252"},
    "a console for ASCII": {"PYTHONIOENCODING": "ascii:strict"},
    "the C locale": C_LOCALE,
    "a dumb terminal": {"TERM": "dumb", "COLUMNS": "1"},
    "no HOME": {"HOME": None, "USERPROFILE": None},
    "a HOME that is not there": {"HOME": "/nonexistent/home", "XDG_CACHE_HOME": None},
    "a cache that cannot be": {"XDG_CACHE_HOME": os.devnull + "/cache"},
    "no PATH": {"PATH": ""},
    "a long PATH": {"PATH": os.pathsep.join(["/nowhere/bin"] * 8000)},
    "no TMPDIR": {"TMPDIR": "/nonexistent/tmp"},
    "python -OO": {"PYTHONOPTIMIZE": "2"},
    "python -B": {"PYTHONDONTWRITEBYTECODE": "1"},
    "python -P": {"PYTHONSAFEPATH": "1"},
    "every warning an error": {
        "PYTHONWARNINGS": "error",
        "PYTHONDEVMODE": "1",
        "PYTHONWARNDEFAULTENCODING": "1",
    },
}
USUAL = ("a Windows console", "the C locale", "no HOME", "no TMPDIR", "every warning an error")
if os.name == "nt":
    SETTINGS.pop("a long PATH")  # longer than a variable may be there


@pytest.mark.parametrize(
    "setting",
    [pytest.param(name, marks=[pytest.mark.long] * (name not in USUAL)) for name in SETTINGS],
)
def test_a_question_is_answered_with(setting):
    both = [started(*command, env=SETTINGS[setting]) for command in (ASK, SCRIPT)]
    for process in both:
        said, complained = process.communicate(timeout=PATIENCE)
        assert (process.returncode, said.split(), complained) == (0, SENTENCE.encode().split(), b"")


@pytest.mark.parametrize("setting", ["a Windows console", "a console for ASCII", "python -OO"])
def test_help_and_the_doctor_speak_with(setting):
    commands = (["--help"], ["doctor", "--all"])
    for process in [started(*LLAMALAB, *words, env=SETTINGS[setting]) for words in commands]:
        said, complained = process.communicate(timeout=PATIENCE)
        assert len(said.splitlines()) > 5
        assert b"Traceback" not in complained


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii:strict"])
def test_a_character_the_console_lacks_is_a_question_mark(encoding):
    text = "Olé \U0001f999 → дом"
    body = json.dumps({"response": text, "done": True}).encode() + b"\n"
    codec = encoding.partition(":")[0]
    with tiny_server(head() + chunk(body) + chunk(b"")) as url:
        settings = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "OLLAMA_HOST": url}
        for command in ((*ASK, "--server", url), SCRIPT):
            status, said, complained = run(*command, env=settings)
            assert (status, complained) == (0, b"")
            assert said.rstrip().decode(codec) == text.encode(codec, "replace").decode(codec)


@on_posix
@pytest.mark.parametrize("command", ["ask", "record"])
def test_a_question_is_posted_as_it_was_typed_in_the_c_locale_too(command, tmp_path):
    question, seen = "Où est l'été ? \U0001f999", []
    last = {"response": "Ici", "done": True, "created_at": "2026-01-01T00:00:00Z"}
    body = json.dumps(last).encode() + b"\n"
    with tiny_server(head() + chunk(body) + chunk(b""), seen) as url:
        words = (*LLAMALAB, command, question, "--server", url)
        assert run(*words, env=C_LOCALE, cwd=tmp_path)[::2] == (0, b"")
    asked = json.loads(seen[-1].partition(b"\r\n\r\n")[2])
    assert asked["prompt"] == question
    for file in tmp_path.glob("*.ndjson"):
        assert json.loads(file.read_text("utf-8").splitlines()[0])["json"]["prompt"] == question


@on_posix
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_closed_stream_is_no_trouble(closed):
    shell = ("sh", "-c", f'exec "$@" {closed}', "sh")
    status, said, complained = run(*shell, *ASK)
    assert (status, said) == (0, b"" if closed == ">&-" else SENTENCE.encode() + b"\n")
    assert b"Traceback" not in complained


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_an_answer_for_which_the_disk_has_no_room_ends_in_a_sentence():
    with open("/dev/full", "wb") as full:
        status, _, complained = run(*ASK, stdout=full)
    assert status == 1
    assert complained.decode().splitlines() == [
        f"llamalab cannot go on: [Errno {errno.ENOSPC}] {os.strerror(errno.ENOSPC)}"
    ]


# --- Folders --------------------------------------------------------------------------------


@pytest.fixture
def awkward(tmp_path) -> Path:
    """A folder named as people name them, with modules in it that a student has named so too."""
    folder = tmp_path / "- Anne's leçons d'été 100%25 #1 & \U0001f999"
    folder.mkdir()
    for name in ("json.py", "requests.py"):
        (folder / name).write_text("raise SystemExit('not the module you meant')")
    return folder


@pytest.fixture
def llamalab(tmp_path) -> tuple[str, str]:
    """The command as an installer makes it: the current folder is not on Python's path."""
    script = tmp_path / "llamalab-script.py"
    script.write_text("import sys; from llamalab.cli import main; sys.exit(main())")
    return sys.executable, str(script)


def test_a_recording_can_be_made_in_an_awkward_folder(awkward, llamalab):
    status, said, complained = run(*llamalab, "record", QUESTION, cwd=awkward)
    assert (status, complained) == (0, b"")
    name = said.decode().splitlines()[-1].removeprefix("Recorded: ")
    (awkward / "more").mkdir()
    assert run(*llamalab, "record", QUESTION, "--to", str(awkward / "more"))[0] == 0
    assert (awkward / "more" / name).read_bytes() == (awkward / name).read_bytes()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH came with Python 3.11")
def test_pip_is_itself_in_a_folder_with_other_modules(awkward, tmp_path, monkeypatch):
    monkeypatch.chdir(awkward)
    with builtin_model.running([sys.executable, "-m", "pip", "--version"], tmp_path) as pip:
        assert pip.stdout.read().startswith("pip ")


@pytest.fixture
def bound() -> tuple[str, ...]:
    """What to put before a command so that modes bind it, even where the administrator runs it."""
    if os.name != "posix":
        pytest.skip("Windows has other permissions")
    if os.geteuid() != 0:
        return ()
    without = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    if not shutil.which("setpriv") or run(*without, "true")[0] != 0:
        pytest.skip("modes do not bind the administrator, and setpriv cannot change that here")
    return without


@pytest.fixture
def read_only(tmp_path):
    """A folder that nobody may write to."""
    folder = tmp_path / "read only"
    folder.mkdir(mode=0o555)
    yield folder
    folder.chmod(0o755)


def test_the_lesson_opens_in_an_awkward_folder_from_a_home_nobody_may_write_to(
    awkward, llamalab, read_only, bound
):
    own = {"HOME": str(read_only), "PYTHONPATH": str(ROOT), "TMPDIR": "/nonexistent"}
    own |= dict.fromkeys(("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "XDG_CACHE_HOME"))
    lesson = awkward / "la leçon"
    with opened(lesson, *bound, *llamalab, cwd=awkward, **own) as opening:
        root, token = opening.page.split("?token=")
        session = requests.Session()
        session.trust_env = False
        session.headers["Authorization"] = f"token {token}"
        names = {item["name"] for item in session.get(f"{root}api/contents").json()["content"]}
        kernel = session.post(f"{root}api/kernels", json={"name": "python3"})
    assert copying.FIRST_PAGE in names
    assert kernel.status_code == 201
    assert list(read_only.iterdir()) == []


def test_where_nobody_may_write_a_recording_is_refused_in_a_sentence(read_only, bound):
    status, said, complained = run(*bound, *LLAMALAB, "record", QUESTION, cwd=read_only)
    assert (status, said) == (1, b"")
    assert complained.decode().splitlines()[1:] == [
        "  Why: Permission denied",
        "  Do:  name another file: --to FILE",
    ]


def test_where_nobody_may_write_the_model_s_absence_is_a_sentence(read_only, bound):
    cache = {"XDG_CACHE_HOME": str(read_only), "HOME": str(read_only)}
    status, _, complained = run(*bound, *LLAMALAB, "pull", env=cache)
    assert status == 1
    assert b"  Why: Permission denied" in complained
    assert b"Traceback" not in complained


COPY = (
    "import pathlib, sys; from llamalab.lesson import copying; "
    "copying.update_lesson(pathlib.Path(sys.argv[1]))"
)


def test_a_whole_lesson_in_a_folder_nobody_may_write_to_is_opened_as_it_is(tmp_path, bound):
    lesson = tmp_path / "lesson"
    copying.copy_lesson(copying.CHECKOUT, lesson)
    copy = (*bound, sys.executable, "-c", COPY, str(lesson))
    lesson.chmod(0o555)
    try:
        assert run(*copy) == (0, b"", b"")
        lesson.chmod(0o755)
        (lesson / copying.FIRST_PAGE).unlink()
        lesson.chmod(0o555)
        status, _, complained = run(*copy)
    finally:
        lesson.chmod(0o755)
    assert status == 1
    assert "cannot be copied" in complained.decode()
    assert complained.decode().splitlines()[-2] == "  Why: Permission denied"


@on_posix
@pytest.mark.parametrize("mask", [0o077, 0o000, 0o022])
def test_files_have_the_modes_the_user_s_mask_asks_for(tmp_path, mask):
    run(*LLAMALAB, "record", QUESTION, cwd=tmp_path, umask=mask)
    run(sys.executable, "-c", COPY, str(tmp_path / "lesson"), umask=mask)
    made = list(tmp_path.rglob("*"))
    assert len(made) > 8
    for path in made:
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~mask, path


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("~nobody-here/a.ndjson", "No such file or directory"),
        ("a" * 300, "File name too long"),
    ],
)
@on_posix
def test_a_recording_s_name_that_cannot_be_is_said_in_a_sentence(tmp_path, where, why):
    status, _, complained = run(*LLAMALAB, "record", QUESTION, "--to", where, cwd=tmp_path)
    assert status == 1
    assert complained.decode().splitlines()[1] == f"  Why: {why}"
    assert list(tmp_path.iterdir()) == []


@on_posix
def test_a_recording_that_is_killed_leaves_its_name_free(tmp_path):
    def endless(connection: socket.socket) -> None:
        record = {"response": "Yes", "done": False, "created_at": "2026-01-01T00:00:00Z"}
        connection.sendall(head() + chunk(json.dumps(record).encode() + b"\n"))
        connection.recv(1)

    command = (*LLAMALAB, "record", QUESTION)
    with tiny_server(endless) as url:
        recording = started(*command, "--server", url, cwd=tmp_path)
        assert recording.stdout.read(3) == b"Yes"
        recording.kill()
        recording.communicate()
    assert list(tmp_path.glob("*.ndjson")) == []
    assert run(*command, cwd=tmp_path)[0] == 0
    with server_run.BuiltinServer.start(speed=0, recordings=tmp_path) as replay:
        assert run(*ASK, "--server", replay.url)[1].decode().strip() == SENTENCE


def test_a_file_system_without_links_takes_recordings_too(tmp_path, monkeypatch):
    import llamalab

    def no_links(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    file, part = tmp_path / "a.ndjson", tmp_path / "part"
    assert llamalab.record(QUESTION, file) == file
    assert list(tmp_path.iterdir()) == [file]
    part.write_text("of somebody who comes later")
    with pytest.raises(FileExistsError):
        recorder._place(part, file)
    assert file.read_text(encoding="utf-8").startswith('{"path"')


# --- Every Python that is here ----------------------------------------------------------------

EVERYTHING = """
import doctest, pathlib, runpy, sys
root, server, question = sys.argv[1:]
script = pathlib.Path(root, "notebooks", "generate.py")
for path in [*pathlib.Path(root, "llamalab").rglob("*.py"), script]:
    compile(path.read_bytes(), str(path), "exec")
from llamalab import cli, wire
assert doctest.testmod(wire).attempted > 5 and doctest.testmod(wire).failed == 0
assert cli.main(["ask", question, "--server", server]) == 0
sys.argv = [str(script), question]
runpy.run_path(str(script), run_name="__main__")
"""


def pythons() -> dict[str, Path]:
    """Each Python from 3.10 on that this machine has: "3.12" -> its program."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    with contextlib.suppress(RuntimeError):  # no home
        for kept in (".pyenv/versions", ".local/share/uv/python"):
            folders += sorted(Path.home().joinpath(kept).glob("*/bin"))
    found = {}
    for folder in folders:
        for minor in range(10, 30):
            program = folder / f"python3.{minor}"
            if program.is_file() and program.read_bytes()[:2] != b"#!":  # pyenv's stand-in
                found.setdefault(f"3.{minor}", program)
    return found or {"{}.{}".format(*sys.version_info): Path(sys.executable)}


@pytest.fixture(scope="module")
def pure(tmp_path_factory) -> Path:
    """What `llamalab ask` needs, without what was compiled for this Python alone."""
    folder = tmp_path_factory.mktemp("site")
    compiled = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    for name in ("requests", "urllib3", "idna", "certifi", "charset_normalizer"):
        shutil.copytree(SITE / name, folder / name, ignore=compiled)
    for name in ("platformdirs", "filelock"):
        shutil.copytree(SITE / name, folder / name, ignore=compiled)
    return folder


@pytest.mark.parametrize("version", sorted(pythons()))
def test_the_helper_and_the_script_run_on_python(version, pure):
    path = os.pathsep.join([str(ROOT), str(pure)])
    settings = {"PYTHONPATH": path, "PYTHONWARNINGS": "error", "PYTHONDONTWRITEBYTECODE": "1"}
    words = (str(ROOT), os.environ["OLLAMA_HOST"], QUESTION)
    status, said, complained = run(
        *(str(pythons()[version]), "-S", "-c", EVERYTHING, *words), env=settings
    )
    assert (status, complained) == (0, b"")
    assert said.decode().splitlines() == [SENTENCE, SENTENCE]


# --- Windows and macOS, in their own words ----------------------------------------------------


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("[Errno 111] Connection refused", "nothing listens there"),
        ("[Errno 61] Connection refused", "nothing listens there"),
        ("[WinError 10061] Aucune connexion n'a pu être établie", "nothing listens there"),
        ("(10054, 'Eine vorhandene Verbindung wurde geschlossen')", "it closes the connection"),
        ("[Errno 11001] getaddrinfo failed", "that name is not known"),
        ("[Errno 8] nodename nor servname provided: failed to resolve", "that name is not known"),
    ],
)
def test_each_system_s_words_for_a_server_that_is_not_there_are_understood(said, why):
    error = requests.ConnectionError(f"HTTPConnectionPool: Max retries exceeded ({said})")
    assert find.not_found("http://127.0.0.1:9", error).why.startswith(why)


def test_the_cure_is_typed_as_one_types_there(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    monkeypatch.setattr(sys, "platform", "win32")
    assert find.what_to_do("http://127.0.0.1:9") == "Remove-Item Env:OLLAMA_HOST; llamalab"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert find.what_to_do("http://127.0.0.1:9") == "unset OLLAMA_HOST; llamalab"


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_windows_and_macos_always_have_a_screen(monkeypatch, system):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(jupyterlab.webbrowser, "open", lambda url: True)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    assert jupyterlab.open_page("http://127.0.0.1:8888/")


def test_on_windows_ctrl_c_reaches_us_alone_too(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0x200, raising=False)
    assert jupyterlab.own_process_group() == {"creationflags": 0x200}


def test_on_windows_closing_the_window_is_a_ctrl_c(monkeypatch):
    handled = {}
    monkeypatch.setattr(signal, "SIGBREAK", 21, raising=False)
    monkeypatch.setattr(signal, "signal", handled.__setitem__)
    jupyterlab.end_like_ctrl_c()
    assert handled[21] is signal.default_int_handler


@pytest.mark.skipif(sys.platform == "win32", reason="there it is so for every test")
def test_on_windows_a_port_is_shared_with_nobody(monkeypatch):
    stand_in = socket.SO_KEEPALIVE
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", stand_in, raising=False)
    with server_run.listen(0) as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, stand_in)
        assert not listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


def test_the_model_is_kept_where_the_readme_says(monkeypatch):
    home = {"CSIDL_LOCAL_APPDATA": "%LOCALAPPDATA%"}
    monkeypatch.setattr(platformdirs.windows, "get_win_folder", home.__getitem__)
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    macos = platformdirs.macos.MacOS("llamalab", appauthor=False).user_cache_dir
    windows = platformdirs.windows.Windows("llamalab", appauthor=False).user_cache_dir
    assert f"`{macos.replace('/home/anna', '~')}` on a Mac" in README
    assert "`{}` on Windows".format(windows.replace("/", "\\")) in README


# --- The systems themselves -------------------------------------------------------------------

WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
TEST = WORKFLOW["jobs"]["test"]


def test_the_workflow_runs_the_readme_s_test_command_on_each_system():
    command = "pip install uv && uv run pytest"
    assert command in README
    steps = {step.get("if"): step.get("run", "").splitlines() for step in TEST["steps"]}
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1] == command
    assert steps["runner.os == 'Linux'"] == [".ci/run"]
    assert steps["runner.os == 'macOS'"] == [command]
    assert steps["runner.os == 'Windows'"] == command.split(" && ")
    assert TEST["strategy"]["matrix"]["os"] == ["ubuntu", "windows", "macos"]


def test_the_workflow_has_every_python_the_project_promises():
    oldest = re.fullmatch(r">=3\.(\d+)", PROJECT["project"]["requires-python"])[1]
    wanted = [f"3.{minor}" for minor in range(int(oldest), 15)]
    assert TEST["strategy"]["matrix"]["python"] == wanted
    assert TEST["env"]["UV_PYTHON"] == "${{ matrix.python }}"


def test_the_workflow_may_only_read_ends_and_keeps_the_pictures():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert WORKFLOW[True].keys() >= {"push", "pull_request"}  # `on`, as YAML 1.1 reads it
    assert TEST["timeout-minutes"] <= 60
    used = [step["uses"] for step in TEST["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", name) for name in used)
    (kept,) = [step for step in TEST["steps"] if "upload-artifact" in step.get("uses", "")]
    assert (kept["if"], kept["with"]["path"]) == ("always()", "artefacts/")
