"""A sheet for each student, to print and to cut apart: the one line to type, and what helps."""

import html
from collections.abc import Iterable
from pathlib import Path

from llamalab import keys
from llamalab.classroom.share.addresses import Place
from llamalab.classroom.share.students import Student

FILE, NEW_FILE = "sheets.html", "sheets-new.html"

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>llamalab: {count}</title>
<style>
  @page {{ margin: 10mm; }}
  body {{ font: 10.5pt/1.4 system-ui, sans-serif; color: #000; background: #fff;
         max-width: 190mm; margin: 0 auto; }}
  section {{ padding: 6mm 3mm; border-bottom: 1.5px dashed #777; break-inside: avoid; }}
  h2 {{ font-size: 15pt; margin: 0 0 1mm; overflow-wrap: anywhere; }}
  p {{ margin: 0.8mm 0; }}
  code {{ font: 10pt/1.4 ui-monospace, Consolas, Menlo, "DejaVu Sans Mono", monospace;
         overflow-wrap: anywhere; }}
  .line {{ font-size: 11.5pt; font-weight: 600; padding: 1.5mm 2mm; border: 1px solid #000;
          margin: 1.5mm 0; }}
  .small, .small code {{ font-size: 8.5pt; }}
</style>
</head>
<body>
{sheets}
</body>
</html>
"""

SHEET = """\
<section>
<h2>{name}</h2>
<p>Open a terminal in the project's folder, where <code>README.md</code> is.
Type this in one line:</p>
<p class="line"><code>{line}</code></p>
<p>Your key has no letters that look alike: no l or o, no 1 or 0. Do not give it to others.
Next time, <code>uv run llamalab</code> is enough.{open}</p>
{page}<p class="small">For your own scripts. Do not show them or hand them in with the key.</p>
<p class="small"><code>{ollama}</code><br><code>{openai}</code></p>
</section>"""

PAGE_LINE = """\
<p>Or <b>without an installation</b>: open this address in your browser.</p>
<p class="line"><code>{page}</code></p>
<p>User: <code>{login}</code>, password: <code>{key}</code></p>
<p class="small">Your work stays in this browser on this computer, under your user name. On a
computer that others use, close all windows of the browser at the end.</p>
"""

OPEN = (
    " Others in this network may be able to read what you and the model write: "
    "send nothing private."
)


def address(listen: Place, encrypted: bool) -> str:
    """The server's address for students, without a key."""
    scheme, usual = ("https", 443) if encrypted else ("http", 80)
    shown = str(listen)
    return f"{scheme}://{shown.removesuffix(f':{usual}') if encrypted else shown}"


def line(student: Student, server: str) -> str:
    """What a student types, the same on each system."""
    with_key = server.replace("://", f"://{student.login}:{student.key}@", 1)
    return f"uv run llamalab --server {with_key}"


def for_ollama(student: Student, server: str) -> str:
    """The line that the package `ollama` needs: it takes no key from an address."""
    key = f'{{"Authorization": "Bearer {student.key}"}}'
    return f'client = ollama.Client("{server}", headers={key})'


def for_openai(student: Student, server: str) -> str:
    return f'client = openai.OpenAI(base_url="{server}/v1", api_key="{student.key}")'


def sheet(student: Student, server: str, page: str = "") -> str:
    about_page = {"login": student.login, "key": student.key, "page": page}
    texts = {
        "name": student.name,
        "line": line(student, server),
        "ollama": for_ollama(student, server),
        "openai": for_openai(student, server),
        "open": "" if server.startswith("https") else OPEN,
    }
    escaped = {name: html.escape(text) for name, text in texts.items()}
    return SHEET.format_map({**escaped, "page": PAGE_LINE.format_map(about_page) if page else ""})


def page(students: Iterable[Student], server: str, lesson: str = "") -> str:
    """The sheets of all students who have a key; `lesson` is its address in the browser."""
    sheets = [sheet(student, server, lesson) for student in students if student.key]
    count = f"{len(sheets)} sheets" if len(sheets) != 1 else "1 sheet"
    return PAGE.format(count=count, sheets="\n".join(sheets))


def write(file: Path, students: Iterable[Student], server: str, lesson: str = "") -> None:
    """Write the sheets, with the keys on them, for the owner's eyes only."""
    keys.write_private(file, page(students, server, lesson))
