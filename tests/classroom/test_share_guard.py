"""What a class's nginx lets through and what it refuses, with the real nginx on this machine."""

import base64
import itertools
import json
import os
import socket
import stat
import subprocess
import threading
import time

import ollama
import openai
import pytest
import requests
from nginx_class import INSTALL, NGINX, RECORDED, nginx_class, raw
from patience import PATIENCE
from tiny_server import chunk, head, tiny_server

import llamalab
from llamalab.classroom.share import command, nginx, program, sheets, watch
from llamalab.standin.run import BuiltinServer

HELLO = "Yes, I am listening. How may I assist you today?"
FORBIDDEN = [
    *("/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete", "/api/embed"),
    *("/api/embeddings", "/api/blobs/sha256:1", "/v1/embeddings", "/v1/completions"),
    *("/fault/cut/api/generate", "/fault", "/metrics", "/api/generate/", "/api/generate/../pull"),
    *("//api/pull", "/api/%70ull", "/api/./pull", "/%2fapi/pull", "/api/generate%00", "/API/chat"),
    *("/api%2fpull", "/api/pull?/api/generate", "/api/generate;/../pull", "/students.csv"),
]


@pytest.fixture(scope="module")
def upstream():
    with BuiltinServer.start(speed=0) as server:
        yield server


@pytest.fixture(scope="module")
def a_class(need, upstream, tmp_path_factory):
    need(*NGINX, do=INSTALL)
    with nginx_class(tmp_path_factory.mktemp("class"), upstream.url, count=80) as running:
        yield running


numbers = itertools.count()


@pytest.fixture
def student():
    """The number of a student whom no other test uses: the rate is each student's own."""
    return next(numbers)


def basic(a_class, number=0):
    _, login, key = a_class.students[number]
    return {"Authorization": "Basic " + base64.b64encode(f"{login}:{key}".encode()).decode()}


def test_nginx_finds_nothing_to_complain_of(a_class):
    assert program.test(a_class.folder).splitlines() == [
        f"nginx: the configuration file {a_class.folder}/nginx.conf syntax is ok",
        f"nginx: configuration file {a_class.folder}/nginx.conf test is successful",
    ]


def test_the_lesson_s_endpoints_are_let_through(a_class, student):
    for path in nginx.READ:
        assert a_class.ask(path, student).status_code == 200, path
    assert raw(a_class.listen, "HEAD", "/", basic(a_class, student))[0] == 200
    assert a_class.ask("/api/show", student, {"model": "mistral"}).status_code == 200
    assert llamalab.generate("Are you listening?", server=a_class.line(student)) == HELLO
    messages = [{"role": "user", "content": "?"}]
    for path in nginx.ANSWERS:  # what is not a recording, the server has no model for
        asked = {"model": "mistral", "prompt": "?", "messages": messages}
        assert a_class.ask(path, student, asked).status_code == 404, path
        assert a_class.log()[-1]["upstream"], path


def test_an_answer_comes_as_the_model_server_has_sent_it(a_class, upstream, student):
    through = a_class.ask("/api/generate", student, RECORDED)
    direct = requests.post(f"{upstream.url}/api/generate", json=RECORDED)
    assert through.content == direct.content
    assert through.headers["Content-Type"] == direct.headers["Content-Type"]


@pytest.mark.parametrize("path", FORBIDDEN)
def test_everything_else_is_forbidden(a_class, student, path):
    for method in ("GET", "POST"):
        status, headers, body = raw(a_class.listen, method, path, basic(a_class, student))
        if status == 400:  # it is not a path at all; then nginx has let no one see it
            assert a_class.log()[-1]["upstream"] == ""
            continue
        assert status == 403, (method, path)
        assert headers["Content-Type"] == "application/json"
        assert json.loads(body) == {"error": nginx.ERRORS[403]}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_other_methods_are_forbidden(a_class, student, method):
    for path in ("/api/generate", "/api/tags", "/"):
        status, _, body = raw(a_class.listen, method, path, basic(a_class, student))
        assert (status, json.loads(body)) == (403, {"error": nginx.ERRORS[403]})
    assert raw(a_class.listen, "GET", "/api/generate", basic(a_class, student))[0] == 403
    assert raw(a_class.listen, "POST", "/api/tags", basic(a_class, student))[0] == 403


def test_another_way_to_write_a_path_reaches_the_server_as_the_one_it_is(a_class, student):
    for path in ("//api//version", "/api/x/../version", "/api/%76ersion"):
        status, _, body = raw(a_class.listen, "GET", path, basic(a_class, student))
        assert (status, "version" in json.loads(body)) == (200, True)


@pytest.mark.parametrize(
    "headers",
    [
        *({}, {"Authorization": ""}, {"Authorization": "Basic"}, {"Authorization": "Bearer "}),
        {"Authorization": "Basic YWRhOg=="},
        {"Authorization": "Basic " + base64.b64encode(b"student1:wrong").decode()},
    ],
)
def test_without_a_right_key_nothing_is_said(a_class, headers):
    for path in ("/api/version", "/api/pull", "/"):
        status, answered, body = raw(a_class.listen, "GET", path, headers)
        assert (status, json.loads(body)) == (401, {"error": nginx.ERRORS[401]})
        assert answered["WWW-Authenticate"].startswith("Basic ")


def test_another_student_s_key_is_a_wrong_key(a_class):
    (_, first, _), (_, _, second) = a_class.students[:2]
    basic = base64.b64encode(f"{first}:{second}".encode()).decode()
    assert raw(a_class.listen, "GET", "/", {"Authorization": f"Basic {basic}"})[0] == 401


def test_a_hundred_megabytes_are_refused(a_class, student):
    body = b"{" + b" " * 100_000_000 + b"}"
    for content, status in ((body, 413), (iter([body]), 411)):  # with a length, and in chunks
        answer = requests.post(
            f"{a_class.address}/api/generate",
            data=content,
            auth=a_class.students[student][1:],
            timeout=PATIENCE,
        )
        assert answer.status_code == status
        assert answer.json() == {"error": nginx.ERRORS[status]}
    with pytest.raises(llamalab.BadAnswer, match="The request is too long"):
        llamalab.generate("x" * 2**20, server=a_class.line(student))


def test_a_path_as_long_as_a_book_is_not_written_down(a_class):
    raw(a_class.listen, "GET", "/" + "%01" * 2000, {})
    lines = a_class.log_lines()
    assert max(map(len, lines)) < 400
    assert '"path":"other"' in lines[-1]


def test_a_prompt_is_not_written_to_the_disk(a_class, student):
    secret = "0f7d" * 200_000
    assert (
        a_class.ask("/api/generate", student, {"model": "m", "prompt": secret}).status_code == 404
    )
    files = [file for file in a_class.folder.rglob("*") if file.is_file()]
    assert not [file for file in files if b"0f7d0f7d" in file.read_bytes()]


@pytest.fixture
def held():
    """A model server whose answers begin at once, and end when the event is set."""
    end = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(head() + chunk(b'{"response":"Yes","done":false}\n'))
        end.wait(PATIENCE)
        connection.sendall(chunk(b'{"response":"","done":true}\n') + chunk(b""))

    with tiny_server(answer) as url:
        yield url, end
        end.set()


def test_one_answer_at_a_time(need, held, tmp_path):
    need(*NGINX, do=INSTALL)
    url, end = held
    with nginx_class(tmp_path, url) as a_class:
        with a_class.ask("/api/generate", 0, RECORDED, stream=True) as running:
            chunks = running.iter_content(None)
            assert next(chunks)
            with pytest.raises(llamalab.ServerBusy) as busy:
                llamalab.generate("Are you listening?", server=a_class.line())
            assert "another request of yours is still being answered" in str(busy.value)
            assert "ask again in 5 seconds" in str(busy.value)
            assert a_class.ask("/api/chat", 0, {}).status_code == 429
            with a_class.ask("/api/tags", 0, stream=True) as other:
                assert other.ok  # not an answer of a model
            with a_class.ask("/api/generate", 1, RECORDED, stream=True) as other:
                assert other.ok  # the other students' answers go on
            end.set()
            assert b'"done":true' in b"".join(chunks)
        assert a_class.ask("/api/generate", 0, RECORDED).ok


def test_an_answer_that_was_left_makes_room_at_once(need, held, tmp_path):
    need(*NGINX, do=INSTALL)
    with nginx_class(tmp_path, held[0]) as a_class:
        for _ in range(5):
            stream = llamalab.stream("Are you listening?", server=a_class.line())
            assert next(stream) == "Yes"
            stream.close()


def test_one_answer_after_the_other_is_never_too_many(a_class, student):
    for _ in range(25):
        with a_class.ask("/api/generate", student, RECORDED, stream=True) as it:
            assert it.status_code == 200
            assert any(b'"done":true' in line for line in it.iter_lines())  # and the rest unread


def test_who_asks_too_fast_has_to_wait(a_class):
    began, served = time.monotonic(), 0
    while (answer := a_class.ask("/api/version", 79)).ok:
        served += 1
        assert served <= nginx.BURST + 2 + 2 * (time.monotonic() - began)  # two a second
    assert served >= nginx.BURST
    assert answer.status_code == 429
    assert answer.json() == {"error": nginx.TOO_FAST}
    assert a_class.ask("/api/version", 78).ok


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (
            lambda good, bad: llamalab.generate("?", server=bad),
            "class's server wants a key (HTTP 401)",
        ),
        (
            lambda good, bad: llamalab.generate("?", server=bad),
            "the key of the user 'student1' was",
        ),
        (lambda good, bad: llamalab.pull("x", good), "does not offer this (HTTP 403). It does not"),
        (lambda good, bad: llamalab.client.post("/api/create", {}, good), "(HTTP 403)"),
    ],
)
def test_the_notebook_says_it_in_a_sentence(a_class, ask, sentence):
    good = a_class.line()
    bad = good.replace(a_class.students[0].key, "wr0ng-wr0ng")
    with pytest.raises(llamalab.LlamalabError) as said:
        ask(good, bad)
    assert sentence in str(said.value)
    assert "wr0ng" not in str(said.value)


def test_a_model_that_is_there_needs_no_pull(a_class, student, capsys):
    llamalab.pull("mistral", a_class.line(student))
    assert "(HTTP 403). It has 'mistral' already." in capsys.readouterr().out


def test_no_model_server_is_a_502_in_words(need, tmp_path, unused_address):
    need(*NGINX, do=INSTALL)
    with nginx_class(tmp_path, unused_address) as a_class:
        with pytest.raises(llamalab.ServerNotFound, match=r"HTTP 502[\s\S]*tell your instructor"):
            llamalab.generate("?", server=a_class.line())
        assert a_class.ask("/api/generate", 0, RECORDED).json() == {"error": nginx.ERRORS[502]}


def test_a_key_is_taken_back_and_a_late_student_added_while_it_runs(need, upstream, tmp_path):
    need(*NGINX, do=INSTALL)
    with nginx_class(tmp_path, upstream.url) as a_class:
        lines = [a_class.line(number) for number in range(3)]
        taken = basic(a_class, 1)
        assert raw(a_class.listen, "GET", "/", taken)[0] == 200
        command.share(a_class.asked(withdraw=["STUDENT 2"], add=["Ben Ål"]))
        assert a_class.ask("/", 3).ok
        assert raw(a_class.listen, "GET", "/", taken)[0] == 401
        assert a_class.ask("/", 0).ok
        assert a_class.ask("/", 2).ok
        with pytest.raises(llamalab.BadAnswer, match="the key of the user 'student2' was sent"):
            llamalab.generate("Are you listening?", server=lines[1])
        assert "//ben:" in a_class.line(3)
        new = (a_class.folder / sheets.NEW_FILE).read_text(encoding="utf-8")
        assert [line for line in (*lines, a_class.line(3)) if line in new] == [a_class.line(3)]
        command.share(a_class.asked(add=["Student 2"]))  # with a new key
        assert a_class.ask("/", 1).ok
        assert raw(a_class.listen, "GET", "/", taken)[0] == 401
        assert [a_class.line(0), a_class.line(2)] == [lines[0], lines[2]]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_files_with_keys_are_for_their_owner_only(a_class):
    keys = [student.key.encode() for student in a_class.students]
    for file in [file for file in a_class.folder.rglob("*") if file.is_file()]:
        if any(key in file.read_bytes() for key in keys):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(a_class.folder.stat().st_mode) == 0o700
    assert not [key for key in keys if key in (a_class.folder / "access.log").read_bytes()]


def test_what_ollama_and_openai_need_is_one_line_of_the_sheet(a_class, student):
    asked = {"model": "mistral", "messages": [{"role": "user", "content": "Are you listening?"}]}
    one = a_class.students[student]
    known = {"ollama": ollama, "openai": openai}
    exec(sheets.for_ollama(one, a_class.address), known)
    assert known["client"].generate(**RECORDED).response == HELLO
    exec(sheets.for_openai(one, a_class.address), known)
    assert [model.id for model in known["client"].models.list()] == ["mistral:latest"]
    with pytest.raises(openai.NotFoundError):  # the server's own word: here, it has no model
        known["client"].chat.completions.create(**asked)


def test_the_class_at_a_glance(need, upstream, tmp_path):
    need(*NGINX, do=INSTALL)
    with nginx_class(tmp_path, upstream.url) as a_class:
        for _ in range(2):
            assert a_class.ask("/api/generate", 0, RECORDED).ok
        for path in ("/api/pull", "/api/generate", "/api/version"):
            raw(a_class.listen, "POST", path, basic(a_class, 1), b'{"model": "none"}')
        requests.get(a_class.address)
        with requests.Session() as session:
            session.get(f"{a_class.address}/api/tags", auth=a_class.students[0][1:])
            a_class.settle()
            master = program.running(a_class.folder)
            connected, running = watch.open_connections(master, a_class.listen.port)
        assert connected["127.0.0.1"] >= 1
        assert running == 0
        table = watch.table(a_class.students, watch.recent(tmp_path / "access.log", watch.now()))
        rows = [line.split() for line in table.splitlines()[3:]]
        assert rows[0] == ["Student", "1", "2", "-", "-", "-", "-"]
        assert rows[1] == ["Student", "2", "-", "-", "1", "2", "-"]
        assert rows[2] == ["Student", "3", "-", "-", "-", "-", "-"]
        assert rows[3][-4:] == ["-", "-", "1", "-"]
        old = watch.recent(tmp_path / "access.log", watch.now() + 400)
        assert not list(old)


def test_over_tls(need, upstream, tmp_path, monkeypatch):
    need(*NGINX, do=INSTALL)
    openssl = need("openssl", do="apt-get install openssl")
    cert, key = tmp_path / "own cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", key, "-out", cert, "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    folder = tmp_path / "class"
    with nginx_class(folder, upstream.url, cert=str(cert), key=str(key)) as a_class:
        secure = a_class.line().replace("http://", "https://")
        assert secure in (folder / sheets.FILE).read_text(encoding="utf-8")
        with pytest.raises(llamalab.BadAnswer, match="speaks https only"):
            llamalab.generate("?", server=a_class.line())
        with pytest.raises(llamalab.ServerNotFound, match="certificate is not trusted"):
            llamalab.generate("?", server=secure)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cert))
        assert llamalab.generate("Are you listening?", server=secure) == HELLO
