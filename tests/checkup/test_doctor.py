"""The doctor: each fault is really made, and found, with the command that fixes it.

Only what Linux cannot make has a stand-in: a resolver that knows IPv6 alone, and WSL.
"""

import http.server
import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path

import pytest
from tiny_server import tiny_server, whole

import llamalab
from llamalab import find
from llamalab.checkup import machine, network
from llamalab.checkup.checks import CHECKS, checkup
from llamalab.checkup.report import FAIL, NOTE, OK, Finding, Line, Report
from llamalab.standin.answers import builtin_model

VERSION = whole("200 OK", b'{"version":"0.33.0"}')
SECRET = "s3cret"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, unused_address):
    """No server, no proxies, no model of one's own; what a test leaves there is undone."""
    for name in ("OLLAMA_HOST", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        for variable in (name, name.lower()):
            monkeypatch.setenv(variable, "")
            monkeypatch.delenv(variable)
    monkeypatch.setattr(find, "DEFAULT", unused_address)


def look(name: str) -> Finding:
    """What the check of that name finds, here and now."""
    return dict(CHECKS)[name]()


def run(*argv: str, **environment: str) -> subprocess.CompletedProcess:
    """Run the command as a person does."""
    command = [sys.executable, "-m", "llamalab", *argv]
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", env=os.environ | environment
    )


def ollama(*names: str) -> bytes:
    """An Ollama that answers every question with its version and its models."""
    models = ",".join(f'{{"name":"{name}"}}' for name in names)
    return whole("200 OK", f'{{"version":"0.33.0","models":[{models}]}}'.encode())


@pytest.fixture
def package(tmp_path, monkeypatch):
    """`package("ipywidgets", "7.8.5", *lines)`: as if that version were installed."""

    def put(name: str, version: str, *lines: str) -> None:
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        head = ("Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}")
        (folder / "METADATA").write_text("\n".join((*head, *lines)) + "\n")
        monkeypatch.syspath_prepend(tmp_path)

    return put


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache folder, where the model's file would be."""
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    else:
        monkeypatch.setattr(builtin_model, "folder", lambda: tmp_path / "cache" / "llamalab")
    builtin_model.folder().mkdir(parents=True)
    return builtin_model.folder()


# --- The whole --------------------------------------------------------------------------------


def test_the_command_prints_a_line_for_each_check_and_a_sentence():
    with tiny_server(ollama("mistral:latest")) as url:
        done = run("doctor", "--all", OLLAMA_HOST=url, COLUMNS="100")
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout
    assert [line[6:19].strip() for line in lines if line[0] != " "][:-1] == [n for n, _ in CHECKS]
    assert all(len(line) <= 100 for line in lines)
    assert lines[-1].startswith(("The lesson can begin", "All is well"))


def test_the_exit_code_is_1_where_a_line_fails(unused_address):
    done = run("doctor", OLLAMA_HOST=unused_address)
    assert done.returncode == 1
    assert f"FAIL  OLLAMA_HOST  No server answers at {unused_address}" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 line FAILs")


def test_it_changes_nothing(cache, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    before = dict(os.environ), dict(find._found), find._builtin
    llamalab.doctor()
    assert (dict(os.environ), dict(find._found), find._builtin) == before
    assert list(cache.iterdir()) == []


def test_a_check_that_fails_itself_is_a_note_without_passwords():
    def broken() -> Finding:
        raise RuntimeError(f"cannot ask http://ann:{SECRET}@proxy")

    (line,) = checkup([("Broken", broken)]).lines
    assert (line.name, line.state) == ("Broken", NOTE)
    assert "RuntimeError: cannot ask" in line.found
    assert SECRET not in line.found


def test_a_check_that_never_ends_is_not_waited_for():
    over = threading.Event()
    try:
        report = checkup([("Slow", over.wait), ("Quick", lambda: Finding(OK, "yes"))], patience=2)
    finally:
        over.set()
    assert [line.state for line in report.lines] == [NOTE, OK]
    assert "no result" in report.lines[0].found


def test_checks_are_done_side_by_side():
    together = threading.Barrier(2)

    def meet() -> Finding:
        together.wait(timeout=60)
        return Finding(OK, "met")

    assert checkup([("One", meet), ("Other", meet)], patience=60).ok


# --- Python and its packages ------------------------------------------------------------------


def test_a_python_that_is_too_old_fails(package):
    package("llamalab", "0.1.0", "Requires-Python: >=3.99")
    assert look("Python").state == FAIL
    assert ">=3.99" in look("Python").found


@pytest.mark.parametrize(
    ("check", "name", "version", "wanted", "cure"),
    [
        ("Packages", "requests", "1.0", "<3,>=2.31", 'pip install "requests<3,>=2.31"'),
        ("JupyterLab", "jupyterlab", "3.6.8", "<5,>=4.2", 'pip install "jupyterlab<5,>=4.2"'),
        ("Widgets", "ipywidgets", "7.8.5", "<9,>=8.1", "pip install"),
        ("Widgets", "jupyterlab_widgets", "1.1.11", "~=3.0", "pip install"),
    ],
)
def test_a_package_of_another_version_is_a_note(package, check, name, version, wanted, cure):
    package(name, version)
    found = look(check)
    assert found.state == NOTE
    assert found.found.startswith(f"{name} {version}, not {wanted}")
    assert cure in found.do


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> dict[str, str]:
    """The environment of a Python that has little more than what `import llamalab` needs."""
    site = tmp_path_factory.mktemp("site")
    kept = ("requests", "urllib3", "idna", "certifi", "charset_normalizer", "packaging", "psutil")
    kept += ("platformdirs", "filelock", "typing_extensions")
    for name in kept:
        distribution = importlib.metadata.distribution(name)
        for part in {Path(file).parts[0] for file in distribution.files} - {".."}:
            if not (site / part).exists():
                (site / part).symlink_to(distribution.locate_file(part))
    described = Path(str(importlib.metadata.distribution("llamalab").locate_file(".")))
    for part in described.glob("llamalab-*.dist-info"):
        (site / part.name).symlink_to(part)
    return {"PYTHONPATH": os.pathsep.join([str(site), str(Path(llamalab.__file__).parents[1])])}


@pytest.fixture(scope="module")
def of_bare(bare) -> dict[str, list[str]]:
    """What the command says there: the lines of each check."""
    command = [sys.executable, "-S", "-m", "llamalab", "doctor"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=os.environ | bare)
    assert (done.returncode, done.stderr) == (1, "")
    said, name = {}, ""
    for line in done.stdout.splitlines():
        name = line[6:19].strip() or name
        said.setdefault(name, []).append(f"{line[:6].strip()} {line[19:]}".strip())
    return said


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Packages", "FAIL no httpx, no ipykernel"),
        ("JupyterLab", "FAIL it is not installed"),
        ("Widgets", "note no ipywidgets"),
        ("Engine", "note xllamacpp is not installed"),
    ],
)
def test_what_is_missing_in_a_bare_environment_is_said_with_its_cure(of_bare, name, says):
    assert of_bare[name][0].startswith(says)
    assert "Do: python -m pip install" in " ".join(of_bare[name])


def test_a_bare_environment_s_other_lines_are_as_anywhere(of_bare):
    assert of_bare["Disk"][0].startswith("OK")
    assert of_bare["localhost"][0].startswith(("OK", "note"))
    assert not [line for lines in of_bare.values() for line in lines if "itself failed" in line]


def test_a_package_that_a_check_itself_needs_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    (line,) = checkup([("Widgets", dict(CHECKS)["Widgets"])]).lines
    assert (line.state, line.found) == (FAIL, "the package psutil is not installed")
    assert 'pip install "psutil"' in line.do


@pytest.mark.skipif(os.name == "nt", reason="makes an environment of links")
@pytest.mark.parametrize("half", ["", "3.1.11"])
def test_a_jupyterlab_of_another_environment_without_the_widgets_is_said(tmp_path, half):
    other = tmp_path / "other"
    page = other / "share/jupyter/labextensions/@jupyter-widgets/jupyterlab-manager"
    (other / "share/jupyter/lab").mkdir(parents=True)
    (other / "bin").mkdir()
    (other / "bin/python").symlink_to(sys.executable)
    if half:
        page.mkdir(parents=True)
        (page / "package.json").write_text(f'{{"version": "{half}"}}')
    script = other / "bin/jupyter-lab"
    script.write_text(
        f"import subprocess\nsubprocess.run([{sys.executable!r}, '-m', 'llamalab', 'doctor'])\n"
    )
    jupyter = {"JUPYTER_DATA_DIR": str(tmp_path), "JUPYTER_PATH": ""}
    said = subprocess.check_output(
        [other / "bin/python", script], encoding="utf-8", env=os.environ | jupyter
    )
    said = " ".join(said.split())
    assert "note Widgets Error displaying widget: JupyterLab runs from" in said
    assert ("version 3 of their other half" if half else "lacks their other half") in said
    assert "OK JupyterLab this one runs from" in said


def test_an_engine_that_does_not_load_is_a_note(tmp_path, monkeypatch):
    (tmp_path / "xllamacpp.py").write_text("raise ImportError('libgomp.so.1: not found')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = look("Engine")
    assert found.state == NOTE
    assert "libgomp.so.1" in found.found
    assert "--force-reinstall" in found.do


def test_a_machine_that_no_engine_is_made_for_is_a_note(package):
    package("llamalab", "0.1.0", 'Requires-Dist: xllamacpp; platform_machine == "elsewhere"')
    assert look("Engine").state == NOTE
    assert look("Engine").found.startswith(f"no xllamacpp for {platform.system()}")
    assert "https://ollama.com" in look("Engine").do


# --- The machine ------------------------------------------------------------------------------


def test_a_model_that_is_not_there_yet_is_a_note(cache):
    assert look("Model file").state == NOTE
    assert look("Model file").do.startswith("llamalab pull")


def test_a_model_that_is_whole_is_ok(model_file):
    assert look("Model file").state == OK


def test_a_model_that_was_cut_off_fails(cache):
    (cache / builtin_model.model_path().name).write_bytes(b"GGUF" + bytes(996))
    assert look("Model file").state == FAIL
    assert "1,000 bytes of 98,362,432" in look("Model file").found
    assert look("Model file").do.startswith("llamalab pull")


def test_a_model_with_a_wrong_byte_fails(model_file, cache):
    spoilt = cache / model_file.name
    shutil.copyfile(model_file, spoilt)
    with spoilt.open("r+b") as opened:
        opened.seek(50_000_000)
        opened.write(bytes(16))
    assert look("Model file").state == FAIL
    assert "SHA-256" in look("Model file").found


@pytest.mark.parametrize(
    ("content", "state"), [(None, NOTE), (b"<html>", FAIL), (b"GGUF\3\0\0\0", OK)]
)
def test_a_model_of_one_s_own_is_looked_at(tmp_path, monkeypatch, content, state):
    file = tmp_path / "own.gguf"
    if content:
        file.write_bytes(content)
    monkeypatch.setenv("LLAMALAB_MODEL", str(file))
    assert look("Model file").state == state
    assert "LLAMALAB_MODEL" in look("Model file").found


def test_a_disk_that_is_really_full_fails(tmp_path):
    """In a separate namespace, where anybody may mount a small disk, and nobody else sees it."""
    alone = ["unshare", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"]).returncode:
        pytest.skip("this system lets nobody mount a disk of his own")
    script = 'mount -t tmpfs -o size=9m none "$1" && cd "$1" && exec "$2" -m llamalab doctor'
    words = [*alone, "sh", "-c", script, "sh", str(tmp_path), sys.executable]
    done = subprocess.run(words, capture_output=True, encoding="utf-8")
    assert done.returncode == 1, done.stderr
    assert "FAIL  Disk         9 MB free in" in done.stdout


def test_a_disk_too_full_for_the_model_is_a_note(cache, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1e9, 9e8, 1e8))
    assert look("Disk").state == NOTE
    assert "100 MB free" in look("Disk").found
    assert "200 MB" in look("Disk").do


def test_a_console_that_is_not_utf_8_is_a_note_that_it_can_show():
    done = run("doctor", PYTHONIOENCODING="cp1252")
    assert "note  Console      cp1252" in done.stdout
    assert "Do: unset PYTHONIOENCODING" in done.stdout
    assert "?" not in done.stdout.replace("shown as ?", "")


# --- Servers ----------------------------------------------------------------------------------


def test_an_ollama_is_told_with_its_version_and_models(monkeypatch):
    with tiny_server(ollama("mistral:latest", "gemma3:1b")) as url:
        monkeypatch.setattr(find, "DEFAULT", url)
        assert look("Port 11434") == (OK, "Ollama 0.33.0", "")
        assert look("Models") == (OK, "mistral, gemma3:1b", "")


def test_the_built_in_server_is_told(monkeypatch):
    from llamalab.standin.run import BuiltinServer

    with BuiltinServer.start(speed=0) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        assert look("OLLAMA_HOST") == (OK, f"llamalab's built-in server at {server.url}", "")
        assert look("Models").state == OK
        assert look("Models").found.startswith("mistral")


def test_no_ollama_is_a_note():
    assert look("Port 11434").state == NOTE
    assert "built-in server starts" in look("Port 11434").found
    assert look("Models").state == OK


def test_a_server_without_the_lesson_s_model_fails(monkeypatch):
    with tiny_server(ollama("gemma3:1b")) as url:
        monkeypatch.setenv("OLLAMA_HOST", url)
        found = look("Models")
    assert found.state == FAIL
    assert found.found == f"Ollama 0.33.0 at {url} does not have mistral, only: gemma3:1b"
    assert found.do.startswith("llamalab pull mistral ")


def test_a_server_without_any_model_fails(monkeypatch):
    with tiny_server(ollama()) as url:
        monkeypatch.setenv("OLLAMA_HOST", url)
        assert look("Models").found.endswith("does not have mistral, and no other model")


@pytest.mark.parametrize("body", [b"<html>", b'{"version":"1"}', b'{"version":"1","models":[7]}'])
def test_a_list_of_models_that_makes_no_sense_is_a_note(monkeypatch, body):
    with tiny_server(whole("200 OK", body)) as url:
        monkeypatch.setenv("OLLAMA_HOST", url)
        assert look("Models").state == NOTE


def test_another_program_on_the_port_is_named(monkeypatch):
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{web.server_address[1]}"
    try:
        monkeypatch.setattr(find, "DEFAULT", address)
        port = look("Port 11434")
        monkeypatch.setenv("OLLAMA_HOST", address)
        asked = look("OLLAMA_HOST")
    finally:
        web.shutdown()
        web.server_close()
    assert (port.state, asked.state) == (NOTE, FAIL)
    assert f"(process {os.getpid()}) has it, which is not a model server" in port.found
    assert "the built-in server takes a different one" in port.found
    assert f"(process {os.getpid()})" in asked.found
    assert "OLLAMA_HOST" in asked.do


@pytest.mark.parametrize("value", ["htp://10.0.0.5", "a b", "http://a..b", "[::1", "x" * 70])
def test_what_is_no_address_fails(monkeypatch, value):
    monkeypatch.setenv("OLLAMA_HOST", value)
    assert look("OLLAMA_HOST").state == FAIL
    assert look("Models").state == NOTE


def test_0_0_0_0_as_a_client_s_address_is_a_note(monkeypatch):
    with tiny_server(VERSION) as url:
        port = url.rpartition(":")[2]
        monkeypatch.setenv("OLLAMA_HOST", f"0.0.0.0:{port}")
        found = look("OLLAMA_HOST")
    assert found.state == NOTE
    assert found.do == f"export OLLAMA_HOST=http://127.0.0.1:{port}"


def test_no_password_is_ever_shown(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"ann:{SECRET}@proxy.invalid:3128")
    monkeypatch.setenv("HTTPS_PROXY", f"http://ann:{SECRET}@proxy.invalid:3128")
    with tiny_server(VERSION) as url:
        for address in (url, "http://127.0.0.1:9", "http://school.invalid"):
            monkeypatch.setenv("OLLAMA_HOST", address.replace("//", f"//ann:{SECRET}@"))
            report = llamalab.doctor()
            assert "proxy.invalid:3128" in str(report)
            assert SECRET not in str(report) + report._repr_html_()


# --- The way to them --------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_that_catches_loopback_is_a_note(monkeypatch, variable):
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "school.example")
    found = look("Proxy")
    assert found.state == NOTE
    assert "127.0.0.1 and localhost" in found.found
    assert found.do == "export NO_PROXY=school.example,127.0.0.1,localhost"


def test_the_cure_for_a_proxy_cures(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    name, value = look("Proxy").do.removeprefix("export ").split("=")
    monkeypatch.setenv(name, value)
    assert look("Proxy").state == OK


def test_a_proxy_does_not_hide_a_server_on_this_machine(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with tiny_server(VERSION) as url:
        monkeypatch.setenv("OLLAMA_HOST", url)
        assert look("OLLAMA_HOST").state == OK


def test_a_proxy_that_stands_before_a_server_elsewhere_is_to_be_gone_around(monkeypatch):
    with tiny_server(whole("403 Forbidden", b"<html>")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("OLLAMA_HOST", "school.invalid:11434")
        found = look("OLLAMA_HOST")
    assert (found.state, found.do) == (FAIL, "export NO_PROXY=school.invalid")


def test_localhost_is_usually_this_machine():
    assert look("localhost").state == OK
    assert "127.0.0.1" in look("localhost").found


@pytest.mark.parametrize(
    ("addresses", "says"), [(["::1"], "::1 only"), (["192.0.2.7"], "not this machine")]
)
def test_a_localhost_without_127_0_0_1_is_a_note(monkeypatch, addresses, says):
    answer = [(0, 0, 0, "", (address, 0)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    assert look("localhost").state == NOTE
    assert says in look("localhost").found
    assert "127.0.0.1 localhost" in look("localhost").do


@pytest.fixture
def wsl(monkeypatch):
    """Linux as it is called in WSL 2, whose gateway is Windows."""
    monkeypatch.setattr(platform, "release", lambda: "5.15.153.1-microsoft-standard-WSL2")
    monkeypatch.setattr(network, "gateway", lambda: "127.0.0.1")


def test_wsl_without_any_ollama_is_a_note(wsl):
    assert look("System").state == NOTE
    assert ".wslconfig" in look("System").do


def test_wsl_sees_the_ollama_of_windows_at_another_address(wsl, monkeypatch):
    with tiny_server(VERSION) as url:
        port = url.rpartition(":")[2]
        monkeypatch.setattr(find, "DEFAULT", f"http://127.0.0.2:{port}")  # nothing is there
        found = look("System")
    assert found.state == NOTE
    assert "Ollama 0.33.0 is in Windows" in found.found
    assert found.do == f"export OLLAMA_HOST=127.0.0.1:{port}"


def test_wsl_that_sees_windows_at_127_0_0_1_is_ok(wsl, monkeypatch):
    with tiny_server(VERSION) as url:
        monkeypatch.setattr(find, "DEFAULT", url)
        assert look("System").state == OK


@pytest.mark.parametrize(
    ("route", "gateway"),
    [("eth0\t00000000\t010200C0\t0003", "192.0.2.1"), ("eth0\t000200C0\t00000000\t0001", "")],
)
def test_the_gateway_is_read_from_linux_s_routes(tmp_path, route, gateway):
    (tmp_path / "route").write_text(f"Iface\tDestination\tGateway \tFlags\n{route}\n")
    assert network.gateway(tmp_path / "route") == gateway


# --- What is shown ----------------------------------------------------------------------------

REPORT = Report(
    [
        Line("Disk", OK, "79 GB free"),
        Line("Port 11434", NOTE, "<b>python</b> & others " * 9, "kill 1"),
        Line("Model file", FAIL, "broken", "llamalab pull"),
    ]
)


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_text_keeps_to_its_width_and_its_columns(width):
    lines = REPORT.text(width).splitlines()
    assert all(len(line) <= width for line in lines)
    assert {line[:6] for line in lines[:-1]} == {"OK    ", "note  ", "FAIL  ", "      "}
    assert "                  Do: llamalab pull" in lines


def test_where_all_is_well_one_line_says_so():
    well = Report(REPORT.lines[:1])
    assert str(well) == "All is well: the lesson can begin."
    assert well._repr_html_() == f"<p>{well}</p>"
    assert well.text(every=True).splitlines()[0].startswith("OK    Disk")


def test_its_text_is_what_print_and_the_notebook_s_plain_twin_show():
    assert str(REPORT) == repr(REPORT) == REPORT.text()


def test_the_table_says_each_state_in_a_word_and_escapes_what_was_found():
    table = REPORT._repr_html_()
    assert "&lt;b&gt;python&lt;/b&gt; &amp; others" in table
    assert "<b>" not in table
    for word in ("✓</span>&nbsp;OK", "•</span>&nbsp;note", "✗</span>&nbsp;FAIL"):
        assert word in table


def test_the_last_sentence_counts():
    assert Report(REPORT.lines[:1]).summary.startswith("All is well")
    assert Report(REPORT.lines[:2]).summary.startswith("The lesson can begin; 1 note")
    assert REPORT.summary.startswith("1 line FAILs")
    assert [Report(REPORT.lines[:n]).ok for n in (1, 2, 3)] == [True, True, False]


def test_a_folder_that_is_not_for_us_to_write_to_is_a_note(monkeypatch):
    here = machine.disk()
    monkeypatch.setattr(machine.os, "access", lambda folder, mode: folder != Path.cwd())
    there = machine.disk()
    assert here.state == "OK"
    assert (there.state, "write to" in there.found) == ("note", True)
    assert "llamalab lab FOLDER" in there.do
