"""The README keeps its word: links lead somewhere, commands are real, what it shows is true."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from project import PROJECT

from llamalab import cli
from llamalab.standin.answers import builtin_model

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROSE = re.sub(r"```.*?```", "", README, flags=re.S)
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.S)
CONSOLE = [line for kind, block in BLOCKS if kind == "console" for line in block.splitlines()]
INLINE = re.findall(r"`([^`\n]+)`", PROSE)


def llamalab_commands() -> list[str]:
    """Every `llamalab ...` the README shows, without the uv in front and the remark behind."""
    shown = [line.removeprefix("$ ").partition("  #")[0] for line in CONSOLE + INLINE]
    shown = [part.strip() for line in shown for part in line.split("&&")]
    called = [
        re.fullmatch(r"(?:(?:python3? -m )?uv run )?(llamalab(?: .*)?)", part) for part in shown
    ]
    return sorted({match[1] for match in called if match})


def test_both_commands_stand_there_as_they_are_typed():
    assert "pip install uv && uv run llamalab" in CONSOLE
    assert "pip install uv && uv run pytest" in CONSOLE


def test_every_link_and_picture_is_there():
    targets = re.findall(r"\]\(([^)\s]+)\)", PROSE)
    local = [target for target in targets if not target.startswith("https://")]
    assert len(local) >= 8
    anchors = {slug(title) for title in re.findall(r"^#+ (.+)$", PROSE, flags=re.M)}
    for target in local:
        path, _, anchor = target.partition("#")
        assert (ROOT / path).exists(), target
        assert not anchor or anchor in anchors, target


def slug(title: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_the_pictures_are_small_and_described():
    still, moving = re.findall(r"!\[(.*?)\]\((.*?)\)", PROSE)
    for (words, path), first, size in ((still, b"\x89PNG", 300_000), (moving, b"GIF89a", 10**6)):
        assert len(words) > 80
        picture = (ROOT / path).read_bytes()
        assert picture.startswith(first)
        assert len(picture) < size


def test_every_command_it_shows_is_understood():
    commands = llamalab_commands()
    assert len(commands) >= 6
    for command in commands:
        cli.parse(shlex.split(command)[1:])


def test_every_test_it_names_is_there():
    named = re.findall(r"(?<=\s)tests/\S+\.py", "\n".join(CONSOLE))
    assert len(named) >= 3
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_what_runs_only_on_demand_has_its_command():
    assert "uv run pytest -m long" in [line.partition("  #")[0].strip() for line in CONSOLE]
    assert "-m=not long" in PROJECT["tool"]["pytest"]["ini_options"]["addopts"]


def test_every_chapter_is_in_the_table():
    chapters = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    assert chapters
    for chapter in chapters:
        assert f"](notebooks/{chapter.name})" in README


def test_the_map_shows_the_country():
    (country,) = [block for kind, block in BLOCKS if kind == "text" and "README.md" in block]
    folders = []
    for line in country.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names = re.findall(r"\S+", re.split(r"  +", line.lstrip(), maxsplit=1)[0])
        for name in names:
            assert ROOT.joinpath(*folders[:depth], name).exists(), line
        folders[depth:] = names[-1:]


def test_what_it_says_an_answer_looks_like_is_what_one_gets():
    shown = next(block for _, block in BLOCKS if block.startswith("$ "))
    command, answer = shown.splitlines()
    done = run(command)
    assert (done.returncode, done.stdout) == (0, answer + "\n")


@pytest.mark.parametrize(
    "pip_says",
    [
        "No module named pip",
        "OSError: [Errno 28] No space left on device",
        "SSLError: CERTIFICATE_VERIFY_FAILED",
        "Failed to establish a new connection",
        "No matching distribution found",
    ],
)
def test_each_reason_why_the_model_cannot_be_fetched_is_among_the_troubles(pip_says):
    assert builtin_model.why_not(pip_says).why in PROSE


@pytest.mark.parametrize("command", ["llamalab --version", "llamalab serve --help"])
def test_commands_that_only_tell_something_do(command):
    done = run(command)
    assert done.returncode == 0
    assert done.stdout.strip()


def run(command: str) -> subprocess.CompletedProcess:
    argv = shlex.split(command[command.index("llamalab") :])
    return subprocess.run([sys.executable, "-m", *argv], capture_output=True, encoding="utf-8")
