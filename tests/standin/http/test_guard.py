"""Who may ask: Host and Origin."""

import socket

import pytest
from raw_http import ask

LOCAL_HOSTS = [
    "",
    "localhost",
    "127.0.0.5:1",
    "192.168.1.5",
    "10.1.2.3:99",
    "0.0.0.0:11434",
    "[::1]:11434",
    "a.localhost",
    "host.docker.internal:80",
    socket.gethostname(),
]
FOREIGN_HOSTS = [
    "example.com",
    "8.8.8.8",
    "100.64.0.1",
    "169.254.1.1",
    "172.32.0.1",
    "local",
    "[2001:db8::1]:11434",
    "localhost.evil.com",
    "x.ngrok-free.app",
    "localhost:80.evil.com",
    "localhost:80@evil.com",
    "localhost@evil.com",
    "localhost/evil.com",
    "evil.local",  # a neighbour's name, which may lead anywhere
    "a/b.localhost",
    "u@x.localhost:80",
    "evil.com?.local:80.evil.com",
    "[::1].evil.com:80",
    "[::ffff:8.8.8.8]:80",
    "0x7f.1",
]
OWN_ORIGINS = [
    "http://localhost",
    "http://localhost:3000",
    "app://x",
    "file://",
    "vscode-file://vscode-app",
]
FOREIGN_ORIGINS = [
    "null",
    "http://evil.com",
    "http://localhost.evil.com",
    "http://localhost:3000.evil.com",
    "http://localhost:x",
    "http://127.0.0.1@evil.com",
    "HTTP://EVIL.COM",
    "http://localhost:3000@evil.com",
    "http://user:word@localhost",
    "http://127.0.0.1:80.evil.com",
    "http://[::1].evil.com",
    "http://evil.com#app://x",
    "http://evil.com/?http://localhost",
    "localhost",
    "*",
    "chrome-extension://abc",
    "http://192.168.1.5",
]


@pytest.mark.parametrize("host", LOCAL_HOSTS)
def test_a_name_of_this_machine_or_its_network_is_let_in(url, host):
    assert ask(url, "GET", "/api/version", headers={"Host": host})[0] == 200


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_any_other_host_gets_a_403_without_a_body(url, host):
    status, headers, body = ask(url, "GET", "/api/version", headers={"Host": host})
    assert (status, body, headers["Content-Length"]) == (403, b"", "0")
    assert headers["Content-Type"] is None


@pytest.mark.parametrize("origin", OWN_ORIGINS)
def test_a_page_of_this_machine_is_let_in_and_told_so(url, origin):
    status, headers, _ = ask(url, "GET", "/api/version", headers={"Origin": origin})
    assert (status, headers["Access-Control-Allow-Origin"], headers["Vary"]) == (
        200,
        origin,
        "Origin",
    )


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
@pytest.mark.parametrize("path", ["/api/version", "/nothing"])
def test_a_page_from_elsewhere_gets_a_403_on_every_path(url, path, origin):
    status, headers, body = ask(url, "GET", path, headers={"Origin": origin})
    assert (status, body, headers["Content-Length"]) == (403, b"", "0")
    assert headers["Access-Control-Allow-Origin"] is None


def test_the_servers_own_page_needs_no_permission(url):
    status, headers, _ = ask(url, "GET", "/api/version", headers={"Origin": url})
    assert (status, headers["Access-Control-Allow-Origin"]) == (200, None)


def test_a_stream_carries_the_permission_too(url):
    request = {"model": "mistral", "prompt": "Are you listening?"}
    headers = ask(url, "POST", "/api/generate", request, {"Origin": "http://localhost"})[1]
    assert headers["Access-Control-Allow-Origin"] == "http://localhost"
    assert headers["Content-Type"] == "application/x-ndjson"


PREFLIGHT = {"Access-Control-Request-Method": "POST"}


def test_a_permission_does_not_leak_into_the_next_readers_stream(url):
    asked = {"model": "mistral", "prompt": "Are you listening?"}
    ask(url, "POST", "/api/generate", asked, {"Origin": "http://localhost:3000"})
    _, headers, _ = ask(url, "POST", "/api/generate", asked)
    assert "Access-Control-Allow-Origin" not in headers


def test_a_preflight_from_this_machine_is_told_what_it_may(url):
    origin = {"Origin": "http://localhost:3000", **PREFLIGHT}
    status, headers, body = ask(url, "OPTIONS", "/api/chat", headers=origin)
    assert (status, body) == (204, b"")
    assert headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert headers["Access-Control-Allow-Methods"] == "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"
    assert headers["Access-Control-Max-Age"] == "43200"
    assert "Authorization,Content-Type" in headers["Access-Control-Allow-Headers"]


def test_a_preflight_from_elsewhere_is_refused_with_the_allow_header(url):
    origin = {"Origin": "http://evil.com", **PREFLIGHT}
    status, headers, body = ask(url, "OPTIONS", "/api/chat", headers=origin)
    assert (status, body, headers["Allow"]) == (403, b"", "POST")
