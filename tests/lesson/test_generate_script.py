"""notebooks/generate.py: what a person sees who runs it, whatever the server does."""

import ast
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest
from tiny_server import chunk, head, tiny_server, whole

from llamalab.find import parse_host

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
GENERATE = NOTEBOOKS / "generate.py"
NOBODY = "http://127.0.0.1:9"

YES = b'{"response":"Yes","done":false}\n'
DONE = b'{"response":".","done":true}\n'


def run(*arguments: str, folder: Path | None = None, **environment: str):
    """`python generate.py ...`: what it prints, and its exit code."""
    return subprocess.run(
        [sys.executable, str(GENERATE), *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=60,
    )


def ask(answer, prompt: str = "Are you listening?", **environment: str):
    """The script's run against a server that says exactly these bytes."""
    with tiny_server(answer) as url:
        return run(prompt, OLLAMA_HOST=url, **environment)


def failed_with(ended, sentence: str, output: bytes = b"") -> bool:
    """Whether it said this one sentence on stderr, kept what it had printed, and ended in 1."""
    errors = ended.stderr.decode()
    assert "Traceback" not in errors
    assert len(errors.split()) > 3
    return (ended.returncode, ended.stdout) == (1, output) and sentence in errors


def newline(text: bytes) -> bytes:
    return text.replace(b"\n", os.linesep.encode())


def test_the_answer_is_the_documents_line_from_any_folder(tmp_path):
    ended = run("Are you listening?", folder=tmp_path)
    assert ended.stdout == newline(b"Yes, I am listening. How may I assist you today?\n")
    assert (ended.stderr, ended.returncode) == (b"", 0)


def test_each_fragment_is_printed_as_it_arrives():
    go_on = threading.Event()

    def slow(connection):
        connection.sendall(head() + chunk(YES))
        assert go_on.wait(60)
        connection.sendall(chunk(DONE) + chunk(b""))

    with tiny_server(slow) as url, started(url) as script:
        assert script.stdout.read(3) == b"Yes"  # comes although the rest is still to be sent
        go_on.set()
        assert script.communicate(timeout=60)[0] == newline(b".\n")
    assert script.returncode == 0


def test_one_request_is_all_it_sends():
    seen = []
    with tiny_server(whole("200 OK", YES + DONE, "application/x-ndjson"), seen) as url:
        run("Where is Ōsaka?", OLLAMA_HOST=url)
    (request,) = seen
    assert request.startswith(b"POST /api/generate HTTP/1.1\r\n")
    body = json.loads(request.partition(b"\r\n\r\n")[2])
    assert body == {"model": "mistral", "prompt": "Where is Ōsaka?"}


@pytest.mark.parametrize("arguments", [(), ("Are", "you", "listening?")])
def test_not_one_prompt_is_answered_with_the_usage(arguments):
    ended = run(*arguments)
    assert ended.returncode == 2
    assert ended.stdout == b""
    assert ended.stderr.startswith(b"usage: python generate.py ")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_prints_the_usage_and_asks_nobody(option):
    ended = run(option, OLLAMA_HOST=NOBODY)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.startswith(b"usage: python generate.py ")


def test_an_absent_server_is_one_sentence():
    assert failed_with(run("Anybody?", OLLAMA_HOST=NOBODY), "No server answers.")


def test_an_unknown_model_is_what_the_server_says(tmp_path):
    unknown = tmp_path / "my_nosuch.py"
    script = GENERATE.read_text(encoding="utf-8")
    unknown.write_text(script.replace('MODEL = "mistral"', 'MODEL = "nosuch"'), encoding="utf-8")
    ended = subprocess.run([sys.executable, unknown, "Hello?"], capture_output=True, timeout=60)
    assert failed_with(ended, "The server says: model 'nosuch' not found")


def test_a_null_is_not_text():
    ended = ask(head() + chunk(YES) + chunk(b'{"response":null,"done":true}\n') + chunk(b""))
    assert (ended.stdout, ended.returncode) == (newline(b"Yes\n"), 0)


def test_an_error_in_the_middle_keeps_the_text_before_it():
    answer = head() + chunk(YES) + chunk(b'{"error":"out of memory"}\n') + chunk(b"")
    assert failed_with(ask(answer), "The server says: out of memory", b"Yes")


@pytest.mark.parametrize(
    "answer",
    [
        head() + chunk(YES),
        head() + chunk(YES) + chunk(DONE)[:20],
        head() + chunk(YES) + chunk(b""),
        head("200 OK", "Connection: close") + YES,
        head("200 OK", "Connection: close") + YES + DONE[:10],
    ],
    ids=["no last chunk", "in a chunk", "no last record", "no length", "in a line"],
)
def test_an_answer_that_is_cut_off_says_so_and_keeps_its_text(answer):
    ended = ask(answer)
    assert failed_with(ended, "answer", b"Yes")
    assert b"stopped" in ended.stderr


@pytest.mark.parametrize(
    "answer",
    [
        whole("200 OK", b"<html>Please log in</html>", "text/html"),
        whole("404 Not Found", b'{"detail":"Not Found"}'),
        whole("404 Not Found", b"404 page not found", "text/plain"),
        whole("403 Forbidden", b""),
        whole("200 OK", b"[]"),
        whole("200 OK", b"null"),
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
    ids=["login page", "another API", "not found", "refused", "a list", "null", "not HTTP"],
)
def test_what_is_not_a_model_server_ends_in_a_sentence(answer):
    ended = ask(answer)
    assert ended.returncode == 1
    assert ended.stdout == b""
    assert b"Traceback" not in ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there, no other process can press Ctrl-C")
def test_ctrl_c_ends_it_with_130():
    still_open = threading.Event()

    def stalls(connection):
        connection.sendall(head() + chunk(YES))
        still_open.wait(60)

    with tiny_server(stalls) as url, started(url) as script:
        assert script.stdout.read(3) == b"Yes"
        script.send_signal(signal.SIGINT)
        assert script.communicate(timeout=60) == (b"", b"")
        still_open.set()
    assert script.returncode == 130


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_proxy_never_gets_what_stays_on_this_machine(host):
    with tiny_server(whole("200 OK", DONE)) as url:
        address = url.replace("127.0.0.1", host)
        proxies = {"http_proxy": NOBODY, "all_proxy": NOBODY, "no_proxy": "", "NO_PROXY": ""}
        ended = run("Hello?", OLLAMA_HOST=address, **proxies)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "http://127.0.0.1:{}/", "0.0.0.0:{}"])
def test_ollama_host_may_be_written_in_many_ways(form):
    with tiny_server(whole("200 OK", DONE)) as url:
        ended = run("Hello?", OLLAMA_HOST=form.format(url.rpartition(":")[2]))
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("form", ["ada:s3cret@127.0.0.1:{}", "http://ada:s3cret@127.0.0.1:{}"])
def test_a_key_in_ollama_host_is_sent_and_never_printed(form):
    seen = []
    with tiny_server(whole("401 Unauthorized", b"<html>"), seen) as url:
        ended = run("Hello?", OLLAMA_HOST=form.format(url.rpartition(":")[2]))
    assert b"\r\nAuthorization: Basic YWRhOnMzY3JldA==\r\n" in seen[0]
    assert ended.returncode == 1
    assert b"s3cret" not in ended.stderr


@pytest.mark.parametrize(
    "host",
    [
        *("10.0.0.5", "example.com", "10.0.0.5:80", "0.0.0.0", "0.0.0.0:8080", "ada:key@10.0.0.5"),
        *("http://10.0.0.5:11434", "http://10.0.0.5:11434/", "https://school.example:443/ollama"),
        "https://ada:key@school.example:443",
    ],
)
def test_the_script_and_the_package_read_ollama_host_alike(host):
    assert module().server_address(host) == parse_host(host)


@pytest.mark.parametrize(
    "host", [":1234", "::1", "10.0.0.5 ", "'10.0.0.5'", "ftp://10.0.0.5", "a b"]
)
def test_any_other_form_is_one_clear_sentence(host):
    ended = run("Hello?", OLLAMA_HOST=host)
    assert failed_with(ended, "OLLAMA_HOST must be a host, host:port, or http://host:port.")


def test_it_stands_alone():
    imported = set()
    for node in ast.walk(ast.parse(GENERATE.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert imported - sys.stdlib_module_names == {"requests"}


def test_chapter_05_shows_it_as_it_is():
    cells = nbformat.read(NOTEBOOKS / "05-generate-script.ipynb", as_version=4).cells
    shown = 'print(Path("generate.py").read_text(encoding="utf-8"))'
    (cell,) = [cell for cell in cells if cell.source == shown]
    assert cell.outputs[0].text == GENERATE.read_text(encoding="utf-8") + "\n"


def started(url: str) -> subprocess.Popen:
    """The script, running; as a context manager it is gone afterwards."""
    return subprocess.Popen(
        [sys.executable, str(GENERATE), "Are you listening?"],
        env={**os.environ, "OLLAMA_HOST": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def module():
    """The script, imported: importing it starts nothing."""
    spec = importlib.util.spec_from_file_location("generate", GENERATE)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script
