"""The doors agree: pyproject.toml, environment.yml, the wheel, and ruff about all of it."""

import re
import shutil
import subprocess
import sys
import zipfile

import pytest
import yaml
from project import PROJECT, PYPROJECT, ROOT

import llamalab
from llamalab.lesson.copying import lesson_files

CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
GROUPS = PROJECT["dependency-groups"]
DEV = [name for name in GROUPS["dev"] if isinstance(name, str)] + GROUPS["site"]
FROM_PIP = next(entry["pip"] for entry in CONDA if isinstance(entry, dict))


def bounds(requirements: list[str]) -> set[str]:
    """Requirements without markers and spaces: what two files can agree on."""
    return {re.sub(r"\s", "", requirement.partition(";")[0]) for requirement in requirements}


def test_environment_yml_names_the_packages_and_bounds_of_pyproject():
    python = "python" + PROJECT["project"]["requires-python"]
    ours = PROJECT["project"]["dependencies"] + DEV
    theirs = [entry for entry in CONDA if isinstance(entry, str)] + FROM_PIP
    assert bounds(theirs) == bounds(ours) | {python, "-e."}


def test_environment_yml_installs_the_package_last():
    assert FROM_PIP[-1] == "-e ."


def test_every_dependency_has_bounds_and_a_reason():
    for requirement in PROJECT["project"]["dependencies"] + DEV:
        assert re.search(r">=[\d.]+,<\d|==[\d.]+$", requirement), f"no bounds: {requirement}"
        (line,) = [line for line in PYPROJECT.splitlines() if f'"{requirement}"' in line]
        assert re.search(r"# \w.{9,}$", line), f"no reason: {requirement}"


@pytest.mark.parametrize("task", [["format", "--check"], ["check"]], ids=["format", "lint"])
def test_ruff_has_nothing_to_say(task):
    command = [sys.executable, "-m", "ruff", *task, "--no-cache", str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> list[str]:
    """The names in a wheel built from a checkout in which a student has worked."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, checkout)
    for name in ("llamalab", "notebooks"):
        shutil.copytree(ROOT / name, checkout / name)
    for left_behind in ("my_answer.py", ".ipynb_checkpoints/00-start-here-checkpoint.ipynb"):
        (checkout / "notebooks" / left_behind).parent.mkdir(exist_ok=True)
        (checkout / "notebooks" / left_behind).write_text("{}")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    subprocess.run(command, cwd=checkout, check=True, capture_output=True)
    (built,) = (checkout / "dist").glob("*.whl")
    return zipfile.ZipFile(built).namelist()


def test_the_wheel_carries_the_whole_lesson(wheel):
    for name in lesson_files(ROOT / "notebooks"):
        assert f"llamalab/lesson/notebooks/{name}" in wheel


def test_the_wheel_carries_recordings_settings_and_the_views_look(wheel):
    recordings = list((ROOT / "llamalab" / "recordings").glob("*.ndjson"))
    assert recordings
    for path in recordings:
        assert f"llamalab/recordings/{path.name}" in wheel
    assert "llamalab/lesson/settings/labconfig/default_setting_overrides.json" in wheel
    assert "llamalab/views/views.css" in wheel
    assert "llamalab/classroom/handout.css" in wheel
    assert "llamalab/lesson/notebooks/instructors.md" in wheel


def test_the_wheel_carries_the_projector_s_extension(wheel):
    folder = "llamalab/classroom/presenting"
    extension = f"{folder}/labextensions/llamalab-present"
    assert f"{extension}/package.json" in wheel
    for name in ("projector.js", "projector.css", "speaker.html"):
        assert f"{extension}/static/{name}" in wheel
    assert f"{folder}/settings/labconfig/default_setting_overrides.json" in wheel


def test_the_wheel_carries_nothing_a_student_left_behind(wheel):
    assert not [name for name in wheel if re.search(r"/(my_|\.|__pycache__)", name)]
    assert {name.split("/")[0] for name in wheel} == {
        "llamalab",
        f"llamalab-{llamalab.__version__}.dist-info",
    }
