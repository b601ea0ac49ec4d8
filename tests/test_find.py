"""Which server is it? OLLAMA_HOST in all its forms, proxies, and what else may answer."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from patience import PATIENCE
from tiny_server import tiny_server, whole

from llamalab import find
from llamalab.address import keep_proxies_off_loopback, parse_host
from llamalab.errors import ServerNotFound
from llamalab.standin.run import BuiltinServer

VERSION = whole("200 OK", b'{"version":"0.33.0"}')


@pytest.fixture(autouse=True)
def no_address(monkeypatch):
    """No address and no proxies in the environment; what a test leaves there is undone."""
    for name in ("OLLAMA_HOST", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        for variable in (name, name.lower()):
            monkeypatch.setenv(variable, "")  # notes what was there, be it nothing
            monkeypatch.delenv(variable)
    monkeypatch.setattr(find, "_found", {})


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("", "http://127.0.0.1:11434"),
        ("1.2.3.4", "http://1.2.3.4:11434"),
        ("example.com", "http://example.com:11434"),
        ("example.com:80", "http://example.com:80"),
        (":1234", "http://127.0.0.1:1234"),
        ("1.2.3.4:1234", "http://1.2.3.4:1234"),
        ("http://1.2.3.4", "http://1.2.3.4:80"),
        ("https://1.2.3.4", "https://1.2.3.4:443"),
        ("https://h/ollama", "https://h:443/ollama"),
        ("https://h:8443/ollama/", "https://h:8443/ollama"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:1234", "http://127.0.0.1:1234"),
        ("http://0.0.0.0:1234/", "http://127.0.0.1:1234"),
        ("::", "http://[::1]:11434"),
        ("::1", "http://[::1]:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("[::1]:1337", "http://[::1]:1337"),
        (" 1.2.3.4 ", "http://1.2.3.4:11434"),
        ('"1.2.3.4"', "http://1.2.3.4:11434"),
        ("'http://1.2.3.4:5'", "http://1.2.3.4:5"),
        (":66000", "http://127.0.0.1:11434"),
        (":-1", "http://127.0.0.1:11434"),
        ("h:port", "http://h:11434"),
        ("ollama.com", "https://ollama.com:443"),
        ("http://user:pw@h:1", "http://user:pw@h:1"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(value, address):
    assert parse_host(value) == address
    assert parse_host(address) == address


def test_the_instructors_address_comes_first(monkeypatch, capsys):
    with tiny_server(VERSION) as url:
        monkeypatch.setenv("OLLAMA_HOST", url.removeprefix("http://"))
        assert find.server() == url
    assert capsys.readouterr().out == f"Server: {url} (Ollama 0.33.0, from OLLAMA_HOST)\n"


def test_quiet_says_nothing(monkeypatch, capsys):
    with tiny_server(VERSION) as url:
        monkeypatch.setenv("OLLAMA_HOST", url)
        find.server(quiet=True)
    assert capsys.readouterr().out == ""


def test_an_ollama_on_this_machine_comes_second(monkeypatch, capsys):
    with tiny_server(VERSION) as url:
        monkeypatch.setattr(find, "DEFAULT", url)
        assert find.server() == url
    assert capsys.readouterr().out == f"Server: {url} (Ollama 0.33.0)\n"


def test_the_built_in_server_comes_last_and_is_started_once(monkeypatch, capsys, unused_address):
    monkeypatch.setattr(find, "DEFAULT", unused_address)
    monkeypatch.setattr(find, "_builtin", None)
    first = find.server()
    assert first.startswith("http://127.0.0.1:")
    assert find.server() == first
    assert capsys.readouterr().out == (
        f"Server: {first} (llamalab's built-in server, started just now)\n"
        f"Server: {first} (llamalab's built-in server)\n"
    )
    find.stop()


def test_who_needs_the_built_in_server_gets_it_beside_an_ollama(monkeypatch, capsys):
    monkeypatch.setattr(find, "_builtin", None)
    with tiny_server(VERSION) as url:
        monkeypatch.setattr(find, "DEFAULT", url)
        monkeypatch.setenv("OLLAMA_HOST", url)
        ours = find.server(builtin=True)
        assert ours != url
        assert find.address() == ours
    assert capsys.readouterr().out == (
        f"Server: {ours} (llamalab's built-in server, started just now)\n"
    )
    find.stop()


def test_who_needs_the_built_in_server_and_has_it_keeps_it(monkeypatch, unused_address):
    monkeypatch.setattr(find, "DEFAULT", unused_address)
    monkeypatch.setattr(find, "_builtin", None)
    with BuiltinServer.start(speed=0) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        assert find.server(builtin=True) == server.url
    assert find._builtin is None


def test_many_threads_that_look_at_once_start_one_server(monkeypatch, unused_address):
    monkeypatch.setattr(find, "DEFAULT", unused_address)
    monkeypatch.setattr(find, "_builtin", None)
    with ThreadPoolExecutor(8) as threads:
        addresses = set(threads.map(lambda _: find.address(), range(8)))
    assert len(addresses) == 1
    find.stop()


def test_an_address_that_was_asked_for_and_is_dead_is_an_error(monkeypatch, unused_address):
    monkeypatch.setenv("OLLAMA_HOST", unused_address)
    with pytest.raises(ServerNotFound, match="nothing listens there") as caught:
        find.server()
    assert "OLLAMA_HOST" in str(caught.value)


def test_a_name_nobody_knows_is_said(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "nosuch.invalid")
    with pytest.raises(ServerNotFound, match="that name is not known"):
        find.server()


@pytest.mark.parametrize("answer", [whole("200 OK", b"<html>", "text/html"), whole("404 no", b"")])
def test_something_that_is_no_model_server_is_said(answer):
    with tiny_server(answer) as url, pytest.raises(ServerNotFound, match="not a model server"):
        find.who_answers(url)


def test_a_server_that_only_knows_tags_will_do():
    with tiny_server(whole("200 OK", b'{"models":[]}')) as url:
        assert find.who_answers(url) == "a server that speaks Ollama's API"


def test_a_password_is_not_shown(monkeypatch, capsys):
    with tiny_server(VERSION) as url:
        monkeypatch.setenv("OLLAMA_HOST", url.replace("//", "//ann:secret@"))
        assert find.server() == url
    assert "secret" not in capsys.readouterr().out


@pytest.mark.parametrize("value", ["htp://10.0.0.5", "a b", "http://a..b", "[::1", "x" * 70])
def test_what_is_no_address_is_not_found(monkeypatch, value):
    monkeypatch.setenv("OLLAMA_HOST", value)
    with pytest.raises(ServerNotFound, match="No server answers at"):
        find.server()


def test_any_loopback_address_is_kept_off_the_proxy(monkeypatch, unused_address):
    monkeypatch.setenv("HTTP_PROXY", unused_address)
    keep_proxies_off_loopback()
    for address in ("http://127.0.0.5:1", "http://localhost:1", "http://[::1]:1"):
        assert not requests.utils.get_environ_proxies(address)


def test_the_cure_speaks_of_ollama_host_only_where_it_is_to_blame(monkeypatch):
    assert "llamalab serve" in find.what_to_do("http://127.0.0.1:9")
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    assert "OLLAMA_HOST" in find.what_to_do("http://127.0.0.1:9")
    assert "OLLAMA_HOST" not in find.what_to_do("http://127.0.0.1:10")


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_never_catches_a_loopback_address(monkeypatch, variable, unused_address):
    monkeypatch.setenv(variable, unused_address)
    with tiny_server(VERSION) as url:
        with pytest.raises(requests.RequestException):
            requests.get(url, timeout=PATIENCE)
        keep_proxies_off_loopback()
        assert requests.get(url, timeout=PATIENCE).json() == json.loads(b'{"version":"0.33.0"}')


def test_what_no_proxy_said_before_is_kept(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "school.example")
    keep_proxies_off_loopback()
    keep_proxies_off_loopback()
    assert os.environ["NO_PROXY"] == "school.example,localhost,127.0.0.1,127.0.0.0/8,::1"


def test_without_a_proxy_the_environment_is_left_alone(monkeypatch):
    keep_proxies_off_loopback()
    assert "NO_PROXY" not in os.environ


def test_looking_again_when_ollama_host_changes(monkeypatch):
    with tiny_server(VERSION) as first, tiny_server(VERSION) as second:
        monkeypatch.setenv("OLLAMA_HOST", first)
        assert find.address() == first
        monkeypatch.setenv("OLLAMA_HOST", second)
        assert find.address() == second
