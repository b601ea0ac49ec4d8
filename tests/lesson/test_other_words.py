"""The chapters on a server without recordings: it has mistral, and answers in other words.

Each exercise is solved there, and each guess is made, as a student does it: no cell fails, and
`check` judges the student's own data.
"""

import os
import re
from pathlib import Path

import nbformat
import pytest
from execute_notebooks import UNWANTED, execute

from llamalab.exercises.guesses import GUESSES
from llamalab.exercises.solutions import SOLUTIONS
from llamalab.standin.answers.local_model import LocalModel
from llamalab.standin.run import BuiltinServer

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CHECK = re.compile(r'llamalab\.check\("(?P<name>[\w-]+)", (?P<answer>[^,()]+)')

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def elsewhere(model_file, tmp_path_factory):
    """The environment of a kernel that finds the model in the box as mistral, and no recordings."""
    none = tmp_path_factory.mktemp("recordings")
    server = BuiltinServer.start(recordings=none, engine=LocalModel("mistral", model_file))
    ours = {key: value for key, value in os.environ.items() if not UNWANTED.search(key)}
    yield ours | {"OLLAMA_HOST": server.url}
    server.stop()


def as_a_student_does(notebook: nbformat.NotebookNode) -> None:
    """Solve each exercise, and guess in place of each question mark."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        check = CHECK.search(cell.source)
        if check and check["name"] in GUESSES:
            guess = '"a"' if GUESSES[check["name"]].choices else "1"
            cell.source = cell.source.replace('"?"', guess)
        elif check:
            name, code = check["name"], SOLUTIONS[check["name"]].code
            file = re.fullmatch(r'"(\w+\.py)"', check["answer"])
            if file:
                cell.source = f"_ = open({file[1]!r}, 'w').write({code!r})\n{cell.source}"
            else:
                (own,) = [cell for cell in cells if f"def {name}(" in cell.source]
                own.source = code


def printed(cell: nbformat.NotebookNode) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("[0-9]*.ipynb")), ids=lambda path: path.stem)
def test_every_cell_and_check_holds_where_the_answers_have_other_words(path, elsewhere, tmp_path):
    for file in NOTEBOOKS.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    student = nbformat.read(path, as_version=4)
    as_a_student_does(student)
    nbformat.write(student, tmp_path / path.name)

    executed = execute(tmp_path / path.name, elsewhere)

    said = {}
    for cell in executed.cells:
        if cell.cell_type == "code" and (check := CHECK.search(cell.source)):
            said[check["name"]] = printed(cell)
    assert said
    for name, text in said.items():
        right = ("Right! ", "Not this time. ") if name in GUESSES else ("OK: ",)
        assert text.startswith(right), (name, text)
