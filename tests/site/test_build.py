"""What the builder of the site says where it cannot build, and what it puts into it."""

import json
import re
import shutil
import zipfile

import pytest
from project import ROOT

from llamalab.errors import LlamalabError
from llamalab.site import build, packages


@pytest.fixture
def wheel(tmp_path):
    """The lesson's own wheel, as a page gets it."""
    return packages.own_wheel(tmp_path)


def test_a_missing_npm_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(LlamalabError) as caught:
        packages.fetch_core(tmp_path)
    assert str(caught.value).startswith("npm is missing")
    assert "Node.js" in caught.value.do


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(LlamalabError, match="not a site"):
        build.build(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_every_wheel_has_an_exact_version():
    wanted = (ROOT / "llamalab/site/wheels.txt").read_text("utf-8").splitlines()[1:]
    assert len(wanted) > 20
    assert [line for line in wanted if not re.fullmatch(r"[a-z0-9-]+==[\w.]+", line)] == []


def test_the_page_s_wheel_has_the_lesson_without_outputs_and_a_start(wheel):
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        chapter = json.loads(packed.read("llamalab/lesson/notebooks/01-raw-bytes.ipynb"))
    assert "llamalab/page/server.py" in names
    assert "llamalab/recordings/mistral-are-you-listening.ndjson" in names
    assert [name for name in names if name.endswith("startup/start_lesson.py")]
    assert not any(cell.get("outputs") for cell in chapter["cells"])


def test_the_lock_file_names_each_wheel_with_its_checksum_and_what_it_needs(wheel):
    packages.empty_wheel(wheel.parent)
    lock = packages.lock(wheel.parent, {"info": {"python": "3.14.2"}}, {})
    ours = lock["packages"]["llamalab"]
    assert ours["imports"] == ["llamalab"]
    assert ours["sha256"] == packages.hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert ours["depends"] == []  # of what is in the folder
    assert lock["packages"]["jedi"]["imports"] == []


def test_only_chapters_that_ask_the_model_go_on_after_an_error():
    def tags(live: bool) -> list:
        cell = {"cell_type": "code", "metadata": {"tags": [build.LIVE] if live else []}}
        page = json.loads(build.going_on({"cells": [cell]}))
        return page["cells"][0]["metadata"].get("tags")

    assert tags(live=True) == [build.LIVE, "raises-exception"]
    assert tags(live=False) == []
