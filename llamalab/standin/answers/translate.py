"""An engine behind the OpenAI protocol, spoken to in Ollama's. `sources` enters.

The built-in llama.cpp, vLLM, SGLang, Ray Serve and a llama-server elsewhere all understand
`POST /v1/chat/completions`. A request in Ollama's words goes there in theirs, and their chunks
come back as Ollama's records. llama.cpp does a little more, and where it does we use it: its
`timings` are exact, and it renders templates and turns text into tokens (for `context`).

Sources: https://platform.openai.com/docs/api-reference/chat and `tools/server/README.md` of
llama.cpp.
"""

import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from llamalab.standin import limits
from llamalab.standin.answers import llama
from llamalab.standin.answers import schema as schemas
from llamalab.standin.ollama import gojson, protocol
from llamalab.standin.ollama.protocol import DIED, Refusal

TOO_LONG = (
    "the prompt is longer than the context length currently available to the model; shorten the "
    "prompt, adjust the context length in settings, or use a model with a longer context length"
)

# What Ollama uses where a request does not say (`DefaultOptions` in its api/types.go).
DEFAULTS = {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.0, "repeat_penalty": 1.0}
# Ollama's names of options -> the engine's. Names that are not here do not reach it.
OPTIONS = {name: name for name in (*DEFAULTS, "seed", "stop", "typical_p", "repeat_last_n")}
OPTIONS |= {"presence_penalty": "presence_penalty", "frequency_penalty": "frequency_penalty"}
OPTIONS |= {"num_predict": "max_tokens"}
AROUND = 32  # tokens that a template puts around a message, at most
INTEGERS = ("top_k", "seed", "num_predict", "repeat_last_n")


@dataclass
class Endpoint:
    """Where an engine listens: the address before /v1, its key, its name for the model.

    `longest` is the length in bytes from which on no prompt fits in its context, if we know it.
    """

    url: str
    key: str = ""
    model: str = ""
    longest: int | None = None

    def __post_init__(self):
        self._certificates = httpx.create_ssl_context(trust_env=False)  # once: it takes 20 ms

    def _client(self) -> httpx.AsyncClient:
        """A client for one request. Not the environment's proxies or passwords.

        Each request has a client, and so a connection, of its own, which ends with it. An engine
        that hangs up on an idle one would spoil the next request; and a connection that httpx is
        about to close when its reader is cancelled stays open, unless the client is closed, too.
        """
        return httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.key}"} if self.key else {},
            timeout=httpx.Timeout(None, connect=5),
            verify=self._certificates,
            trust_env=False,
        )

    async def ask(self, path: str, body: dict | None = None) -> Any:
        """One JSON answer; GET where there is no body. Raises `Refusal` with the engine's words."""
        try:
            async with self._client() as client:
                answer = await client.request("POST" if body else "GET", path, json=body)
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from None
        if answer.status_code != 200:
            raise refusal(answer.status_code, answer.content)
        try:
            return answer.json()
        except ValueError:
            raise Refusal(500, f"the engine at {self.url} answers no JSON to {path}") from None

    async def events(self, path: str, body: dict) -> AsyncIterator[dict]:
        """The chunks of a streamed answer (server-sent events), each as it comes.

        Closing this generator closes the connection, and with it the engine stops. Raises
        `Refusal` where the engine refuses, and where it dies in the middle.
        """
        body = {**body, "stream": True, "stream_options": {"include_usage": True}}
        try:
            async with self._client() as client, client.stream("POST", path, json=body) as answer:
                if answer.status_code != 200:
                    raise refusal(answer.status_code, await answer.aread())
                rest = b""
                async for data in answer.aiter_bytes():  # its aiter_lines cuts at U+2028, too
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        name, _, value = line.partition(b":")
                        if name in (b"data", b"error") and value.strip() != b"[DONE]":
                            yield checked(json.loads(value))
        except httpx.ConnectError as error:
            raise unreachable(self.url, error) from None
        except (httpx.HTTPError, ValueError):
            raise Refusal(500, DIED) from None

    def check_prompt(self, prompt: Any) -> None:
        """Raise `Refusal` for what cannot fit, before the engine counts its tokens for seconds."""
        if self.longest is not None and len(json.dumps(prompt)) > self.longest:
            raise TooLong()

    def check_settings(self, settings: dict) -> None:
        """Raise `Refusal` for what would keep the built-in engine, and all its readers, busy."""
        if self.longest is None:
            return
        if len(json.dumps(settings)) > limits.MAX_SETTINGS:
            what = f"options and format are longer than {limits.MAX_SETTINGS} bytes"
            raise Refusal(400, f"{what}, and llamalab's built-in engine takes no more")
        if what := schemas.trouble_in(settings.get("response_format")):
            raise Refusal(400, f"the format has {what}: llamalab's built-in engine cannot do that")


class TooLong(Refusal):
    """A prompt does not fit, by `excess` tokens at least."""

    def __init__(self, excess: int = 1):
        super().__init__(400, TOO_LONG)
        self.excess = excess


def checked(event: dict) -> dict:
    """A chunk, unless it is an error in the middle of the answer."""
    if "error" in event or "choices" not in event:
        raise refusal(500, json.dumps(event).encode())
    return event


def refusal(status: int, content: bytes) -> Refusal:
    """The engine's refusal in Ollama's form: its own words, but for a prompt that is too long."""
    try:
        error = json.loads(content)
        error = error.get("error", error)
        text = error.get("message", "") if isinstance(error, dict) else str(error)
        kind = error.get("type", "") if isinstance(error, dict) else ""
    except (ValueError, AttributeError):
        text, kind = content.decode("utf-8", "replace"), ""
    if kind == "exceed_context_size_error":
        return TooLong(max(1, error.get("n_prompt_tokens", 0) - error.get("n_ctx", 0)))
    if "maximum context length" in text:
        return TooLong()
    return Refusal(status, text or f"the engine answers with status {status}")


def unreachable(url: str, error: Exception) -> Refusal:
    return Refusal(500, f"the engine at {url} cannot be reached: {error}")


# ---- requests


def messages_of(path: str, request: dict) -> list[dict]:
    """The conversation a request holds; a generate request is one of a single turn."""
    if path == "/api/chat":
        return [
            {"role": message.get("role") or "user", "content": message.get("content", "")}
            for message in request["messages"]
        ]
    system = [{"role": "system", "content": request["system"]}] if request.get("system") else []
    return [*system, {"role": "user", "content": request["prompt"]}]


def settings_of(request: dict) -> dict:
    """A request's options and format in the engine's words, Ollama's defaults filled in.

    >>> settings_of({"options": {"temperature": 0, "num_predict": 5, "seed": -1}})["max_tokens"]
    5
    """
    options = {**DEFAULTS, **{k: v for k, v in request.get("options", {}).items() if v is not None}}
    options |= {name: int(options[name]) for name in INTEGERS if name in options}
    if options.get("repeat_last_n", 0) < 0:
        options["repeat_last_n"] = llama.CONTEXT  # all there is
    if options.get("num_predict", -1) < 0:
        options.pop("num_predict", None)  # until the model stops, or its context is full
    if options.get("seed", -1) < 0:
        options.pop("seed", None)  # another one each time
    settings = {OPTIONS[name]: value for name, value in options.items() if name in OPTIONS}
    wanted = request.get("format")
    if wanted == "json":
        settings["response_format"] = {"type": "json_object"}
    elif wanted:
        schema = {"name": "answer", "strict": True, "schema": wanted}
        settings["response_format"] = {"type": "json_schema", "json_schema": schema}
    return settings


def check_abilities(model: str, request: dict) -> None:
    """Raise `Refusal` for what the model cannot do, in the words of a real Ollama."""
    full_name = protocol.canonical(model)
    if request.get("think"):
        raise Refusal(400, f'"{model}" does not support thinking')
    for field, ability in (("tools", "tools"), ("suffix", "insert")):
        if request.get(field):
            raise Refusal(400, f"{full_name} does not support {ability}")
    messages = request.get("messages", [])
    if request.get("images") or any(message.get("images") for message in messages):
        raise Refusal(
            500,
            "image input is not supported - hint: if this is unexpected, you may need to provide "
            "the mmproj",
        )
    for field in ("template", "logprobs"):
        if request.get(field):
            raise Refusal(501, f"llamalab's built-in server does not do {field!r}")


# ---- answers


@dataclass
class Metrics:
    """What an answer cost, in nanoseconds and tokens, from the request on."""

    start: int
    loaded: int = 0
    first: int = 0
    last: int = 0
    prompt_tokens: int = 0
    tokens: int = 0
    timings: dict | None = None

    def note(self, event: dict) -> None:
        """Take what a chunk says about cost; only the last ones say anything."""
        usage = event.get("usage") or {}
        self.prompt_tokens = usage.get("prompt_tokens", self.prompt_tokens)
        self.tokens = usage.get("completion_tokens", self.tokens)
        self.timings = event.get("timings") or self.timings

    def record(self) -> dict:
        """The metrics of the last record; the engine's own clock where it tells it."""
        now = time.perf_counter_ns()
        prompt, generation = (self.first or now) - self.loaded, self.last - self.first
        if self.timings:
            prompt = round(self.timings["prompt_ms"] * 1e6)
            generation = round(self.timings["predicted_ms"] * 1e6)
        return {
            "total_duration": now - self.start,
            "load_duration": self.loaded - self.start,
            "prompt_eval_count": self.prompt_tokens,
            "prompt_eval_duration": max(prompt, 0),
            "eval_count": self.tokens,
            "eval_duration": max(generation, 0) if self.tokens else 0,
        }


async def answer(
    endpoint: Endpoint, path: str, model: str, request: dict, metrics: Metrics
) -> AsyncIterator[bytes]:
    """The records of an answer, as lines, while the engine makes it."""
    if request.get("_debug_render_only"):
        messages = messages_of(path, request)
        endpoint.check_prompt(messages)
        rendered = await render(endpoint, messages)
        debug = {"_debug_info": {"rendered_template": rendered}}
        yield line(protocol.record(path, model, "", **debug))
        return
    where, body = await engine_request(endpoint, path, request)
    said, reason = [], None
    async with contextlib.aclosing(events_that_fit(endpoint, where, body, request)) as events:
        async for event in events:
            metrics.note(event)
            for choice in event["choices"]:
                delta = choice.get("delta", {})
                text = delta.get("content") or choice.get("text") or ""
                thinking = delta.get("reasoning_content") or ""
                reason = choice.get("finish_reason") or reason
                if text or thinking:
                    metrics.last = time.perf_counter_ns()
                    metrics.first = metrics.first or metrics.last
                    said.append(text)
                    yield line(protocol.record(path, model, text, thinking=thinking))
    if not reason:
        raise Refusal(500, DIED)
    last = {"done_reason": "length" if reason == "length" else "stop", **metrics.record()}
    if path == "/api/generate" and not request.get("raw"):
        last["context"] = await context_of(endpoint, body, "".join(said))
    yield line(protocol.record(path, model, "", **last))


def line(record: dict) -> bytes:
    return gojson.dumps(record) + b"\n"


async def engine_request(endpoint: Endpoint, path: str, request: dict) -> tuple[str, dict]:
    """Where to post at the engine, and what."""
    settings = {"model": endpoint.model, **settings_of(request)}
    endpoint.check_settings(settings)
    if request.get("raw"):
        endpoint.check_prompt(request["prompt"])
        return "/v1/completions", {**settings, "prompt": request["prompt"]}
    messages = messages_of(path, request)
    if endpoint.longest is not None and request.get("truncate") is not False:
        messages = newest(messages, endpoint.longest)
    endpoint.check_prompt([*request.get("context", []), *messages])
    if any(not 0 <= token < 2**31 for token in request.get("context", [])):
        raise Refusal(400, "Prompt contains invalid tokens")  # the engine would count modulo 2**32
    if request.get("context"):
        new = await tokens(endpoint, await render(endpoint, messages))
        return "/v1/completions", {**settings, "prompt": [*request["context"], *new]}
    return "/v1/chat/completions", {**settings, "messages": messages}


async def events_that_fit(
    endpoint: Endpoint, where: str, body: dict, request: dict
) -> AsyncIterator[dict]:
    """The engine's chunks; a conversation too long for it loses its oldest messages first."""
    while True:
        try:
            async with contextlib.aclosing(endpoint.events(where, body)) as events:
                async for event in events:
                    yield event
            return
        except TooLong as refused:
            shorter = without_oldest(body.get("messages", []), refused.excess)
            if not shorter or request.get("truncate") is False:
                raise
            body["messages"] = shorter


def without_oldest(messages: list[dict], excess: int = 1) -> list[dict]:
    """A conversation without its oldest message that is no system prompt; [] if none can go.

    Nor with the next ones, as long as they must go as well: a message has no more tokens than
    bytes, and a few around it, so that it is still too long by some of the `excess`.

    >>> without_oldest([{"role": "system"}, {"role": "user"}, {"role": "assistant"}])
    [{'role': 'system'}, {'role': 'assistant'}]
    """
    kept, tokens = [], 0
    for message in messages[:-1]:
        if message["role"] == "system" or tokens >= excess:
            kept.append(message)
        else:
            tokens += len(message.get("content", "").encode()) + AROUND
    return [*kept, *messages[-1:]] if len(kept) < len(messages) - 1 else []


def newest(messages: list[dict], longest: int) -> list[dict]:
    """A conversation without the oldest messages that could not fit, whatever their tokens."""
    return without_oldest(messages, len(json.dumps(messages)) - longest) or messages


async def context_of(endpoint: Endpoint, body: dict, said: str) -> list[int]:
    """The tokens of prompt and answer, for whoever sends them back as `context`.

    [] where the engine cannot turn text into tokens; the record then goes without.
    """
    try:
        if "messages" not in body:
            return [*body["prompt"], *await tokens(endpoint, said)]
        return await tokens(endpoint, await render(endpoint, body["messages"]) + said)
    except (Refusal, LookupError, TypeError):
        return []


async def render(endpoint: Endpoint, messages: list[dict]) -> str:
    """The prompt as the model's template puts it. Raises `Refusal` where the engine has none."""
    return (await endpoint.ask("/apply-template", {"messages": messages}))["prompt"]


async def tokens(endpoint: Endpoint, text: str) -> list[int]:
    return (await endpoint.ask("/tokenize", {"content": text, "parse_special": True}))["tokens"]


# ---- the OpenAI protocol itself


async def complete(endpoint: Endpoint, model: str, request: dict) -> AsyncIterator[dict]:
    """The chunks of a `/v1/chat/completions` stream, as Ollama words them.

    One with the role and the first text, one for each further text, one with the reason to
    stop, and one with the usage (`choices` empty).
    """
    if request.get("tools"):
        raise Refusal(400, f"{protocol.canonical(model)} does not support tools")
    body = {field: request[field] for field in CHAT_FIELDS if field in request}
    messages = body.pop("messages")
    endpoint.check_settings(body)
    endpoint.check_prompt(messages)
    body |= {"model": endpoint.model, "messages": messages}
    role = {"role": "assistant"}
    async with contextlib.aclosing(endpoint.events("/v1/chat/completions", body)) as events:
        async for event in events:
            for choice in event["choices"]:
                text, reason = choice["delta"].get("content"), choice.get("finish_reason")
                if text:
                    yield chunk(event, model, {**role, "content": text}, None)
                    role = {}
                if reason:
                    yield chunk(event, model, role, reason)
            if event.get("usage"):
                usage = {key: event["usage"].get(key, 0) for key in USAGE}
                yield {**envelope(event, model), "choices": [], "usage": usage}


# What of an OpenAI request reaches the engine, which understands more: `n_probs` costs 2 s a token.
CHAT_FIELDS = ("messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop")
CHAT_FIELDS += ("seed", "presence_penalty", "frequency_penalty", "response_format")
USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")


def chunk(event: dict, model: str, delta: dict, reason: str | None) -> dict:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {**envelope(event, model), "choices": [choice]}


def envelope(event: dict, model: str) -> dict:
    """What every chunk begins with."""
    return {
        "id": event.get("id", "chatcmpl-0"),
        "object": "chat.completion.chunk",
        "created": event.get("created", int(time.time())),
        "model": model,
        "system_fingerprint": "fp_llamalab",
    }


def chat_request(model: str, request: dict) -> dict:
    """A `/v1/chat/completions` request in Ollama's words, as far as it says what to answer."""
    options = {ours: request[theirs] for ours, theirs in OPTIONS.items() if theirs in request}
    return {"model": model, "messages": request["messages"], "options": options}


def replayed(record: dict, first: bool) -> Iterator[dict]:
    """The chunks that say what a record of `/api/chat` says. Raises `Refusal` for an error."""
    if "error" in record:
        raise Refusal(500, record["error"])
    made = datetime.fromisoformat(record["created_at"][:19] + "+00:00")
    event = {"created": int(made.timestamp())}
    model, text = record["model"], record["message"]["content"]
    role = {"role": "assistant"} if first else {}
    if text:
        yield chunk(event, model, {**role, "content": text}, None)
        role = {}
    if record["done"]:
        yield chunk(event, model, role, record.get("done_reason", "stop"))
        asked, said = record.get("prompt_eval_count", 0), record.get("eval_count", 0)
        usage = dict(zip(USAGE, (asked, said, asked + said), strict=True))
        yield {**envelope(event, model), "choices": [], "usage": usage}


def completed(chunks: list[dict]) -> dict:
    """The answer in one piece (`"stream": false`), from the chunks of its stream."""
    choices = [choice for each in chunks for choice in each["choices"]]
    text = "".join(choice["delta"].get("content", "") for choice in choices)
    reason = next((choice["finish_reason"] for choice in choices if choice["finish_reason"]), None)
    choice = {"index": 0, "message": {"role": "assistant", "content": text}}
    return {
        **chunks[-1],
        "object": "chat.completion",
        "choices": [{**choice, "finish_reason": reason}],
    }
