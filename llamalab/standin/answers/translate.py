"""An engine that speaks the OpenAI protocol, asked in Ollama's.

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
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from llamalab.standin.answers.endpoint import Endpoint, TooLong
from llamalab.standin.ollama import gojson, protocol
from llamalab.standin.ollama.protocol import DIED, Refusal

# What Ollama uses where a request does not say (`DefaultOptions` in its api/types.go).
DEFAULTS = {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.0, "repeat_penalty": 1.0}
# Ollama's names of options -> the engine's. Names that are not here do not reach it.
OPTIONS = {name: name for name in (*DEFAULTS, "seed", "stop", "typical_p", "repeat_last_n")}
OPTIONS |= {"presence_penalty": "presence_penalty", "frequency_penalty": "frequency_penalty"}
OPTIONS |= {"num_predict": "max_tokens"}
AROUND = 32  # tokens that a template puts around a message, at most
INTEGERS = ("top_k", "seed", "num_predict", "repeat_last_n")


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


def settings_of(request: dict, context: int | None = None) -> dict:
    """A request's options and format in the engine's words, Ollama's defaults filled in.

    `context` is the engine's, in tokens, where we know it: it sets memory aside for as many of
    the last tokens as `repeat_last_n` says.

    >>> settings_of({"options": {"temperature": 0, "num_predict": 5, "seed": -1}})["max_tokens"]
    5
    """
    options = {**DEFAULTS, **{k: v for k, v in request.get("options", {}).items() if v is not None}}
    options |= {name: int32(options[name]) for name in INTEGERS if name in options}
    if context and not 0 <= options.get("repeat_last_n", 0) <= context:
        options["repeat_last_n"] = context  # all there is
    if options.get("num_predict", 0) < 1:
        options.pop("num_predict", None)  # until the model stops, or its context is full
    if options.get("seed", -1) < 0:
        options.pop("seed", None)  # a different one each time
    settings = {OPTIONS[name]: value for name, value in options.items() if name in OPTIONS}
    think = request.get("think")
    if think is False or isinstance(think, str):
        settings["reasoning_effort"] = think or "none"
    wanted = request.get("format")
    if wanted == "json":
        settings["response_format"] = {"type": "json_object"}
    elif wanted:
        schema = {"name": "answer", "strict": True, "schema": wanted}
        settings["response_format"] = {"type": "json_schema", "json_schema": schema}
    return settings


def int32(number: float) -> int:
    """The nearest number that llama.cpp can hold."""
    return max(-(2**31), min(int(number), 2**31 - 1))


def check_abilities(model: str, request: dict, thinks: bool = False) -> None:
    """Raise `Refusal` for what the model cannot do, in the words of a real Ollama."""
    full_name = protocol.canonical(model)
    if request.get("think") and not thinks:
        raise Refusal(400, f'"{model}" does not support thinking')
    for name, ability in (("tools", "tools"), ("suffix", "insert")):
        if request.get(name):
            raise Refusal(400, f"{full_name} does not support {ability}")
    messages = request.get("messages", [])
    if request.get("images") or any(message.get("images") for message in messages):
        raise Refusal(
            400,
            "image input is not supported - hint: if this is unexpected, you may need to provide "
            "the mmproj",
        )
    for name in ("template", "logprobs"):
        if request.get(name):
            raise Refusal(501, f"llamalab's built-in server does not do {name!r}")


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
    timings: dict = field(default_factory=dict)

    def note(self, event: dict) -> None:
        """Take what a chunk says about cost; only the last ones say anything."""
        usage = event.get("usage")
        if isinstance(usage, dict):
            self.prompt_tokens = int(count(usage.get("prompt_tokens"), self.prompt_tokens))
            self.tokens = int(count(usage.get("completion_tokens"), self.tokens))
        if isinstance(event.get("timings"), dict):
            self.timings = event["timings"]

    def record(self) -> dict:
        """The metrics of the last record; the engine's own clock where it tells it."""
        now = time.perf_counter_ns()
        prompt, generation = (self.first or now) - self.loaded, self.last - self.first
        prompt = count(self.timings.get("prompt_ms"), prompt / 1e6) * 1e6
        generation = count(self.timings.get("predicted_ms"), generation / 1e6) * 1e6
        return {
            "total_duration": now - self.start,
            "load_duration": self.loaded - self.start,
            "prompt_eval_count": self.prompt_tokens,
            "prompt_eval_duration": max(round(prompt), 0),
            "eval_count": self.tokens,
            "eval_duration": max(round(generation), 0) if self.tokens else 0,
        }


def count(found: Any, otherwise: float) -> float:
    """A number that an engine says; not NaN, not negative, and not what is none."""
    known = isinstance(found, (int, float)) and not isinstance(found, bool) and 0 <= found < 2**53
    return found if known else otherwise


async def answer(
    endpoint: Endpoint, path: str, model: str, request: dict, metrics: Metrics
) -> AsyncIterator[bytes]:
    """The records of an answer, as lines, while the engine makes it."""
    where, body = await engine_request(endpoint, path, request)
    said, reason = [], None
    async with contextlib.aclosing(events_that_fit(endpoint, where, body, request)) as events:
        async for event in events:
            metrics.note(event)
            for choice in dicts(event.get("choices")):
                delta = next(iter(dicts([choice.get("delta")])), {})
                text = first_text(delta.get("content"), choice.get("text"))
                thinking = first_text(delta.get("reasoning"), delta.get("reasoning_content"))
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


def dicts(found: Any) -> list[dict]:
    """The objects of a list; some engines send null among them, or in its place."""
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def first_text(*found: Any) -> str:
    return next((text for text in found if isinstance(text, str) and text), "")


def line(record: dict) -> bytes:
    return gojson.dumps(record) + b"\n"


async def engine_request(endpoint: Endpoint, path: str, request: dict) -> tuple[str, dict]:
    """Where to post at the engine, and what."""
    settings = {"model": endpoint.model, **settings_of(request, endpoint.context)}
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
    """A conversation without its oldest message that is not a system prompt; [] if none can go.

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
    """The tokens of prompt and answer, for clients that send them back as `context`.

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
