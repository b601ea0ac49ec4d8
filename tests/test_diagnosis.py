"""From an answer's status and shape to the right sentence, wherever it is asked for."""

import email.utils
import time

import pytest
from tiny_server import head, tiny_server, whole

import llamalab
from llamalab import find
from llamalab.checkup import network
from llamalab.diagnosis import silence
from llamalab.errors import BadAnswer, ModelNotFound, ServerBusy, ServerNotFound
from llamalab.standin.run import BuiltinServer
from llamalab.views.chat_box import ChatBox

PAGE = b"<html><center>nginx</center></html>"


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    return head(status, *headers, f"Content-Length: {len(body)}", "Connection: close") + body


def error(words: str) -> bytes:
    return f'{{"error":"{words}"}}'.encode()


REFUSALS = {
    "Ollama's Host check": (answer("403 Forbidden"), BadAnswer, "--host-header"),
    "a proxy forbids": (answer("403 Forbidden", PAGE), BadAnswer, "the proxy in front of it"),
    "no key": (answer("401 Unauthorized", PAGE), BadAnswer, "no key was sent"),
    "seconds": (answer("429 Many", b"", "Retry-After: 30"), ServerBusy, "again in 30 seconds"),
    "a quota": (
        answer("429 Many", error("you've reached your weekly usage limit")),
        ServerBusy,
        "when the week is over",
    ),
    "nobody home": (answer("502 Bad Gateway", PAGE), ServerNotFound, "the proxy cannot reach"),
    "too slow": (answer("504 Gateway Timeout", PAGE), ServerBusy, "has stopped waiting"),
    "busy": (answer("503 Busy", error("server busy")), ServerBusy, "server busy"),
    "too long": (answer("413 Large", PAGE), BadAnswer, "shorter prompt"),
    "TLS only": (
        answer("400 Bad Request", b"Client sent an HTTP request to an HTTPS server.\n"),
        BadAnswer,
        "use https://127.0.0.1",
    ),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_is_said_in_the_same_words_by_all_who_ask(monkeypatch, kind):
    refused, family, words = REFUSALS[kind]
    with tiny_server(refused) as url:
        with pytest.raises(family, match=words) as asked:
            llamalab.generate("?", server=url)
        box = ChatBox(server=url)
        box.ask("?")
        monkeypatch.setenv("OLLAMA_HOST", url)
        with pytest.raises(ServerNotFound, match=words):
            llamalab.server()
        if kind not in ("too long",):
            found = network.ollama_host()
            assert words in f"{found.found} {found.do}"
    assert box.trouble == str(asked.value)
    assert f" {asked.value.status} ".encode() in refused[:14]


def test_a_date_says_when_to_ask_again():
    later = email.utils.formatdate(time.time() + 3 * 3600, usegmt=True)
    with (
        tiny_server(answer("429 Many", b"", f"Retry-After: {later}")) as url,
        pytest.raises(ServerBusy, match="ask again in 3 hours"),
    ):
        llamalab.generate("?", server=url)


@pytest.mark.parametrize("end", ["/api", "/api/generate", "/v1", "/v1/chat/completions"])
def test_an_endpoint_s_address_is_answered_with_the_server_s(monkeypatch, end):
    with BuiltinServer.start(speed=0) as server:
        with pytest.raises(BadAnswer, match=f"use {server.url}$"):
            llamalab.generate("?", server=server.url + end)
        monkeypatch.setenv("OLLAMA_HOST", server.url + end)
        with pytest.raises(ServerNotFound, match=f"use {server.url}$"):
            llamalab.server()


def test_https_where_there_is_none_is_told_to_write_http(monkeypatch):
    with BuiltinServer.start(speed=0) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url.replace("http", "https"))
        with pytest.raises(ServerNotFound, match=f"write http://: {server.url}"):
            llamalab.server()
        assert network.ollama_host().do == f"write http://: {server.url}"


@pytest.fixture
def moved():
    """The address of a server that has moved to the built-in one, and that one's."""
    with BuiltinServer.start(speed=0) as server:

        def redirect(connection) -> None:
            path = seen[-1].split()[1].decode()
            connection.sendall(answer("301 Moved", b"", f"Location: {server.url}{path}"))

        seen = []
        with tiny_server(redirect, seen) as url:
            yield url, server.url


def test_server_returns_the_address_after_redirects(moved, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", moved[0])
    assert llamalab.server(quiet=True) == moved[1]
    assert llamalab.generate("Are you listening?").startswith("Yes")


def test_a_post_that_a_redirect_turned_into_a_get_is_said(moved):
    with pytest.raises(BadAnswer, match=f"moved to {moved[1]}"):
        llamalab.generate("Are you listening?", server=moved[0])


def test_the_server_that_lacks_a_model_is_named_and_the_one_that_has_it():
    missing = error("model 'smollm2:135m' not found")
    with (
        tiny_server(answer("404 Not Found", missing)) as url,
        pytest.raises(ModelNotFound) as caught,
    ):
        llamalab.generate("?", model="smollm2:135m", server=url)
    assert caught.value.what == f"The server at {url} has no model 'smollm2:135m'."
    assert "ollama pull smollm2:135m" in caught.value.do
    assert "builtin=True" in caught.value.do


@pytest.mark.parametrize("body", [b'{"version":null}', b'{"version":7}', b'{"version":""}'])
def test_a_version_that_is_none_is_not_ollama_s(body):
    with tiny_server(whole("200 OK", body)) as url:
        assert find.who_answers(url) == "a server that speaks Ollama's API"


@pytest.mark.parametrize(
    ("last", "says"),
    [
        ({"done_reason": "load"}, "has no prompt"),
        ({"done_reason": "length", "thinking": "Hm"}, "with thinking"),
        ({"done_reason": "stop", "message": {"thinking": "Hm"}}, "only thought"),
        ({"done_reason": "stop", "message": "?"}, "has no text"),
    ],
)
def test_an_answer_without_a_text_says_why(last, says):
    assert says in silence([last])


def test_a_tool_call_needs_no_text():
    assert silence([{"message": {"tool_calls": [{}]}}, {"message": {}, "done": True}]) == ""
