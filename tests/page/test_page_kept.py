"""Files that a page keeps by itself: what one kernel has written, the next one has."""

import asyncio

import pytest

from llamalab.page.kept import LARGEST, Kept


class Memory:
    """A database as the browser has it, without the browser."""

    def __init__(self):
        self.files, self.puts = {}, 0

    async def all(self):
        return list(self.files.items())

    def put(self, name, content):
        self.files[name] = content
        self.puts += 1

    def remove(self, name):
        self.files.pop(name, None)


@pytest.fixture
def kernel(tmp_path):
    """`kernel("name")`: one with its own folder, all with the same database."""
    database = Memory()

    def start(name: str) -> Kept:
        (tmp_path / name).mkdir()
        started = Kept(tmp_path / name, database)
        started.begin()
        return started

    return start


def run(kernel: Kept, **files: str | None) -> None:
    """A cell that writes these files; those that are None, it deletes."""
    asyncio.run(kernel.look())
    for name, content in files.items():
        path = kernel.folder / f"{name}.py"
        path.unlink() if content is None else path.write_text(content)
    kernel.keep()


def test_a_new_kernel_has_what_an_earlier_one_has_written(kernel):
    run(kernel("one"), mine="print(1)")
    two = kernel("two")
    run(two)
    assert (two.folder / "mine.py").read_text() == "print(1)"


def test_two_open_chapters_see_each_other_s_files(kernel):
    one, two = kernel("one"), kernel("two")
    run(one, ask="first")
    run(two)
    run(two, ask="second")
    run(one, other="new")
    assert (one.folder / "ask.py").read_text() == "second"
    run(two)
    assert (two.folder / "other.py").read_text() == "new"
    assert one.database.puts == 3  # only what is new


def test_a_deleted_file_stays_away(kernel):
    one = kernel("one")
    run(one, mine="x")
    run(one, mine=None)
    run(one)
    assert not (one.folder / "mine.py").exists()
    assert one.database.files == {}


def test_the_lesson_s_script_is_there_and_kept_only_if_it_was_changed(kernel):
    one = kernel("one")
    assert "def " in (one.folder / "generate.py").read_text("utf-8")
    run(one)
    assert one.database.files == {}
    run(one, generate="mine")
    two = kernel("two")
    run(two)
    assert (two.folder / "generate.py").read_text() == "mine"


def test_a_file_that_is_too_large_stays_where_it_is(kernel):
    one = kernel("one")
    run(one, large="x" * (LARGEST + 1))
    assert one.database.files == {}
    assert (one.folder / "large.py").exists()
