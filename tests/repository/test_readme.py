"""The pages keep their word: links lead somewhere, commands are real, what they show is true."""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from project import PROJECT

from llamalab import cli
from llamalab.lesson import copying, progress
from llamalab.standin.answers import builtin_model

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Page:
    """A page that people read: its text, its blocks of code, and the prose around them."""

    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def prose(self) -> str:
        return re.sub(r"```.*?```", "", self.text, flags=re.S)

    @property
    def blocks(self) -> list[tuple[str, str]]:
        return re.findall(r"```(\w+)\n(.*?)```", self.text, flags=re.S)

    @property
    def console(self) -> list[str]:
        """The lines that are typed into a terminal, without the remarks after them."""
        lines = [
            line for kind, block in self.blocks if kind == "console" for line in block.split("\n")
        ]
        return [line.partition("  #")[0].strip() for line in lines]

    @property
    def links(self) -> list[str]:
        """The files that it links to or shows, as it names them."""
        targets = re.findall(r"\]\(([^)\s]+)\)", self.prose)
        return [target for target in targets if not target.startswith("https://")]

    def commands(self, program: str) -> list[str]:
        """Every command of a program that it shows, without the uv before it."""
        shown = self.console + re.findall(r"`([^`\n]+)`", self.prose)
        parts = [part.strip().removeprefix("$ ") for line in shown for part in line.split("&&")]
        form = rf"(?:(?:python3? -m )?uv run )?({program}(?: .*)?)"
        return sorted({match[1] for part in parts if (match := re.fullmatch(form, part))})


README = Page(ROOT / "README.md")
CONTRIBUTING = Page(ROOT / ".github" / "CONTRIBUTING.md")
PAGES = [README, CONTRIBUTING, Page(ROOT / "notebooks" / "instructors.md")]
COMMANDS = {command: page for page in PAGES for command in page.commands("llamalab")}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.stem)


def test_both_commands_are_there_as_they_are_typed():
    assert "pip install uv && uv run llamalab" in README.console
    assert "pip install uv && uv run pytest" in README.console


def test_the_page_for_students_is_short():
    assert len(README.text.splitlines()) < 150


@each_page
def test_every_link_and_picture_is_there(page):
    anchors = {slug(title) for title in re.findall(r"^#+ (.+)$", page.prose, flags=re.M)}
    for target in page.links:
        path, _, anchor = target.partition("#")
        assert (page.path.parent / path).exists(), target
        assert not anchor or anchor in anchors, target


def test_the_page_for_students_leads_to_the_two_others():
    reached = {(ROOT / target).resolve() for target in README.links}
    assert {page.path for page in PAGES[1:]} <= reached


def slug(title: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_the_pictures_are_small_and_described():
    still, moving = re.findall(r"!\[(.*?)\]\((.*?)\)", README.prose)
    for (words, path), first, size in ((still, b"\x89PNG", 300_000), (moving, b"GIF89a", 10**6)):
        assert len(words) > 80
        picture = (ROOT / path).read_bytes()
        assert picture.startswith(first)
        assert len(picture) < size


@each_page
def test_every_command_it_shows_is_understood(page):
    commands = page.commands("llamalab")
    assert len(commands) >= 4
    for command in commands:
        if "--help" not in command:  # that one ends the parser; it is run below
            cli.parse(in_words(command))


def in_words(command: str) -> list[str]:
    """A command's words after its name; a NAME or [OPTION] in it stays a word."""
    return shlex.split(command)[1:]


# What ends by itself and needs no other machine is run, in a student's copy of the lesson.
ENDS = [
    command
    for command in COMMANDS
    if re.match(r"llamalab (ask|record|pull|reset|doctor|.*--help)", command)
]


def test_commands_of_each_kind_are_run():
    kinds = {in_words(command)[0] for command in ENDS}
    assert kinds == {"ask", "record", "pull", "reset", "doctor", "serve"}


@pytest.mark.usefixtures("model_file")
@pytest.mark.parametrize("command", ENDS)
def test_a_command_that_ends_by_itself_ends_well(command, lesson_copy):
    done = run([sys.executable, "-m", *shlex.split(command)], lesson_copy)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.fixture
def lesson_copy(tmp_path) -> Path:
    """A student's copy of the lesson, in which chapter 04 has been changed."""
    copying.copy_lesson(copying.CHECKOUT, tmp_path)
    chapter = tmp_path / "04-join-fragments.ipynb"
    chapter.write_text(chapter.read_text("utf-8").replace("SERVER", "SERVER_"), "utf-8")
    return tmp_path


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess:
    utf8 = os.environ | {"PYTHONIOENCODING": "utf-8"}
    return subprocess.run(command, cwd=folder, env=utf8, capture_output=True, encoding="utf-8")


def test_a_reset_keeps_the_old_chapter_under_the_name_the_page_says(lesson_copy):
    run([sys.executable, "-m", "llamalab", "reset", "04"], lesson_copy)
    (old,) = lesson_copy.glob("*-old*")
    assert f"`{old.name}`" in README.prose


def test_what_it_says_an_answer_looks_like_is_what_one_gets(tmp_path):
    shown = next(block for _, block in README.blocks if block.startswith("$ "))
    command, answer = shown.splitlines()
    words = shlex.split(command[command.index("llamalab") :])
    done = run([sys.executable, "-m", *words], tmp_path)
    assert (done.returncode, done.stdout) == (0, answer + "\n")


def test_what_it_says_of_a_new_copy_is_what_the_terminal_says(tmp_path):
    (shown,) = [block for kind, block in README.blocks if kind == "text"]
    assert re.search(rf"^Lesson: /\S+/llama-lesson \({progress.about(tmp_path)}\)$", shown, re.M)


@each_page
def test_every_test_and_script_it_names_is_there(page):
    named = re.findall(r"(?<=\s)(?:tests|notebooks)/\S+\.(?:py|ipynb)", "\n".join(page.console))
    assert [name for name in named if not (ROOT / name).is_file()] == []
    assert named or page is not CONTRIBUTING


def test_what_runs_only_on_demand_has_its_command():
    assert "uv run pytest -m long" in CONTRIBUTING.console
    assert "-m=not long" in PROJECT["tool"]["pytest"]["ini_options"]["addopts"]


def test_every_chapter_is_in_the_table():
    chapters = progress.chapter_files()
    assert chapters
    for chapter in chapters:
        assert f"](notebooks/{chapter})" in README.prose


def test_the_map_shows_the_country():
    (country,) = [block for kind, block in CONTRIBUTING.blocks if kind == "text"]
    folders = []
    for line in country.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names = re.findall(r"\S+", re.split(r"  +", line.lstrip(), maxsplit=1)[0])
        for name in names:
            assert ROOT.joinpath(*folders[:depth], name).exists(), line
        folders[depth:] = names[-1:]


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
    assert builtin_model.why_not(pip_says).why in README.prose
