"""What went wrong between a server and us: from what came back to a sentence and what to do.

One table for all who ask a server: `client`, the command line, the chat box, the doctor. Its
first row that fits an answer is taken.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import LocationParseError

from llamalab import keys
from llamalab.address import parse_host, right_address, without_password
from llamalab.errors import (
    BadAnswer,
    LlamalabError,
    ModelNotFound,
    ServerBusy,
    ServerNotFound,
    command,
)

# What requests raises for an address where nothing answers, or for what is not an address.
BAD_CONNECTION = (requests.RequestException, UnicodeError, LocationParseError)
OURS = ("mistral", "smollm2:135m")  # the models of the built-in server
ANSWERS_THE_REST = "llamalab pull   (fetches a model that answers the rest)"
if sys.platform == "emscripten":  # a web page, see `find.page`
    ANSWERS_THE_REST = "install the lesson on a computer, where its small model answers the rest"


class Answer:
    """An answer that is not the one asked for; the table's rows look at it."""

    def __init__(self, response: requests.Response, model: str = ""):
        self.response, self.model = response, model
        self.status = response.status_code
        try:
            body = response.content
        except requests.RequestException:  # cut off
            body = b""
        self.empty, self.page = not body.strip(), body.lstrip()[:1] == b"<"
        self.text = body[:2000].decode(errors="replace")
        try:
            self.words = str(response.json()["error"])  # Ollama says why
        except (requests.RequestException, ValueError, KeyError, TypeError, RuntimeError):
            self.words = ""
        self.of_class = "class server" in self.words  # nginx, as `llamalab share` sets it up
        self.address = base(response.url)
        asked = response.history[0] if response.history else response
        self.moved = asked.request.method != response.request.method and self.address

    def fields(self) -> dict[str, str]:
        """What a row's sentences may name."""
        parts = urlsplit(self.address)
        fetch = f"ollama pull {self.model}   (see llamalab.models() for what it has)"
        if self.model in OURS:
            fetch += "; llamalab.server(builtin=True) has it, too"
        return {
            "status": str(self.status),
            "words": self.words,
            "model": self.model,
            "address": self.address,
            "right": right_address(self.address),
            "https": f"https://{parts.netloc}{parts.path}",
            "with_key": f"{parts.scheme}://USER:KEY@{parts.netloc}{parts.path}",
            "sheet": f"{parts.scheme}://NAME:KEY@{parts.netloc}",
            "key": keys.sent_with(self.response.request),
            "when": when(self.response, self.words),
            "fetch": fetch,
        }


class Row(NamedTuple):
    """One kind of answer; the sentences are filled in from `Answer.fields`."""

    fits: Callable[[Answer], object]
    error: type[LlamalabError]
    what: str
    why: str = "{words}"
    do: str = ""


TABLE = (
    Row(
        lambda it: it.moved,
        BadAnswer,
        "The server has moved to {address}.",
        "it redirects, and a redirected POST loses what was posted",
        "use that address",
    ),
    Row(
        lambda it: "only as recordings" in it.words,
        ModelNotFound,
        "The built-in server has no recording of this request.",
        do=ANSWERS_THE_REST,
    ),
    Row(
        lambda it: it.status in (404, 405) and right_address(it.address) != it.address,
        BadAnswer,
        "The address {address} is too long: its end belongs to the requests.",
        "it is the address of one endpoint or protocol, not of the server",
        "use {right}",
    ),
    Row(
        lambda it: it.status == 404 and it.model and "not found" in it.words,
        ModelNotFound,
        "The server at {address} has no model '{model}'.",
        do="{fetch}",
    ),
    Row(  # these are nginx's own words, from `llamalab share`
        lambda it: it.status == 401 and it.of_class,
        BadAnswer,
        "The class's server wants a key (HTTP 401).",
        "{key}",
        "type the line on your sheet once more: uv run llamalab --server {sheet}",
    ),
    Row(
        lambda it: it.status == 403 and it.of_class,
        BadAnswer,
        "The class's server does not offer this (HTTP 403).",
        "it lets only the requests of the lesson through",
        "do this on your own computer: llamalab.server(builtin=True), or install Ollama",
    ),
    Row(
        lambda it: it.status == 413 and it.of_class,
        BadAnswer,
        "The request is too long (HTTP 413).",
        "the class's server takes at most 1 MiB",
        "ask with a shorter prompt",
    ),
    Row(
        lambda it: it.status == 502 and it.of_class,
        ServerNotFound,
        "The class's server answers, but no model server (HTTP 502).",
        "it reaches none, or the one that was asked has just failed",
        "ask again in a minute; if that does not help, tell your instructor",
    ),
    Row(
        lambda it: it.status == 504 and it.of_class,
        ServerBusy,
        "The model has not begun to answer in time (HTTP 504).",
        "it is being loaded, or too many ask at once",
        "ask again {when}",
    ),
    Row(
        lambda it: it.status == 401,
        BadAnswer,
        "The server at {address} wants a key (HTTP 401).",
        "{key}",
        "write user and key into the address: OLLAMA_HOST={with_key}",
    ),
    Row(  # its guard against DNS rebinding; a wrong Origin looks the same, but we send none
        lambda it: it.status == 403 and it.empty,
        BadAnswer,
        "The server refuses the request (HTTP 403).",
        "Ollama does not answer to this host name: a tunnel or a proxy leads to it",
        "let the tunnel send `Host: localhost:11434` (ngrok: --host-header=localhost:11434)",
    ),
    Row(
        lambda it: it.status == 403 and it.page,
        BadAnswer,
        "The server refuses the request (HTTP 403).",
        "the proxy in front of it does not allow this",
        "ask the person who runs the server",
    ),
    Row(
        lambda it: it.status == 429,
        ServerBusy,
        "The server takes no more requests from you for now (HTTP 429).",
        do="ask again {when}",
    ),
    Row(
        lambda it: it.status == 503,
        ServerBusy,
        "The server is busy (HTTP 503).",
        do="ask again {when}",
    ),
    Row(
        lambda it: it.status == 502 and not it.words,
        ServerNotFound,
        "A proxy at {address} answers, but no model server (HTTP 502).",
        "the proxy cannot reach the model server",
        "ask again in a minute; if that does not help, the server has to be started",
    ),
    Row(
        lambda it: it.status == 504 and not it.words,
        ServerBusy,
        "A proxy at {address} answers, but no model server (HTTP 504).",
        "the proxy has stopped waiting: a model is being loaded, or too many ask",
        "ask again {when}",
    ),
    Row(
        lambda it: it.status == 413 and it.page,
        BadAnswer,
        "The request is too long (HTTP 413).",
        "the proxy in front of the server does not let it through",
        "ask with a shorter prompt",
    ),
    Row(  # nginx and Go's servers
        lambda it: it.status == 400 and re.search("HTTPS (port|server)", it.text),
        BadAnswer,
        "The server at {address} speaks https only (HTTP 400).",
        do="use {https}",
    ),
)

REST = Row(lambda it: True, BadAnswer, "The server refuses the request (HTTP {status}).")


def explain(response: requests.Response, model: str = "") -> LlamalabError | None:
    """The error for an answer that the table knows, `model` being the one asked for; else None."""
    answer = Answer(response, model)
    row = next((row for row in TABLE if row.fits(answer)), None)
    return row and _filled_in(row, answer)


def refusal(response: requests.Response, model: str = "") -> LlamalabError:
    """The error for any answer that is not the one asked for."""
    return explain(response, model) or _filled_in(REST, Answer(response, model))


def _filled_in(row: Row, answer: Answer) -> LlamalabError:
    fields = answer.fields()
    sentences = (sentence.format_map(fields) for sentence in (row.what, row.why, row.do))
    return row.error(*sentences, status=answer.status)


def when(response: requests.Response, words: str = "") -> str:
    """When to ask again, from the headers or from what is said of a quota.

    Source: RFC 9110, section 10.2.3 (Retry-After: seconds, or a date).
    """
    for name in ("Retry-After", "RateLimit-Reset", "X-RateLimit-Reset"):
        value = response.headers.get(name, "").strip()
        try:
            seconds = float(value)
            seconds -= time.time() if seconds > 1e9 else 0  # some write a date so
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - time.time()
            except (ValueError, TypeError):
                continue
        if 0 <= seconds < 1e8:
            return f"in {duration(seconds)}"
    for unit, stem in (("hour", "hour"), ("day", "dai|day"), ("week", "week"), ("month", "month")):
        if re.search(rf"\b({stem})", words, re.IGNORECASE):
            return f"when the {unit} is over"
    return "when your quota allows it" if "quota" in words.lower() else "in a minute"


def duration(seconds: float) -> str:
    """A time in words, rounded up.

    >>> duration(1), duration(90), duration(3700), duration(200_000)
    ('1 second', '90 seconds', '62 minutes', '56 hours')
    """
    for unit, length, most in (("second", 1, 120), ("minute", 60, 7200), ("hour", 3600, 1e10)):
        if seconds <= most:
            count = max(1, -int(-seconds // length))
            return f"{count} {unit}{'s' if count > 1 else ''}"
    raise ValueError(seconds)


def base(url: str) -> str:
    """The server's address from the address of one of its endpoints, without a key.

    >>> base("http://ada:key@192.0.2.7:8080/ollama/api/generate")
    'http://192.0.2.7:8080/ollama'
    """
    return without_password(re.sub(r"/api/[^/]*$", "", url))


# ---- an answer without a text


def silence(records: Iterable[dict]) -> str:
    """Why an answer has no text; "" where that is as it should be (the model calls a tool).

    >>> print(silence([{"response": "", "done": True, "done_reason": "load"}]))
    The model was loaded and asked nothing: the request has no prompt. Is a key mistyped?
    """
    thinking, last = False, {}
    for last in records:
        message = last.get("message")
        message = message if isinstance(message, dict) else {}
        if message.get("tool_calls"):
            return ""
        thinking = thinking or bool(last.get("thinking") or message.get("thinking"))
    reason = last.get("done_reason")
    if reason in ("load", "unload"):
        return f"The model was {reason}ed and asked nothing: the request has no prompt. " + (
            "Is a key mistyped?"
        )
    if reason == "length" and thinking:
        return (
            "The model has used up its tokens (num_predict) with thinking: there is no text. "
            "Allow more, or send think=False."
        )
    if reason == "length":
        return "The model has used up its tokens (num_predict), and there is no text."
    if thinking:
        return "The model has only thought: there is no text in its answer."
    return "The answer is complete, but it has no text."


# ---- no answer at all


def not_found(address: str, error: Exception) -> ServerNotFound:
    """The error for an address where no server answers, with the command that fixes it."""
    shown = without_password(address)
    what = f"No server answers at {shown}."
    if isinstance(error, requests.exceptions.SSLError) and _NO_TLS.search(str(error)):
        plain = shown.replace("https://", "http://", 1)
        return ServerNotFound(what, why="it does not speak https", do=f"write http://: {plain}")
    return ServerNotFound(what, why=_reason(error), do=what_to_do(address))


def not_begun(seconds: float) -> ServerBusy:
    """The error for a server that has taken a request, and says nothing for so long."""
    what = f"The server has not begun to answer in {seconds:g} seconds."
    return ServerBusy(what, "it is loading a model, or others wait too", do="ask again later")


_NO_TLS = re.compile("wrong.version.number|record layer failure|packet length|http.request", re.I)


def what_to_do(address: str) -> str:
    """The command for a student whose server is not there."""
    asked = os.environ.get("OLLAMA_HOST", "").strip()
    if asked and without_password(parse_host(asked)) == without_password(address):
        return command("unset OLLAMA_HOST", "Remove-Item Env:OLLAMA_HOST") + "; llamalab"
    return "llamalab serve"


def _reason(error: Exception) -> str:
    """One sentence instead of the chain of exceptions that requests wraps."""
    text = str(error)
    if isinstance(error, (requests.exceptions.InvalidSchema, ValueError, LocationParseError)):
        return "that is not an address"
    if isinstance(error, requests.exceptions.ProxyError):
        return "a proxy in between refuses (see HTTP_PROXY and NO_PROXY)"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted here (see REQUESTS_CA_BUNDLE)"
    if isinstance(error, requests.Timeout):
        return "it does not answer in time"
    if "getaddrinfo" in text or "NameResolution" in text or "resolve" in text:
        return "that name is not known"
    if "refused" in text or "10061" in text:
        return "nothing listens there (connection refused)"
    if "aborted" in text or "reset" in text or "10054" in text:
        return "it closes the connection without an answer"
    return "the connection fails"
