"""A chapter as a page to print: one HTML file with its outputs and pictures, nothing from the web.

nbconvert makes the body; the head and the style, made for A4, are ours. The outputs are those that
are stored with the lesson. A file that someone has changed is kept: the newer page gets the next
free name beside it, as in a student's copy of the lesson.
"""

import hashlib
import html
import os
import re
from itertools import chain
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

from llamalab import __version__
from llamalab.errors import LlamalabError
from llamalab.lesson.copying import FOR_INSTRUCTORS, lesson_source, names_beside, put
from llamalab.lesson.progress import chapter_files
from llamalab.lesson.reset import chapter_named

DEFAULT_FOLDER = "llama-handout"
STYLE = Path(__file__).parent / "handout.css"
INSTRUCTORS = "instructors"  # in place of a chapter: the page for instructors

# The page has its own fingerprint in it, so that a change by hand is seen.
MARK = '<meta name="llamalab-handout" content="{}">'
MARKS = re.compile(MARK.format("([0-9a-f]*)"))
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{mark}
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
{body}
<footer>llamalab {version}, {name}</footer>
</body>
</html>
"""


def write_handouts(chapter: str | None, folder: Path) -> list[str]:
    """Write the page of a chapter, or of all; returns a sentence for each.

    `chapter` is a number or a name as `llamalab reset` takes it, or "instructors". Raises
    `LlamalabError` for anything else, and where nothing can be written.
    """
    if chapter is None:
        names = chapter_files()
    else:
        names = [FOR_INSTRUCTORS if chapter == INSTRUCTORS else chapter_named(chapter)]
    try:
        return [keep(folder / f"{Path(name).stem}.html", handout(name)) for name in names]
    except OSError as error:
        raise LlamalabError(
            f"The handout cannot be written to {folder}.",
            why=f"{error.strerror or error}",
            do="llamalab handout --out FOLDER",
        ) from None


def handout(name: str) -> str:
    """The HTML page of a file of the lesson: a chapter, or a page in Markdown."""
    source = lesson_source() / name
    body = HTMLExporter(
        template_name="basic", embed_images=True, exclude_anchor_links=True
    ).from_notebook_node(read(source), resources={"metadata": {"path": str(source.parent)}})[0]
    body = without_dead_links(opened(body))
    title = re.search(r"<h1[^>]*>(.*?)</h1>", body, flags=re.DOTALL)
    number = name[:2] if name[:2].isdigit() else ""
    page = PAGE.format(
        mark=MARK.format(""),
        title=html.escape(f"{number} {html.unescape(title[1])}".strip()),
        style=STYLE.read_text(encoding="utf-8") + HtmlFormatter(style="bw").get_style_defs(),
        body=body.strip(),
        version=__version__,
        name=name,
    )
    return page.replace(MARK.format(""), MARK.format(fingerprint(page)), 1)


def read(source: Path) -> nbformat.NotebookNode:
    """A notebook; a page in Markdown becomes a notebook with one cell.

    An output that is a picture has a text, too; it becomes the picture's alternative text.
    """
    if source.suffix == ".ipynb":
        notebook = nbformat.read(source, as_version=4)
        for output in (each for cell in notebook.cells for each in cell.get("outputs", [])):
            if "image/png" in output.get("data", {}):
                output.metadata["image/png"] = {"alt": output.data.get("text/plain", "")}
        return notebook
    text = source.read_text(encoding="utf-8")
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])


def opened(body: str) -> str:
    """On paper no one can open what is folded."""
    return re.sub(r"<details(?! open)", "<details open", body)


def without_dead_links(body: str) -> str:
    """Links to other files of the lesson become text: the page may be read without them."""
    return re.sub(r'<a href="(?!https?:|#)[^"]*"[^>]*>(.*?)</a>', r"\1", body, flags=re.DOTALL)


# Kept on the disk -----------------------------------------------------------------------------


def keep(file: Path, page: str) -> str:
    """Write a page to a file, or beside it if someone has changed the file; says what was done."""
    names = chain([file.name], names_beside(file.name, "new"))
    target = next(place for place in map(file.with_name, names) if is_ours(place))
    if target.is_file() and target.read_text(encoding="utf-8") == page:
        return f"Unchanged: {target}"
    put(page.encode(), target)
    kept = f"   ({file.name} is not as llamalab wrote it, so it is kept)"
    return f"Written: {target}{kept if target != file else ''}"


def is_ours(file: Path) -> bool:
    """Whether nothing is lost if this file is replaced: it is not there, or as we wrote it."""
    if not os.path.lexists(file):
        return True
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError):  # a folder, a file without permission, not a text
        return False
    mark = MARKS.search(text)
    return bool(mark and mark[1] == fingerprint(text))


def fingerprint(page: str) -> str:
    """A short text that differs after any change of the page; its own mark is left out."""
    return hashlib.sha256(MARKS.sub(MARK.format(""), page).encode()).hexdigest()[:32]
