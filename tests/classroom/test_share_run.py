"""`llamalab share` as an instructor types it: run, changed while it runs, watched, and ended."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psutil
import pytest
import requests
from nginx_class import INSTALL, NGINX, RECORDED
from opening import need_ended
from patience import PATIENCE
from tiny_server import free_port

from llamalab import cli
from llamalab.classroom.share import addresses, command, program, students, watch
from llamalab.errors import LlamalabError


def llamalab(*words: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "llamalab", *words]
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=PATIENCE, **options
    )


@contextlib.contextmanager
def running(*words: str):
    """`llamalab share ... --run`: the process and what it has printed until the class may come."""
    command = [sys.executable, "-m", "llamalab", "share", *words, "--run"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if line.startswith("See it:"):
                    break
            yield process, "".join(lines)
        finally:
            process.terminate()


def get(folder: Path, place: str, number: int) -> int:
    auth = students.load(folder)[number][1:]
    return requests.get(f"http://{place}/api/version", auth=auth, timeout=PATIENCE).status_code


def test_from_names_to_a_class_and_its_end(need, tmp_path):
    need(*NGINX, do=INSTALL)
    place, folder = f"127.0.0.1:{free_port()}", tmp_path / "my class"
    (tmp_path / "names.csv").write_text("Ada\nBen\n")
    out = ("--out", str(folder))
    names = ("--students", str(tmp_path / "names.csv"), "--listen", place)
    with running(*names, *out) as (process, printed):
        assert f"http://{place}" in printed
        assert "plain HTTP" in printed
        keys = [student.key for student in students.load(folder)]
        assert not [key for key in keys if key in printed]
        assert [get(folder, place, number) for number in (0, 1)] == [200, 200]
        auth = students.load(folder)[0][1:]
        requests.post(f"http://{place}/api/generate", json=RECORDED, auth=auth, timeout=PATIENCE)

        conf = (folder / "nginx.conf").read_text()
        elsewhere = os.environ | {"OLLAMA_HOST": "127.0.0.1:9"}  # would be written, without need
        changed = llamalab("share", "--withdraw", "Ada", "--add", "Eve", *out, env=elsewhere)
        assert (folder / "nginx.conf").read_text() == conf
        assert "nginx:    it runs, and has read the keys again" in changed.stdout
        assert students.load(folder)[0].key == ""
        assert requests.get(f"http://{place}/", auth=("ada", keys[0])).status_code == 401
        assert [get(folder, place, number) for number in (1, 2)] == [200, 200]

        watched = llamalab("share", "--watch", *out)
        assert re.search(r"^Ben +-( +\S+){4}$", watched.stdout, re.M)

        again = llamalab("share", "--run", *out)
        assert again.returncode == 1
        assert "nginx runs already" in again.stderr
        assert (folder / "nginx.conf").read_text() == conf

        nginx = program.running(folder)
        workers = nginx.children()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(PATIENCE) == 0
        assert rest.endswith("Stopped.\n")
    assert not psutil.pid_exists(nginx.pid)
    need_ended(workers)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://{place}")


@pytest.mark.skipif(os.name != "posix", reason="kills as a system does it")
def test_nginx_that_is_killed_ends_the_command_with_a_word(need, tmp_path):
    need(*NGINX, do=INSTALL)
    words = ("--students", "1", "--listen", f"127.0.0.1:{free_port()}", "--out", str(tmp_path))
    with running(*words) as (process, _):
        program.running(tmp_path).terminate()
        assert process.wait(PATIENCE) == 1


def test_a_port_that_is_taken_is_said_before_nginx_starts(need, tmp_path, unused_address):
    need(*NGINX, do=INSTALL)
    taken = unused_address.removeprefix("http://")
    done = llamalab("share", "--students", "1", "--listen", taken, "--out", str(tmp_path), "--run")
    assert done.returncode == 1
    assert f"nginx cannot listen at {taken}" in done.stderr
    assert "another program listens there" in done.stderr


def test_without_nginx_the_install_command_is_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(program, "PLACES", ())
    words = ["share", "--students", "2", "--listen", "127.0.0.1", "--out", str(tmp_path / "c")]
    assert cli.main([*words, "--run"]) == 1
    said = capsys.readouterr().err
    assert "nginx is not installed" in said
    for install in ("apt install nginx", "brew install nginx", "winget install nginxinc.nginx"):
        assert install in said
    assert cli.main(words) == 0  # the files can be made without it


def test_an_address_that_is_not_this_machine_s_is_said():
    with pytest.raises(LlamalabError, match="not an address of this machine"):
        addresses.need_free(addresses.Place("192.0.2.77", 8080))
    with pytest.raises(LlamalabError, match="not an address of this machine"):
        addresses.need_free(addresses.Place("no-such-host.invalid", 8080))


def test_what_was_said_once_is_kept_and_can_be_changed(tmp_path, unused_address, capsys):
    folder, first = tmp_path / "c", "127.0.0.1:8081"
    call = command.Asked(str(folder), "2", upstream=[unused_address], listen=first)
    command.share(call)
    command.share(command.Asked(str(folder)))
    assert command.load(folder).listen == (("127.0.0.1", 8081))
    assert f"listen {first};" in (folder / "nginx.conf").read_text()
    command.share(command.Asked(str(folder), listen="127.0.0.1:8082"))
    assert "http://student1:" in (sheet := (folder / "sheets.html").read_text())
    assert "@127.0.0.1:8082" in sheet
    assert f"the address was http://{first}: print the sheets again" in capsys.readouterr().out
    (folder / command.SETTINGS).write_text("{}")
    with pytest.raises(LlamalabError, match="cannot be read"):
        command.share(command.Asked(str(folder)))


def test_a_class_that_is_not_there_cannot_be_watched(tmp_path):
    with pytest.raises(LlamalabError, match="There is no class"):
        command.share(command.Asked(str(tmp_path), watch=True))


def test_open_connections_are_a_student_s_where_only_one_asks_from_an_address():
    class_of_three = [students.Student(name, name.lower(), "key") for name in ("Ada", "Ben", "Eve")]
    asked = {"path": "/api/tags", "status": "200", "complete": "OK", "upstream": "gpu:11434"}
    log = [
        {**asked, "student": login, "address": address}
        for login, address in [("ada", "192.0.2.1"), ("ben", "192.0.2.9"), ("eve", "192.0.2.9")]
    ]
    table = watch.table(class_of_three, log, Counter({"192.0.2.1": 2, "192.0.2.9": 4}), 3)
    assert table.startswith("3 answers running, 6 connections;")
    rows = {line.split()[0]: line.split()[-1] for line in table.splitlines()[3:6]}
    assert rows == {"Ada": "2", "Ben": "-", "Eve": "-"}


def test_a_broken_line_in_the_log_is_passed_over(tmp_path):
    log = tmp_path / "access.log"
    log.write_bytes(b'alf a line"}\n[]\n{"time": "yesterday"}\n\xff\n')
    assert list(watch.recent(log, watch.now())) == []
    assert list(watch.recent(tmp_path / "none.log", watch.now())) == []
