"""Who may import whom, and that each module can be reached by its own name."""

import ast
import importlib
import pkgutil
import sys
from collections.abc import Iterator

import pytest
from project import ROOT

import llamalab

# A module or a package, and what else of llamalab it may import: itself, always. Where two rows
# fit a module, the longer name counts.
MAY_IMPORT = {
    "errors": [],
    "wire": ["errors"],
    "address": ["errors"],
    "keys": [],
    "diagnosis": ["errors", "address", "keys"],
    "sharing": ["address"],
    "find": ["errors", "address", "keys", "diagnosis", "sharing", "standin", "page.door"],
    "client": ["errors", "wire", "address", "keys", "diagnosis", "find"],
    "recorder": ["errors", "wire", "client", "standin.answers.recordings"],
    "exercises": ["errors", "wire", "client", "find", "lesson.progress"],
    "views": ["errors", "wire", "client", "diagnosis"],
    "views.live_records": [
        *("errors", "wire", "address", "keys", "diagnosis", "find", "client"),
    ],
    "views.timed_answer": ["errors", "wire", "standin.answers.recordings"],
    "checkup": ["errors", "wire", "address", "keys", "diagnosis", "client", "find", "standin"],
    "classroom": [],
    "classroom.handout": ["errors", "lesson", "__init__"],
    "classroom.instructors": ["classroom.sections", "lesson", "__init__"],
    "classroom.sections": ["exercises", "lesson"],
    "classroom.solutions": ["exercises", "lesson"],
    "classroom.presenting": [
        *("errors", "lesson", "standin", "classroom.instructors", "classroom.sections"),
    ],
    "classroom.presenting.kernel": ["errors", "address", "find"],
    "classroom.share": ["errors", "address", "keys", "find", "lesson.jupyterlab"],
    "lesson": ["errors", "address", "find", "standin"],
    "lesson.class_server": ["errors", "address", "keys", "find"],
    "lesson.progress": ["lesson.copying", "lesson.pages"],
    "lesson.copying": ["errors", "lesson.pages"],
    "lesson.pages": [],
    "standin": ["errors", "address"],
    "standin.http": ["standin.answers", "standin.ollama", "standin.limits", "errors"],
    "standin.answers": ["standin.ollama", "standin.limits", "errors"],
    "standin.ollama": ["standin.limits", "errors"],
    "standin.limits": [],
    "page": ["standin.run", "standin.http", "lesson.copying"],  # reached through `find.page` alone
    "site": ["errors", "lesson.copying", "lesson.pages", "__init__"],
    "cli": [
        *("errors", "client", "find", "recorder", "checkup", "lesson", "standin", "__init__"),
        "classroom",
    ],
    "__main__": ["cli"],
    "__init__": [],
}
MODULES = {
    ".".join(path.relative_to(ROOT / "llamalab").with_suffix("").parts): path
    for path in sorted((ROOT / "llamalab").rglob("*.py"))
}


def within(module: str, rooms: list[str]) -> bool:
    return any(f"{module}.".startswith(f"{room}.") for room in rooms)


def imported(tree: ast.AST) -> Iterator[str]:
    """What a module imports, wherever in it, but not for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names)
        yield from imported(node)


def module_of(name: str) -> str:
    """The module that has a name: "llamalab.find.server" and "llamalab.server" are in "find"."""
    name = name.removeprefix("llamalab.")
    name = llamalab._HOME.get(name, name)
    while name and name not in MODULES and f"{name}.__init__" not in MODULES:
        name = name.rpartition(".")[0]
    return name or "__init__"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_it_may(module):
    room = max((room for room in MAY_IMPORT if within(module, [room])), key=len)
    names = list(imported(ast.parse(MODULES[module].read_text(encoding="utf-8"))))
    ours = {module_of(name) for name in names if within(name, ["llamalab"])}
    assert not [name for name in names if name.startswith(".")]
    assert not {name for name in ours if not within(name, [room, *MAY_IMPORT[room]])}


def test_each_module_is_reached_by_its_own_name():
    for found in pkgutil.walk_packages(llamalab.__path__, "llamalab."):
        if found.name != "llamalab.__main__":
            importlib.import_module(found.name)
            reached = llamalab
            for part in found.name.split(".")[1:]:
                reached = getattr(reached, part)
            assert reached is sys.modules[found.name]


def test_the_names_of_llamalab_are_no_modules():
    assert not {*llamalab.__all__} & {name.partition(".")[0] for name in MODULES}
    assert {*llamalab.__all__} <= {*dir(llamalab)}
