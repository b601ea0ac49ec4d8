"""A lesson in small, and where a student keeps a copy of it."""

from pathlib import Path

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
def copy(tmp_path) -> Path:
    """Where the student keeps it, on a path that is not all ASCII and has spaces."""
    return tmp_path / "Mes leçons d'été" / "llama lesson"
