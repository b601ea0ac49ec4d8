"""Talking to a server with requests, once a student has done it by hand. Upper floor.

Everything goes through `post`: it turns what can go wrong into the errors of `llamalab.errors`.
"""

from collections.abc import Iterator

import requests

from llamalab import find
from llamalab.errors import BadAnswer, BrokenStream, LlamalabError, ModelNotFound, ServerBusy
from llamalab.wire import fragment_of, load_record

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

    def __new__(cls, text: str, records: list[dict]):
        answer = super().__new__(cls, text)
        answer.records = records
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
        except (ValueError, KeyError, TypeError):
            what = "The server's list of models makes no sense."
            raise BadAnswer(what, do=find.elsewhere()) from None


def post(path: str, data: dict, server: str | None = None) -> requests.Response:
    """Post `data` as JSON to an endpoint; the answer's body is still to be read, as it comes.

    Raises what `stream` raises, where the status is not 200. Close the response, or read it to
    its end.
    """
    return _request("POST", path, server, json=data)


def _request(method: str, path: str, server: str | None, **arguments) -> requests.Response:
    address = find.parse_host(server) if server else find.address()
    find.keep_proxies_off_loopback()
    try:
        response = _session.request(
            method, address + path, timeout=(CONNECT, READ), stream=True, **arguments
        )
    except requests.exceptions.ReadTimeout:
        what = f"The server has not begun to answer in {READ} seconds."
        raise ServerBusy(
            what, why="it is loading a model, or others wait too", do="ask later"
        ) from None
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.InvalidURL) as error:
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
    except (ValueError, KeyError, TypeError):
        why = ""
    status = response.status_code
    if status == 404 and why:
        do = "ask a recorded prompt" if "recording" in why else f"ollama pull {model}"
        return ModelNotFound(f"The server has no answer from '{model}'.", why, do)
    if status in (429, 503):
        return ServerBusy(f"The server is busy (HTTP {status}).", why, "ask again in a minute")
    if status == 403 and not why:
        why = "it answers only to addresses it knows (OLLAMA_ORIGINS and Host guard)"
    return BadAnswer(f"The server refuses the request (HTTP {status}).", why, "mend the request")


def _whole(response: requests.Response) -> Answer:
    records: list[dict] = []
    text = "".join(_fragments(response, records))
    return Answer(text, records)


def _fragments(response: requests.Response, records: list[dict] | None = None) -> Iterator[str]:
    """The fragments of an open answer; notes its records; an error knows the text so far."""
    text = ""
    record: dict = {}
    with response:
        try:
            for line in _lines(response):
                record = load_record(line)
                fragment = fragment_of(record)
                if records is not None:
                    records.append(record)
                if fragment:
                    text += fragment
                    yield fragment
            if not record.get("done"):
                why = 'it sent no last record ("done": true)'
                raise BrokenStream("The server stopped in the middle.", why, "ask again")
        except LlamalabError as error:
            error.partial = text
            raise


def _lines(response: requests.Response) -> Iterator[str]:
    """The lines of a body, each as soon as its newline is there.

    `iter_lines()` reads 512 bytes at a time; asking for no size gives each HTTP chunk as it
    comes. A server that sends no chunks is read byte by byte, or its text would come in gulps.
    """
    size = None if getattr(response.raw, "chunked", False) else 1
    rest = bytearray()
    try:
        for chunk in response.iter_content(chunk_size=size):
            rest += chunk
            if b"\n" in chunk:
                *whole, rest = rest.split(b"\n")
                for line in whole:
                    if line.strip():
                        yield line.decode("utf-8")
        if rest.strip():
            yield rest.decode("utf-8")
    except requests.RequestException as error:
        why = "nothing came any more" if "timed out" in str(error) else "the connection broke"
        raise BrokenStream("The answer was cut off.", why, "ask again") from None
    except UnicodeDecodeError as error:
        raise BadAnswer("The answer is not UTF-8 text.", str(error), "ask again") from None
