"""Talking to a server with requests, once a student has done it by hand.

Everything goes through `post`: it turns what can go wrong into the errors of `llamalab.errors`.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import tee

import requests

from llamalab import find
from llamalab.address import keep_proxies_off_loopback, parse_host
from llamalab.errors import BadAnswer, BrokenStream, LlamalabError, ModelNotFound, ServerBusy
from llamalab.wire import fragments_of, join_fragments, lines_of, load_record

MODEL = "mistral"

# Seconds: a server that is there accepts at once; a model's first load takes its time
# (Ollama itself gives up after five minutes).
CONNECT, READ = 5, 330

_session = requests.Session()


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
    Raises the errors of `stream`.

    >>> print(generate("Are you listening?"))
    Yes, I am listening. How may I assist you today?
    """
    return _whole(post("/api/generate", {"model": model, "prompt": prompt, **fields}, server))


def chat(messages: list[dict], model: str = MODEL, server: str | None = None, **fields) -> Answer:
    """Send a conversation and wait for its next message (`POST /api/chat`).

    `messages` is a list of `{"role": "user", "content": "..."}`; `fields` as in `generate`.
    """
    return _whole(post("/api/chat", {"model": model, "messages": messages, **fields}, server))


def stream(prompt: str, model: str = MODEL, server: str | None = None, **fields) -> Iterator[str]:
    """Ask one question and yield the answer's fragments as they arrive.

    Stopping early (`break`, an interrupt) closes the connection, and so stops the model.
    Raises, now or while iterating: `ServerNotFound`, `ModelNotFound`, `ServerBusy`,
    `BadAnswer`, `BrokenStream` (with the text so far in `.partial`).

    >>> for fragment in stream("Are you listening?"):
    ...     print(fragment, end="", flush=True)
    Yes, I am listening. How may I assist you today?
    """
    return _fragments(post("/api/generate", {"model": model, "prompt": prompt, **fields}, server))


def models(server: str | None = None) -> list[str]:
    """The names of the models the server has (`GET /api/tags`)."""
    with _request("GET", "/api/tags", server) as response:
        try:
            return [model["name"] for model in response.json()["models"]]
        except (requests.RequestException, ValueError, KeyError, TypeError):
            what = "The server's list of models makes no sense."
            raise BadAnswer(what, do=find.what_to_do(response.url)) from None


def pull(model: str, server: str | None = None) -> None:
    """Let the server fetch a model (`POST /api/pull`), with a progress bar to watch.

    Raises `ModelNotFound`, with the server's own words, where it cannot.
    """
    from tqdm.auto import tqdm  # the right bar for a notebook, and for a terminal

    bars = {}  # a file each, by its digest
    for record in records(post("/api/pull", {"model": model}, server), "status", "success"):
        if "error" in record:
            what = f"The server cannot fetch '{model}'."
            raise ModelNotFound(what, str(record["error"]))
        digest = record.get("digest")
        if digest and digest not in bars:
            size = {"total": record["total"], "unit": "B", "unit_scale": True}
            here = record.get("completed", 0)  # before, so it says nothing of the speed
            bars[digest] = tqdm(desc=record["status"], initial=here, **size)
        if digest:
            bars[digest].update(record.get("completed", 0) - bars[digest].n)
    for bar in bars.values():
        bar.close()


def post(
    path: str, data: dict, server: str | None = None, session: requests.Session = _session
) -> requests.Response:
    """Post `data` as JSON to an endpoint; the answer's body is still to be read, as it comes.

    Raises what `stream` raises, where the status is not 200. Close the response, or read it to
    its end. `session` is for whoever must be able to hang up before anything has come.
    """
    return _request("POST", path, server, session, json=data)


def records(
    response: requests.Response,
    key: str = "done",
    last: str | bool = True,
    keep: Callable[[bytes], object] = lambda chunk: None,
) -> Iterator[dict]:
    """The records of an open answer, each as soon as its line is there.

    For whoever wants more than the text: the response comes from `post`, and is closed when the
    reader stops. The last record has `last` under its `key`; without it, the answer was cut off,
    and `BrokenStream` says so. Raises `BadAnswer` where a line is no record. `keep` is given
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


def _kept(chunks: Iterable[bytes], keep: Callable[[bytes], object]) -> Iterator[bytes]:
    for chunk in chunks:
        keep(chunk)
        yield chunk


def _request(
    method: str,
    path: str,
    server: str | None,
    session: requests.Session = _session,
    **arguments,
) -> requests.Response:
    address = parse_host(server) if server else find.address()
    keep_proxies_off_loopback()
    try:
        response = session.request(
            method, address + path, timeout=(CONNECT, READ), stream=True, **arguments
        )
    except requests.exceptions.ReadTimeout:
        what = f"The server has not begun to answer in {READ} seconds."
        why = "it is loading a model, or others wait too"
        raise ServerBusy(what, why, do="ask again later") from None
    except requests.exceptions.InvalidJSONError:
        raise  # the caller's own data
    except KeyboardInterrupt as interrupt:  # a notebook keeps its traceback, and so the connection
        raise interrupt.with_traceback(None) from None
    except find.BAD_CONNECTION as error:
        if server is None:
            find.forget()
        raise find.not_found(address, error) from None
    if response.status_code != 200:
        with response:
            raise _refusal(response, arguments.get("json", {}).get("model", ""))
    return response


def _refusal(response: requests.Response, model: str) -> LlamalabError:
    """The error for a status other than 200; Ollama says why in `{"error": ...}`."""
    try:
        why = str(response.json()["error"])
    except (requests.RequestException, ValueError, KeyError, TypeError):
        why = ""
    status = response.status_code
    if "only as recordings" in why:
        what = "The built-in server has no recording of this prompt."
        return ModelNotFound(
            what, why, do="llamalab pull   (fetches a model that answers the rest)"
        )
    if status == 404 and model and "not found" in why:
        what = f"The server has no model '{model}'."
        return ModelNotFound(
            what, why, do=f"see llamalab.models(); with Ollama: ollama pull {model}"
        )
    if status in (429, 503):
        return ServerBusy(f"The server is busy (HTTP {status}).", why, do="ask again in a minute")
    if status == 403 and not why:
        why = "it answers only to names it knows, see OLLAMA_ORIGINS"
    return BadAnswer(f"The server refuses the request (HTTP {status}).", why)


def _whole(response: requests.Response) -> Answer:
    with response:
        answers, kept = tee(records(response))
        return Answer(join_fragments(answers), list(kept))


def _fragments(response: requests.Response) -> Iterator[str]:
    with response:  # closed here too when the reader stops early
        for fragment in fragments_of(records(response)):
            if fragment:
                yield fragment
