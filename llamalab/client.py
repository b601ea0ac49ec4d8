"""Talking to a server with requests, once a student has done it by hand.

Everything goes through `post`: it turns what can go wrong into the errors of `llamalab.errors`.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import tee
from typing import TypeVar

import requests

from llamalab import diagnosis, find, keys
from llamalab.address import keep_proxies_off_loopback, parse_host
from llamalab.errors import BadAnswer, BrokenStream, ModelNotFound
from llamalab.wire import fragments_of, join_fragments, lines_of, load_record

MODEL = "mistral"

# Seconds: a server that is there accepts at once; a model's first load takes its time
# (Ollama itself gives up after five minutes).
CONNECT, READ = 5, 330

_session = requests.Session()

Part = TypeVar("Part")


class Answer(str):
    """An answer's text, with the `records` (a list of dicts) it was joined from.

    >>> answer = Answer("Yes", [{"response": "Yes", "done": True, "eval_count": 1}])
    >>> print(answer, answer.records[-1]["eval_count"])
    Yes 1
    """

    records: list[dict]

    def __new__(cls, text: str = "", records: Iterable[dict] = ()):
        answer = super().__new__(cls, text)
        answer.records = list(records)
        return answer


def generate(prompt: str, model: str = MODEL, server: str | None = None, **fields) -> Answer:
    """Ask one question and wait for the whole answer (`POST /api/generate`).

    `fields` go into the request as they are: `system="Be brief."`, `options={"temperature": 0}`.
    An answer without a text (all was thinking, or there was no prompt) prints why. Raises the
    errors of `stream`.

    >>> print(generate("Are you listening?"))
    Yes, I am listening. How may I assist you today?
    """
    return _whole("/api/generate", {"model": model, "prompt": prompt, **fields}, server)


def chat(messages: list[dict], model: str = MODEL, server: str | None = None, **fields) -> Answer:
    """Send a conversation and wait for its next message (`POST /api/chat`).

    `messages` is a list of `{"role": "user", "content": "..."}`; `fields` as in `generate`.
    """
    return _whole("/api/chat", {"model": model, "messages": messages, **fields}, server)


def stream(prompt: str, model: str = MODEL, server: str | None = None, **fields) -> Iterator[str]:
    """Ask one question and yield the answer's fragments as they arrive.

    Stopping early (`break`, an interrupt) closes the connection, and so stops the model.
    Raises, now or while iterating: `ServerNotFound`, `ModelNotFound`, `ServerBusy`,
    `BadAnswer`, `BrokenStream` (with the text so far in `.partial`).

    >>> for fragment in stream("Are you listening?"):
    ...     print(fragment, end="", flush=True)
    Yes, I am listening. How may I assist you today?
    """
    asked = {"model": model, "prompt": prompt, **fields}
    fragments = _fragments("/api/generate", asked, server)
    try:
        next(fragments)  # asks now; and from here on, an interrupt finds it inside its `try`
        return fragments
    except KeyboardInterrupt:
        fragments.close()
        raise


def models(server: str | None = None) -> list[str]:
    """The names of the models the server has (`GET /api/tags`)."""
    with _request("GET", "/api/tags", server) as response:
        try:
            return [model["name"] for model in response.json()["models"]]
        except (requests.RequestException, ValueError, KeyError, TypeError):
            what = "The server's list of models makes no sense."
            raise BadAnswer(what, do=diagnosis.what_to_do(diagnosis.base(response.url))) from None


def pull(model: str, server: str | None = None) -> None:
    """Let the server fetch a model (`POST /api/pull`), with a progress bar to watch.

    Where the server does not let us, but has the model, a line says so. Raises `ModelNotFound`,
    with the server's own words, where it cannot, and `BadAnswer` where we may not.
    """
    from tqdm.auto import tqdm  # the right bar for a notebook, and for a terminal

    try:
        response = post("/api/pull", {"model": model}, server)
    except BadAnswer as refused:
        if not {model, f"{model}:latest"} & set(models(server)):
            refused.what += f" It does not have '{model}'."
            raise
        print(f"{refused.what} It has '{model}' already.")
        return
    bars = {}  # a file each, by its digest
    for record in records(response, "status", "success"):
        if "error" in record:
            what = f"The server cannot fetch '{model}'."
            raise ModelNotFound(what, str(record["error"]))
        if digest := record.get("digest"):
            done = record.get("completed") or 0
            if digest not in bars:  # what is there before it says nothing of the speed
                unit = {"unit": "B", "unit_scale": True}
                bars[digest] = tqdm(desc=record.get("status"), initial=done, **unit)
            bars[digest].total = record.get("total") or bars[digest].total
            bars[digest].update(done - bars[digest].n)
    for bar in bars.values():
        bar.refresh()
        bar.close()


def post(
    path: str, data: dict, server: str | None = None, session: requests.Session = _session
) -> requests.Response:
    """Post `data` as JSON to an endpoint; the answer's body is still to be read, as it comes.

    Raises what `stream` raises, where the status is not 200. Close the response, or read it to
    its end. `session` is for callers that must be able to hang up before anything has come.
    """
    return _request("POST", path, server, session, json=data)


def records(
    response: requests.Response,
    key: str = "done",
    last: str | bool = True,
    keep: Callable[[bytes], object] = lambda chunk: None,
) -> Iterator[dict]:
    """The records of an open answer, each as soon as its line is there.

    For callers that want more than the text: the response comes from `post`, and is closed when the
    reader stops. The last record has `last` under its `key`; without it, the answer was cut off,
    and `BrokenStream` says so. Raises `BadAnswer` where a line is not a record. `keep` is given
    each chunk of bytes, just as it came.
    """
    # `iter_lines()` would wait for 512 bytes. An answer with chunks or a known length is read as
    # it comes; one with neither, byte by byte, or its text would come in gulps.
    known = response.raw.chunked or "Content-Length" in response.headers
    record: dict = {}
    with response:
        try:
            for line in lines_of(_kept(response.iter_content(None if known else 1), keep)):
                record = load_record(line)
                yield record
        except requests.RequestException as error:
            why = "nothing came any more" if "timed out" in str(error) else "the connection broke"
            raise BrokenStream("The answer was cut off.", why, do="ask again") from None
    if record.get(key) != last:
        why = f"it sent no last record ({json.dumps({key: last})[1:-1]})"
        raise BrokenStream("The server stopped in the middle.", why, do="ask again")


def _kept(parts: Iterable[Part], keep: Callable[[Part], object]) -> Iterator[Part]:
    for part in parts:
        keep(part)
        yield part


def _request(
    method: str,
    path: str,
    server: str | None,
    session: requests.Session = _session,
    **arguments,
) -> requests.Response:
    address = keys.take_out(parse_host(server)) if server else find.address()
    keep_proxies_off_loopback()
    asked = {"timeout": (CONNECT, READ), "stream": True, "headers": keys.headers(), **arguments}
    response = None
    try:
        try:
            response = session.request(method, address + path, **asked)
        except requests.exceptions.ConnectionError:
            if not find.goes_on(address):
                raise
            response = session.request(method, address + path, **asked)
        if response.status_code == 200 and response.request.method == method:
            return response
        with response:
            raise diagnosis.refusal(response, arguments.get("json", {}).get("model", ""))
    except requests.exceptions.ReadTimeout:
        raise diagnosis.not_begun(READ) from None
    except requests.exceptions.InvalidJSONError:
        raise  # the caller's own data
    except KeyboardInterrupt as interrupt:  # a notebook keeps its traceback, and so the connection
        _close(response)
        raise interrupt.with_traceback(None) from None
    except diagnosis.BAD_CONNECTION as error:
        if server is None:
            find.forget()
        raise diagnosis.not_found(address, error) from None


def _close(response: requests.Response | None) -> None:
    """End an answer that is not read any more: the server sees it, and the model stops."""
    if response is not None:
        response.close()


# In both, the `try` is there before the response is: Python may raise KeyboardInterrupt wherever
# a function begins, and a notebook would keep that function's response, open, with the traceback.


def _whole(path: str, data: dict, server: str | None) -> Answer:
    response = None
    try:
        response = post(path, data, server)
        answers, kept = tee(records(response))
        answer = Answer(join_fragments(answers), kept)
    finally:
        _close(response)
    if not answer:
        _say(diagnosis.silence(answer.records))
    return answer


def _fragments(path: str, data: dict, server: str | None) -> Iterator[str]:
    response, seen, text = None, [], False
    try:
        response = post(path, data, server)
        yield ""
        for fragment in fragments_of(_kept(records(response), seen.append)):
            if fragment:
                text = True
                yield fragment
    finally:  # also when the reader stops early
        _close(response)
    if not text:
        _say(diagnosis.silence(seen))


def _say(sentence: str) -> None:
    if sentence:
        print(sentence, file=sys.stderr, flush=True)
