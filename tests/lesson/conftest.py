"""A lesson in small, and where a student keeps a copy of it."""

import json
from pathlib import Path

import nbformat
import pytest

from llamalab.lesson import copying


@pytest.fixture
def lesson(tmp_path) -> Path:
    """A lesson of two files, as in an installed package."""
    source = tmp_path / "package" / "lesson"
    (source / "images").mkdir(parents=True)
    (source / copying.FIRST_PAGE).write_text("page one")
    (source / "images" / "tape.svg").write_text("<svg/>")
    return source


@pytest.fixture
def page():
    """Makes a page's text: a heading and a code cell, which has been run where `ran` says so."""

    def make(code: str = "1 + 1", ran: str | None = None, heading: str = "# Add") -> str:
        cells = [nbformat.v4.new_markdown_cell(heading), nbformat.v4.new_code_cell(code)]
        if ran is not None:
            cells[1].execution_count = 1
            cells[1].outputs = [nbformat.v4.new_output("stream", text=ran)]
        for number, cell in enumerate(cells):
            cell.id = f"cell-{number}"
        return json.dumps(nbformat.v4.new_notebook(cells=cells))

    return make


@pytest.fixture
def copy(tmp_path) -> Path:
    """Where the student keeps it, on a path that is not all ASCII and has spaces."""
    return tmp_path / "Mes leçons d'été" / "llama lesson"
