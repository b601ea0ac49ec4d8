"""The lesson in the browser at a class's server: what nginx serves, to whom, and what it says."""

import json

import pytest
import requests
from nginx_class import INSTALL, NGINX, RECORDED, nginx_class, raw
from patience import PATIENCE

from llamalab.classroom.share import command, lesson_site, sheets
from llamalab.errors import LlamalabError
from llamalab.standin.run import BuiltinServer

STORED = "llamalab 1.2.3"
MIME = {
    "lab/index.html": "text/html",
    "build/1.js": "text/javascript",
    "static/pyodide.mjs": "text/javascript",
    "static/pyodide.asm.wasm": "application/wasm",
    "static/llamalab.whl": "application/zip",
    "api/contents/all.json": "application/json",
    "files/images/wire.svg": "image/svg+xml",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files of a small site, in a folder with a space in its name."""
    site = tmp_path_factory.mktemp("a site")
    for place in (site, *site.parents):  # an administrator's nginx is an ordinary reader
        if not (mode := place.stat().st_mode) & 0o001:
            place.chmod(mode | 0o005)
    for name in MIME:
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text("x" * 5000, encoding="utf-8")
    kernel = {"pyodideUrl": "./p.mjs", "loadPyodideOptions": {"packages": ["a", "b"]}}
    whole = {
        "appName": "llamalab",
        **dict.fromkeys(lesson_site.STORAGE, STORED),
        "litePluginSettings": {lesson_site.KERNEL: kernel},
    }
    for name, config in (("jupyter-lite.json", whole), (lesson_site.SETTINGS, {"appUrl": "/lab"})):
        (site / name).write_text(json.dumps({"jupyter-config-data": config}), encoding="utf-8")
    return site


@pytest.fixture(scope="module")
def a_class(need, folder, tmp_path_factory):
    need(*NGINX, do=INSTALL)
    with (
        BuiltinServer.start(speed=0) as upstream,
        nginx_class(tmp_path_factory.mktemp("class"), upstream.url, site=str(folder)) as running,
    ):
        yield running


def test_a_folder_that_is_not_a_site_is_one_sentence_with_the_command(tmp_path):
    (tmp_path / "jupyter-lite.json").write_text("{}")
    for name in (tmp_path, tmp_path / "nothing"):
        asked = command.Asked(str(tmp_path / "class"), "3", site=str(name))
        with pytest.raises(LlamalabError, match="is not a built site") as caught:
            command.share(asked)
        assert lesson_site.BUILD in caught.value.do
    assert not (tmp_path / "class").exists()


@pytest.mark.parametrize("name", MIME)
def test_a_file_has_its_type_and_is_asked_for_again_only_if_it_is_new(a_class, folder, name):
    answer = a_class.ask(f"/lesson/{name}")
    assert answer.content == (folder / name).read_bytes()
    assert answer.headers["Content-Type"] == MIME[name]
    assert answer.headers["Cache-Control"] == "no-cache"
    known = {"If-None-Match": answer.headers["ETag"]}
    assert a_class.ask(f"/lesson/{name}", headers=known).status_code == 304


def test_what_can_be_small_travels_small(a_class):
    for name, how in (("static/pyodide.asm.wasm", "gzip"), ("static/llamalab.whl", None)):
        assert a_class.ask(f"/lesson/{name}").headers.get("Content-Encoding") == how


def test_nobody_sees_the_page_without_a_key(a_class):
    for path in ("/lesson/", "/lesson/lab/index.html", f"/lesson/{lesson_site.SETTINGS}"):
        status, headers, _ = raw(a_class.listen, "GET", path)
        assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="llamalab"')


def test_nothing_else_is_served(a_class):
    for path in ("/lesson/../students.csv", "/lesson/%2e%2e/students.csv", "/lesson/..%2fx"):
        assert a_class.ask(path).status_code in (400, 403, 404), path
    assert a_class.ask("/lesson/lab/index.html", json={}).status_code == 403
    assert a_class.ask("/lesson/lab/nothing.js").status_code == 404


def test_a_hundred_files_at_once_are_not_too_fast(a_class):
    with requests.Session() as session:
        session.auth = a_class.students[1][1:]
        url = f"{a_class.address}/lesson/build/1.js"
        assert {session.get(url, timeout=PATIENCE).status_code for _ in range(100)} == {200}
    assert a_class.ask("/api/generate", 1, RECORDED).ok
    assert not [line for line in a_class.log() if line["path"].startswith("/lesson/build")]


def test_the_page_asks_where_it_comes_from_and_stores_under_the_student_s_name(a_class):
    for number in (0, 1):
        host = {"Host": f"class{number}.example"}
        answer = a_class.ask(f"/lesson/{lesson_site.SETTINGS}", number, headers=host)
        known = answer.json()["jupyter-config-data"]
        options = known["litePluginSettings"][lesson_site.KERNEL]["loadPyodideOptions"]
        assert options["env"]["OLLAMA_HOST"] == f"http://class{number}.example"
        assert options["packages"] == ["a", "b"]
        names = {options["env"]["LLAMALAB_STORAGE"], *map(known.get, lesson_site.STORAGE)}
        assert names == {f"{STORED} student{number + 1}"}
        assert known["appUrl"] == "/lab"


def test_the_address_opens_the_first_chapter_without_the_key_in_it(a_class):
    answer = a_class.ask("/lesson/", allow_redirects=False)
    assert answer.headers["Location"] == f"{a_class.address}/lesson/{lesson_site.FIRST}"
    assert a_class.ask("/lesson", allow_redirects=False).headers["Location"].endswith("/lesson/")


def test_a_web_page_from_elsewhere_cannot_ask_with_a_student_s_key(a_class):
    for origin, status in ((a_class.address, 200), ("http://a.example", 403), ("null", 403)):
        headers = {"Origin": origin}
        answer = a_class.ask("/api/generate", 2, RECORDED, headers=headers)
        assert answer.status_code == status, origin


def test_the_sheet_has_the_page_s_address_until_the_site_is_taken_out(a_class, capsys):
    page = f"{a_class.address}/lesson/"
    written = (a_class.folder / sheets.FILE).read_text(encoding="utf-8")
    one = a_class.students[0]
    assert written.count(f"<code>{page}</code>") == 3
    assert f"User: <code>{one.login}</code>, password: <code>{one.key}</code>" in written
    command.share(a_class.asked())
    assert f"Lesson:   {page}" in capsys.readouterr().out
    command.share(a_class.asked(site=""))
    assert page not in (a_class.folder / sheets.FILE).read_text(encoding="utf-8")
    assert a_class.ask("/lesson/").status_code == 403
