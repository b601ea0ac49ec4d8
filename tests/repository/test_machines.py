"""Machines that others lend: Binder's and a development container's, as far as they are here."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from project import PROJECT, ROOT

POST_BUILD = ROOT / ".binder" / "postBuild"


def test_binder_gets_this_project_and_a_python_that_it_allows():
    requirements = (ROOT / ".binder" / "requirements.txt").read_text("utf-8").splitlines()
    assert [line for line in requirements if not line.startswith("#")] == ["-e ."]
    runtime = (ROOT / ".binder" / "runtime.txt").read_text("utf-8")
    allowed = PROJECT["project"]["requires-python"].removeprefix(">=")
    minor = int(re.fullmatch(r"python-3\.(\d+)\n", runtime)[1])
    assert minor >= int(allowed.partition(".")[2])


def test_the_container_is_made_ready_in_the_same_way_as_binders():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    command = container["postCreateCommand"]
    assert command.startswith("pip install uv && uv sync && ")
    assert ".binder/postBuild" in command
    settings = container["customizations"]["vscode"]["settings"]
    assert settings["python.defaultInterpreterPath"].endswith("/.venv/bin/python")


def test_what_makes_them_ready_leaves_the_model_and_a_copy(tmp_path, need, model_file):
    bash = need("bash", do="install bash")
    for name in ("llamalab", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [bash, POST_BUILD],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert str(model_file) in done.stdout
    assert (tmp_path / "llama-lesson" / "00-start-here.ipynb").is_file()
    assert os.access(POST_BUILD, os.X_OK)
