"""The chapters as they are stored. That their cells still do what they show is nbval's part."""

import base64
import hashlib
import json
import re
import statistics
from pathlib import Path

import nbformat
import pytest
from execute_notebooks import CELL_METADATA, METADATA, OWN, main

from llamalab.classroom.instructors import PLANS
from llamalab.exercises.cases import EXERCISES
from llamalab.exercises.guesses import GUESSES
from llamalab.exercises.script_cases import SCRIPTS

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
RECORDING = ROOT / "llamalab" / "recordings" / "mistral-are-you-listening.ndjson"

# The chapters, and how many of their cells nbval has something to compare with, at least.
COMPARED = {
    "00-start-here": 13,
    "01-raw-bytes": 16,
    "02-split-lines": 17,
    "03-json-loads": 16,
    "04-join-fragments": 14,
    "05-generate-script": 21,
    "06-streaming": 19,
    "07-chat": 16,
    "08-where-time-goes": 15,
    "09-when-things-go-wrong": 23,
}

# The cells whose output no rule can foretell: a model, a clock or the doctor speaks.
LIVE = {"00-start-here": 3, "06-streaming": 2, "07-chat": 1, "08-where-time-goes": 3}

# The chapter that only the built-in server can serve: no other one breaks on demand.
BREAKS = "09-when-things-go-wrong"

# What the document shows. Its bytes are the recording, whose checksum is written here.
BODY = RECORDING.read_bytes().partition(b"\n")[2]
BODY_SHA256 = "426566c0ac71c94fbeadd5b554d90353bbf5d9a4055251241f204e974ce02b0c"
SENTENCE = "Yes, I am listening. How may I assist you today?"

# (chapter, code of the cell, its output); the code is the document's, too.
SHOWN = [
    ("01-raw-bytes", "response = requests.post(url, json=json_data)\nresponse", "<Response [200]>"),
    ("01-raw-bytes", "response.content", repr(BODY)),
    ("02-split-lines", "for json_line in json_lines:\n    print(json_line)", BODY.decode()),
    ("03-json-loads", "print(answers)", f"{[json.loads(line) for line in BODY.splitlines()]}\n"),
    (
        "04-join-fragments",
        "for answer in answers:\n"
        '    if not answer["done"]:\n'
        '        print(answer["response"], end="", flush=True)\n'
        "    else:\n"
        "        print()",
        f"{SENTENCE}\n",
    ),
    ("05-generate-script", '!python generate.py "Are you listening?"', f"{SENTENCE}\n"),
    ("05-generate-script", '!python ask_1.py "Are you listening?"', f"{SENTENCE}\n"),
]

# More lines of the document's code, which a chapter's cells hold as they are.
SAID = [
    ("01-raw-bytes", 'url = f"{SERVER}/api/generate"'),
    ("01-raw-bytes", 'json_data = {"model": "mistral", "prompt": "Are you listening?"}'),
    ("01-raw-bytes", "response = requests.post(url, data)"),
    ("02-split-lines", 'json_lines = response.content.decode("utf-8").splitlines()'),
    ("03-json-loads", "answers = [json.loads(json_line) for json_line in json_lines]"),
]

AMERICAN = re.compile(
    r"\b(\w*(?<!four)color\w*|behavior\w*|center\w*|favorite\w*|gray|labeled|canceled|traveled"
    r"|\w*(?:organiz|recogniz|initializ|analyz|summariz|serializ|visualiz|normaliz)\w*"
    r"|dialog|program(?:ing|ed)|fulfill|catalog)\b",
    re.IGNORECASE,
)
# What one looks at: where there is no kernel, a picture, and beside it always text.
SCRIPT = "%%writefile "  # a cell that saves a script, with all of its lines
VIEW = re.compile(r"llamalab\.(?:inspector|waterfall|race|time_bars|chat_box)\(")
PICTURE = {"image/png", "application/vnd.jupyter.widget-view+json"}
# In JSON, where a backslash is two.
MACHINE = re.compile(
    r"/(?:home|root|Users|tmp|usr|work)/|~/(?!llamalab|\.cache)|[A-Z]:\\\\|site-packages|ipykernel_\d"
)


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


@pytest.fixture(params=COMPARED)
def chapter(request):
    """A chapter; its name is `chapter.name`."""
    notebook = read(request.param)
    notebook.name = request.param
    return notebook


def code(notebook) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def text_of(cell) -> str:
    """A cell's one output, as text."""
    (output,) = cell.outputs
    return output.text if output.output_type == "stream" else output.data["text/plain"]


def lines_of(cell) -> int:
    return len([line for line in cell.source.splitlines() if line.strip()])


def minutes_of(cell) -> int:
    return cell.metadata.get("speaker", {}).get("minutes", 0)


# The document ----------------------------------------------------------------------------------


def test_the_chapters_are_all_there_and_no_others():
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == sorted(COMPARED)


def test_the_recording_is_the_documents_answer():
    assert len(BODY) == 1642
    assert hashlib.sha256(BODY).hexdigest() == BODY_SHA256
    assert "".join(json.loads(line)["response"] for line in BODY.splitlines()) == SENTENCE


@pytest.mark.parametrize(("name", "source", "output"), SHOWN)
def test_what_the_document_shows_is_stored_byte_for_byte(name, source, output):
    shown = [text_of(cell) for cell in code(read(name)) if cell.source == source]
    assert output in shown


@pytest.mark.parametrize(("name", "line"), SAID)
def test_the_lessons_code_is_the_documents(name, line):
    assert line in "\n".join(cell.source for cell in code(read(name))).splitlines()


# Outputs ---------------------------------------------------------------------------------------


def test_cells_were_run_in_order_from_a_clean_kernel(chapter):
    counts = [cell.execution_count for cell in code(chapter)]
    assert counts == list(range(1, len(counts) + 1))


def test_enough_cells_have_an_output_to_compare(chapter):
    ignored = [cell for cell in code(chapter) if "nbval-ignore-output" in tags(cell)]
    compared = [cell for cell in code(chapter) if cell.outputs and cell not in ignored]
    assert len(compared) >= COMPARED[chapter.name]
    assert len(ignored) == LIVE.get(chapter.name, 0)  # everything else comes from a recording
    assert all(text_of(cell).strip() for cell in ignored)


def test_a_cell_raises_exactly_where_it_is_marked(chapter):
    for cell in code(chapter):
        raised = any(output.output_type == "error" for output in cell.outputs)
        assert raised == ("raises-exception" in tags(cell)), cell.id


def test_a_cell_whose_last_line_is_a_value_shows_it(chapter):
    value = re.compile(
        r"[\w.]+(?:\[[^=]*\])?|(?:len|list|sorted|next|ask|main)\(.*\)|!.*|print\(.*\)"
    )
    for cell in code(chapter):
        if value.fullmatch(cell.source.splitlines()[-1]):
            assert cell.outputs, cell.id


def test_nothing_of_one_machine_is_stored(chapter):
    for cell in chapter.cells:
        assert not MACHINE.search(json.dumps(cell)), cell.id
        assert cell.metadata.keys() <= CELL_METADATA, cell.id
    assert {key: chapter.metadata[key] for key in chapter.metadata if key != OWN} == METADATA
    assert (chapter.nbformat, chapter.nbformat_minor) == (4, 5)


def test_no_output_needs_more_than_text(chapter):
    for cell in code(chapter):
        more = PICTURE if VIEW.match(cell.source.splitlines()[-1]) else set()
        more |= {"text/html"} if "llamalab.doctor()" in cell.source else set()
        for output in cell.outputs:
            data = output.get("data", {"text/plain": ""})
            assert {"text/plain"} <= data.keys() <= {"text/plain"} | more, cell.id
            assert len(base64.b64decode(data.get("image/png", ""))) < 100_000, cell.id


# The frame -------------------------------------------------------------------------------------


def test_a_chapter_opens_with_what_need_and_minutes(chapter):
    title, first = prose(chapter)[0].split("\n", 1)
    assert chapter.cells[0].cell_type == "markdown"
    assert re.fullmatch(r"# [A-Z]\w+ .+", title)
    for part in ("**What you will do:**", "**What you need:**", "**Time:**"):
        assert part in first


def test_a_chapter_has_one_title(chapter):
    titles = [line for text in prose(chapter) for line in text.splitlines() if line[:2] == "# "]
    assert len(titles) == 1


def test_a_chapter_begins_on_its_own(chapter):
    first = code(chapter)[0].source.splitlines()
    assert "import llamalab" in first
    found = "builtin=True" if chapter.name == BREAKS else ""
    assert f"SERVER = llamalab.server({found})" in first
    assert not any(re.search(r"run chapter", text, re.IGNORECASE) for text in prose(chapter))


def test_a_chapter_ends_with_a_summary_and_what_is_next(chapter):
    last = chapter.cells[-1]
    assert last.cell_type == "markdown"
    assert last.source.startswith("## Summary\n")
    (then,) = re.findall(r"\*\*Next:\*\*.*\((.*?)\)", last.source.splitlines()[-1])
    names = list(COMPARED)
    following = names[names.index(chapter.name) + 1 :]
    assert then == (f"{following[0]}.ipynb" if following else "00-start-here.ipynb")


def test_links_lead_somewhere_and_no_missing_chapter_is_promised(chapter):
    text = "\n".join(prose(chapter))
    for target in re.findall(r"\]\((?!https?://)(.*?)\)", text):
        assert (NOTEBOOKS / target).is_file(), target
    for number in re.findall(r"[Cc]hapters? (\d\d)", text):
        assert any(name.startswith(number) for name in COMPARED), number


def test_minutes_add_up_to_the_time_stated(chapter):
    time = r"\*\*Time:\*\* (\d+) minutes(?:, and (\d+) for the exercises?)?"
    stated, exercises = map(int, re.search(time, chapter.cells[0].source).groups("0"))
    assert 10 <= stated <= 20
    assert sum(map(minutes_of, chapter.cells)) == stated + exercises
    in_exercises = [cell for cell in chapter.cells if cell.source.startswith("## Exercise")]
    assert exercises in (0, sum(map(minutes_of, in_exercises)))


def test_a_chapter_says_what_it_teaches(chapter):
    lesson = chapter.metadata[OWN]
    texts = ("questions", "objectives", "key_points", "misconceptions")
    assert lesson.keys() == {"needs", "students_ask", *texts}
    for key in texts:
        assert lesson[key], key
        assert all(20 < len(text) < 200 and text[-1] in ".?" for text in lesson[key]), key
    assert all(text.endswith("?") for text in lesson["questions"])
    for objective in lesson["objectives"]:  # what one can look at: not to know or to understand
        assert not re.match(r"(Know|Understand|Learn|See|Be)\b", objective), objective
    assert len(lesson["students_ask"]) >= 2
    for asked in lesson["students_ask"]:
        assert asked.keys() == {"question", "answer"}
        assert asked["question"].endswith("?")
        assert 20 < len(asked["answer"]) < 250
        assert asked["answer"].endswith(".")


def test_each_section_has_a_slide_and_notes_for_the_speaker(chapter):
    for cell in chapter.cells:
        begins = cell.source.startswith(("# ", "## ")) and cell.cell_type == "markdown"
        assert ("speaker" in cell.metadata) == begins, cell.id
        slide = cell.metadata.get("slideshow", {"slide_type": None})["slide_type"]
        assert (slide == "slide") == begins, cell.id
        assert slide in (None, "slide", "subslide", "fragment", "skip"), cell.id
        if begins:
            keys = {"minutes", "say", "if_it_fails"}
            assert keys <= cell.metadata.speaker.keys() <= keys | {"plan", "leave_out"}
            assert cell.metadata.speaker.get("plan", 45) in PLANS
            assert cell.metadata.speaker.get("leave_out", True) is True
            notes = [cell.metadata.speaker[key] for key in ("say", "if_it_fails")]
            assert min(map(len, notes)) > 20
            # What the person who reads them does not have in the room.
            assert not re.search(r"\bthe (?:document|original|source)\b", " ".join(notes))


# Style -----------------------------------------------------------------------------------------


def test_cells_are_few_and_short(chapter):
    scripts = [cell for cell in code(chapter) if cell.source.startswith(SCRIPT)]
    assert all(lines_of(cell) <= 30 for cell in scripts)
    lengths = sorted(lines_of(cell) for cell in code(chapter) if cell not in scripts)
    assert 10 <= len(lengths) <= 30 - len(scripts)
    assert statistics.median(lengths) <= 3
    assert lengths[int(0.9 * len(lengths)) - 1] <= 8
    assert lengths[-1] <= 15
    assert max(len(line) for cell in code(chapter) for line in cell.source.splitlines()) <= 100


def test_cell_ids_can_be_read(chapter):
    slug = chapter.name.partition("-")[2]
    ids = [cell.id for cell in chapter.cells]
    assert ids == [f"{slug}-{number:02d}" for number in range(1, len(ids) + 1)]


def test_prose_between_cells_is_short(chapter):
    for text in prose(chapter)[1:-1]:
        running = re.sub(r"```.*?```|!\[.*?\]\(.*?\)|<details>.*?</details>", "", text, flags=re.S)
        assert len(re.findall(r"[.!?](?:\s|$)", running)) <= 6, text


def test_each_chapter_has_something_to_look_at_and_says_it_in_words(chapter):
    pictures = re.findall(r"!\[(.*?)\]\((.*?)\)", "\n".join(prose(chapter)))
    assert pictures
    for words, target in pictures:
        assert len(words) > 80, target
        assert target.startswith("images/")
        assert "<title>" in (NOTEBOOKS / target).read_text(encoding="utf-8")


def test_every_picture_is_used_and_stands_alone():
    text = "\n".join("\n".join(prose(read(name))) for name in COMPARED)
    files = list((NOTEBOOKS / "images").iterdir())
    assert len(files) >= len(COMPARED)
    for file in files:
        assert f"(images/{file.name})" in text
        addresses = set(re.findall(r"https?://[^\"<]+", file.read_text(encoding="utf-8")))
        assert addresses == {"http://www.w3.org/2000/svg"}, file


def checks() -> list[tuple[str, str, str, str]]:
    """Of each `check` in the chapters: its chapter, its name, the text before it, what it said."""
    found = []
    for chapter in COMPARED:
        before = ""
        for cell in read(chapter).cells:
            name = re.match(r'llamalab\.check\("([\w-]+)"', cell.source)
            if cell.cell_type == "code" and name:
                found.append((chapter, name[1], before, text_of(cell)))
            if cell.cell_type == "markdown":
                before = cell.source
    return found


def test_each_exercise_is_in_one_chapter_and_not_solved_there():
    exercises = [check for check in checks() if check[1] not in GUESSES]
    assert sorted(name for _, name, _, _ in exercises) == sorted([*EXERCISES, *SCRIPTS])
    assert {chapter for chapter, _, _, _ in exercises} == set(COMPARED)
    for _, name, _, said in exercises:
        assert f"{name} is not solved yet" in said or "Not yet: " in said, name


def test_each_guess_is_asked_where_its_number_says_with_its_choices_and_spoils_nothing():
    guesses = [check for check in checks() if check[1] in GUESSES]
    assert sorted(name for _, name, _, _ in guesses) == sorted(GUESSES)
    for chapter, name, before, said in guesses:
        assert name[:2] == chapter[:2], name
        assert "**Guess first.**" in before, name
        for letter, choice in GUESSES[name].choices.items():
            assert f"\n{letter}) {choice}" in before.replace("`", ""), name
        assert said.startswith("Guess first: "), name


def test_a_chapter_asks_one_or_two_guesses(chapter):
    names = [name for name in GUESSES if name[:2] == chapter.name[:2]]
    assert 1 <= len(names) <= 2


WORDS = re.findall(
    r"^\| ([\w -]+) \| (.+) \| \[(\d\d)\]\((.+)\) \| \|$",
    (NOTEBOOKS / "glossary.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def test_the_glossary_is_in_order_and_has_every_word_of_the_lesson_once():
    words = [word.lower() for word, *_ in WORDS]
    assert words == sorted(set(words))
    needed = """server port endpoint request response header body form byte encoding chunk stream
        token prompt context proxy terminal answer record fragment"""
    assert {*needed.split(), "status code", "exit code", "json", "http"} <= set(words)


@pytest.mark.parametrize(("word", "meaning", "number", "page"), WORDS)
def test_a_word_of_the_glossary_is_explained_in_the_chapter_it_names(word, meaning, number, page):
    assert page.startswith(number)
    text = "\n".join(prose(read(page.removesuffix(".ipynb"))))
    assert re.search(rf"[*`]{word}(?:s|ing)?[*`]", text)
    assert 20 < len(meaning) < 90


def test_the_cheat_sheet_is_one_page():
    lines = (NOTEBOOKS / "cheat-sheet.md").read_text(encoding="utf-8").splitlines()
    assert sum(1 + len(line) // 100 for line in lines) <= 60


def test_the_spelling_is_british():
    texts = ["\n".join(cell.source for cell in read(name).cells) for name in COMPARED]
    texts += [json.dumps([cell.metadata for cell in read(name).cells]) for name in COMPARED]
    texts += [(ROOT / "llamalab" / "exercises" / "cases.py").read_text(encoding="utf-8")]
    texts += [
        (NOTEBOOKS / name).read_text(encoding="utf-8")
        for name in ("generate.py", "glossary.md", "cheat-sheet.md")
    ]
    assert [found[0] for text in texts for found in AMERICAN.finditer(text)] == []


def test_each_sanitizing_rule_is_a_pair_and_says_why():
    text = (ROOT / "tests" / "nbval-sanitize.cfg").read_text(encoding="utf-8")
    rules = re.findall(r"^\[.+\]\n(?:#.+\n)+regex: .+\nreplace: .+$", text, re.MULTILINE)
    assert len(rules) == text.count("regex: ") == text.count("replace: ") >= 3


# The program that stores the outputs -----------------------------------------------------------


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


@pytest.mark.long
@pytest.mark.usefixtures("model_file")
def test_executing_a_stored_chapter_again_changes_nothing(tmp_path):
    copy = tmp_path / "00-start-here.ipynb"
    copy.write_bytes((NOTEBOOKS / copy.name).read_bytes())
    assert main([str(copy)]) == 0
    assert copy.read_bytes() == (NOTEBOOKS / copy.name).read_bytes()


def write_draft(path: Path, source: str, *tags: str, shown: str = "") -> Path:
    """A notebook of one cell, with a habit of JupyterLab's, which has shown this text."""
    outputs = [nbformat.v4.new_output("stream", text=shown)] if shown else []
    metadata = {"trusted": True, "tags": list(tags)}
    cell = nbformat.v4.new_code_cell(source, metadata=metadata, outputs=outputs)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    return path


def shown_in(path: Path) -> str:
    return text_of(nbformat.read(path, as_version=4).cells[0])


@pytest.mark.usefixtures("model_file")
def test_executing_stores_outputs_and_leaves_live_cells_and_failures_as_they_were(tmp_path, capsys):
    good = write_draft(tmp_path / "good.ipynb", "6 * 7")
    live = write_draft(tmp_path / "live.ipynb", "print(6)", "nbval-ignore-output", shown="kept")
    fails = write_draft(tmp_path / "fails.ipynb", "1 / 0", "slow")
    tame = write_draft(tmp_path / "tame.ipynb", "1", "raises-exception")
    before = [path.read_bytes() for path in (fails, tame)]
    assert main([str(path) for path in (good, live, fails, tame)]) == 2
    (cell,) = nbformat.read(good, as_version=4).cells
    assert (cell.execution_count, text_of(cell), dict(cell.metadata)) == (1, "42", {"tags": []})
    assert shown_in(live) == "kept"
    assert [path.read_bytes() for path in (fails, tame)] == before
    assert capsys.readouterr().err.count("FAILED     ") == 2


@pytest.mark.long
@pytest.mark.usefixtures("model_file")
def test_with_live_a_live_cell_gets_a_new_output(tmp_path):
    live = write_draft(tmp_path / "live.ipynb", "print(6)", "nbval-ignore-output", shown="kept")
    assert main(["--live", str(live)]) == 0
    assert shown_in(live) == "6\n"
