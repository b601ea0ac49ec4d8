"""Every chapter runs with a student's line, through nginx; 06 and 09 use their own server."""

import os

import psutil
import pytest
from execute_notebooks import NOTEBOOKS, execute
from nginx_class import INSTALL, NGINX, nginx_class
from opening import opened

from llamalab.standin.answers.local_model import local_model
from llamalab.standin.run import BuiltinServer

pytestmark = [
    pytest.mark.long,
    pytest.mark.usefixtures("model_file"),
    pytest.mark.skipif(os.name != "posix", reason="looks into the environment of a process"),
]
CHAPTERS = sorted(path.name for path in NOTEBOOKS.glob("0*.ipynb"))


@pytest.fixture(scope="module")
def student(need, tmp_path_factory):
    """A class, and the environment of the kernels after `llamalab lab --server LINE`."""
    need(*NGINX, do=INSTALL)
    folder = tmp_path_factory.mktemp("class")
    with (
        BuiltinServer.start(speed=0, engine=local_model()) as upstream,
        nginx_class(folder, upstream.url) as a_class,
        opened(folder / "lesson", more=["--server", a_class.line()], OLLAMA_HOST=None) as lesson,
    ):
        (jupyter,) = psutil.Process(lesson.process.pid).children()
        yield a_class, jupyter.environ()


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_runs_through_nginx(student, chapter):
    a_class, environment = student
    key = a_class.students[0].key
    assert environment["OLLAMA_HOST"] == a_class.address
    before = len(a_class.log())
    notebook = execute(NOTEBOOKS / chapter, environment)
    assert key not in str(notebook)
    asked = a_class.log()[before:]
    assert bool(asked) == (chapter[:2] != "09")  # which asks its own server only
    assert {line["student"] for line in asked} <= {"student1"}
    assert not [line for line in asked if line["status"] in ("401", "429", "502", "504")]
    refused = {line["path"] for line in asked if line["status"] == "403"}
    assert refused <= {"other"}  # 00 asks for a pull: not one of the lesson's paths
