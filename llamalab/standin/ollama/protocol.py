"""Ollama's protocol as data: what a request may hold, what a record looks like, what errors say.

Texts, statuses and the order of keys were measured on Ollama 0.33.0. Source of the names:
`api/types.go` in https://github.com/ollama/ollama and its reference,
https://docs.ollama.com/api.
"""

import base64
import binascii
import re
import time
from datetime import datetime, timezone
from itertools import chain
from typing import Any

from llamalab.standin.ollama import gojson

VERSION = "0.33.0+llamalab"  # the protocol imitated, and the sign that it is an imitation

DIED = "an error was encountered while running the model: unexpected EOF"
BUSY = "server busy, please try again.  maximum pending requests exceeded"  # two spaces: Ollama's


def _each(kind: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), kind)


# The Go type of each field a request may have. Any other field is ignored.
MAP = "map[string]interface {}"
SHARED = {
    **_each("string", "model"),
    **_each("bool", "stream truncate shift logprobs"),
    **_each("int", "top_logprobs"),
    **{"format": "any", "keep_alive": "Duration", "options": MAP, "think": "ThinkValue"},
}
GENERATE = {
    **SHARED,
    **_each("string", "prompt suffix system template"),
    **{"context": "[]int", "raw": "bool", "images": "[]api.ImageData"},
}
CHAT = {**SHARED, "messages": "[]api.Message", "tools": "api.Tools"}
MESSAGE = {
    **_each("string", "role content thinking tool_name tool_call_id"),
    **{"images": "[]api.ImageData", "tool_calls": "[]api.ToolCall"},
}
SHOW = {**_each("string", "model name system template"), "verbose": "bool", "options": MAP}
PULL = {**_each("string", "model name"), **_each("bool", "insecure stream")}
REQUESTS = {
    "/api/generate": ("GenerateRequest", GENERATE),
    "/api/chat": ("ChatRequest", CHAT),
    "/api/show": ("ShowRequest", SHOW),
    "/api/pull": ("PullRequest", PULL),
    "/api/delete": ("DeleteRequest", _each("string", "model name")),
    "/api/copy": ("CopyRequest", _each("string", "source destination")),
}
PYTHON_TYPES = {"string": str, "bool": bool, "int": int}
PYTHON_TYPES |= {MAP: dict, "api.Alias": dict, "api.Tool": dict, "api.ToolCall": dict}
JSON_KINDS = {str: "string", bool: "bool", list: "array", dict: "object"}
JSON_KINDS |= {int: "number", float: "number"}

# What `options` may hold (`api.Options`); names that are not here are ignored.
OPTIONS = {
    **_each("integer", "num_ctx num_batch num_gpu main_gpu num_thread num_keep num_predict"),
    **_each("integer", "seed top_k repeat_last_n"),
    **_each("float32", "top_p min_p typical_p temperature"),
    **_each("float32", "repeat_penalty presence_penalty frequency_penalty"),
    **{"use_mmap": "boolean", "stop": "array"},
}

# The order of a record's keys; all but those in ALWAYS are left out where empty or zero.
METRICS = ["total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration"]
METRICS += ["eval_count", "eval_duration"]
GENERATE_KEYS = ["model", "created_at", "response", "thinking", "done", "done_reason", "context"]
GENERATE_KEYS += [*METRICS, "tool_calls", "logprobs"]
CHAT_KEYS = ["model", "created_at", "message", "done", "done_reason", "logprobs"]
CHAT_KEYS += METRICS
MESSAGE_KEYS = ["role", "content", "thinking", "images", "tool_calls"]
ALWAYS = {"model", "created_at", "response", "message", "done", "role", "content"}

_HOST, _OWNER = r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}", r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}"
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
_NAME = re.compile(rf"(?:(?:(?:\w+://)?({_HOST})/)?({_OWNER})/)?({_PART})(?::({_PART}))?")
_USUAL = ("registry.ollama.ai", "library", "", "latest")

_PIECE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([^.\d]*)", re.ASCII)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}


class Refusal(Exception):
    """An answer that is an error: its HTTP status and the text of `{"error": ...}`."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status, self.text = status, text


class _Mismatch(Exception):
    """A value of the wrong type: Go reads on, and reports the first of these at the end."""


# ---- requests


def read_request(path: str, body: bytes) -> dict:
    """The fields of a request to `path`: known names in lower case, `null` left out.

    `keep_alive` comes back in seconds (inf for "for ever"). Raises `Refusal` 400.

    >>> read_request("/api/generate", b'{"MODEL":"mistral","stream":null,"colour":1}')
    {'model': 'mistral'}
    """
    try:
        document = gojson.decode(body)
    except gojson.NotJson as error:
        raise Refusal(400, str(error)) from None
    return read_fields(path, document)


def read_fields(path: str, document: Any) -> dict:
    """`read_request` for a document that is already decoded."""
    struct, fields = REQUESTS[path]
    if document is None:
        return {}
    if not isinstance(document, dict):
        text = f"cannot unmarshal {JSON_KINDS[type(document)]} into Go value of type api.{struct}"
        raise Refusal(400, f"json: {text}")
    request = _fields(document, fields, struct)
    if not 0 <= request.get("top_logprobs", 0) <= 20:
        raise Refusal(400, "top_logprobs must be between 0 and 20")
    return request


def is_empty(path: str, request: dict) -> bool:
    """Whether nothing is asked: such a request loads the model, or unloads it."""
    return not request.get("messages" if path == "/api/chat" else "prompt")


def check_model_name(path: str, model: str) -> None:
    """Raise `Refusal` where `model` cannot be the name of a model on this machine."""
    tag = (canonical(model) or "").rpartition(":")[2]
    if not model.strip() and path == "/api/generate":
        raise not_found(model)
    if not model.strip() and path != "/api/pull":
        raise Refusal(400, "model is required")
    if not tag:
        raise Refusal(400, "invalid model name")
    if tag == "cloud" or tag.endswith("-cloud"):
        raise Refusal(403, "ollama cloud is disabled: remote model is unavailable")


def check_raw(request: dict) -> None:
    """Raise `Refusal` where `raw` meets one of the fields it excludes."""
    if request.get("raw") and any(map(request.get, ("template", "system", "context"))):
        raise Refusal(400, "raw mode does not support template, system, or context")


def check_options(options: dict) -> None:
    """Raise `Refusal` 500 (so does Ollama) where an option is of the wrong type."""
    for name, value in options.items():
        kind = OPTIONS.get(name)
        if kind is None or value is None:
            continue
        expected = {"boolean": bool, "array": list}.get(kind, (int, float))
        if not isinstance(value, expected) or (isinstance(value, bool) and kind != "boolean"):
            raise Refusal(500, f'option "{name}" must be of type {kind}')
        if kind == "array" and not all(isinstance(item, str) for item in value):
            raise Refusal(500, f'option "{name}" must be of an array of strings')


def check_format(request: dict) -> None:
    """Raise `Refusal` 500 where `format` is neither "json" nor an object; the engine's check."""
    asked = request.get("format")
    if not (asked is None or asked in ("", "json") or isinstance(asked, dict)):
        shown = gojson.quote(gojson.dumps(asked).decode("utf-8"))
        text = f'invalid format: {shown}; expected "json" or a valid JSON Schema object'
        raise Refusal(500, text)


def not_found(model: str) -> Refusal:
    """The refusal for a model that is not here."""
    return Refusal(404, f"model '{model}' not found")


def canonical(model: str) -> str | None:
    """A model's full name, the same for all ways to write it; None for what is not a name.

    >>> canonical("MISTRAL") == canonical("library/mistral:latest")
    True
    >>> canonical("b@d name") is None
    True
    """
    name = _full_name(model)
    return name.lower() if name else None


def short_name(model: str) -> str:
    """A model's name with its tag, as Ollama lists it: the usual host and library left out.

    >>> short_name("mistral")
    'mistral:latest'
    """
    host, owner = _USUAL[:2]
    return (_full_name(model) or model).removeprefix(f"{host}/").removeprefix(f"{owner}/")


def name_of(text: str) -> str:
    """A name that Ollama's protocol can carry, from a file's name or an engine's own.

    >>> name_of("meta-llama/Llama-3.2-1B"), name_of("My model (1).gguf")
    ('meta-llama/Llama-3.2-1B', 'My-model-1')
    """
    if canonical(text) and not text.endswith(".gguf"):
        return text
    stem = text.replace("\\", "/").rpartition("/")[2].removesuffix(".gguf")
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", stem)
    return stem.strip("-.")[:80] or "model"


def _full_name(model: str) -> str | None:
    match = _NAME.fullmatch(model.strip())
    if not match:
        return None
    parts = [part or usual for part, usual in zip(match.groups(), _USUAL, strict=True)]
    return "{}/{}/{}:{}".format(*parts)


def _fields(document: dict, table: dict[str, str], where: str) -> dict:
    """Read the fields named in `table`; `where` is how Go calls the place in its errors."""
    fields, first = {}, None
    for key, value in document.items():
        name = key.casefold()
        if name in table and value is not None:
            try:
                fields[name] = _value(value, table[name], f"{where}.{name}")
            except _Mismatch as mismatch:
                first = first or mismatch
    if first:
        raise Refusal(400, str(first))
    return fields


def _value(value: Any, kind: str, where: str) -> Any:
    """A value read as a Go type. Raises `_Mismatch`, or `Refusal` where Go stops at once."""
    if kind in READERS:
        return READERS[kind](value, where)
    if kind == "api.Tools" or kind.startswith("[]"):
        item_kind = "api.Tool" if kind == "api.Tools" else kind[2:]
        items = _of_type(list, value, kind, where)
        return [_value(item, item_kind, where) for item in items if item is not None]
    return _of_type(PYTHON_TYPES[kind], value, kind, where)


def _of_type(expected: type, value: Any, kind: str, where: str) -> Any:
    what = JSON_KINDS[type(value)]
    if what == "number" and expected is int:
        if type(value) is int and -(2**63) <= value < 2**63:
            return value
        what = f"number {value}"
    elif type(value) is expected:
        return value
    raise _Mismatch(f"json: cannot unmarshal {what} into Go struct field {where} of type {kind}")


def _message(value: Any, where: str) -> dict:
    message = _fields(_of_type(dict, value, "api.Alias", where), MESSAGE, where)
    if "role" in message:
        message["role"] = message["role"].lower()
    return message


def _image(value: Any, where: str) -> str:
    """Base64 text, kept as it is once it is known to be right."""
    try:
        base64.b64decode("".join(_of_type(str, value, "api.ImageData", where).split()), None, True)
    except (binascii.Error, ValueError):
        raise _Mismatch("illegal base64 data in images") from None
    return value


def _think(value: Any, where: str) -> bool | str:
    words = '"high", "medium", "low", "max", true, or false'
    if isinstance(value, str) and value not in ("high", "medium", "low", "max"):
        raise Refusal(400, f"invalid think value: {gojson.quote(value)} (must be {words})")
    if not isinstance(value, (bool, str)):
        raise Refusal(400, f"think must be a boolean or string ({words})")
    return value


def _keep_alive(value: Any, where: str) -> float:
    """Seconds: a number of them, or a Go duration; below zero means for ever."""
    if isinstance(value, (bool, list, dict)):
        go_type = {bool: "bool", list: "[]interface {}", dict: "map[string]interface {}"}
        raise Refusal(400, f"Unsupported type: '{go_type[type(value)]}'")
    seconds = duration(value) if isinstance(value, str) else float(value)
    return seconds if seconds >= 0 else float("inf")


def duration(text: str) -> float:
    """Seconds of a Go duration such as "5m" or "1h30m" (`time.ParseDuration`).

    >>> duration("1h30m"), duration("-0.5s"), duration("0")
    (5400.0, -0.5, 0.0)
    """
    shown = gojson.quote(text)
    invalid = Refusal(400, f"time: invalid duration {shown}")
    unsigned = text[1:] if text[:1] in ("-", "+") else text
    if unsigned == "0":
        return 0.0
    pieces = list(_PIECE.finditer(unsigned))
    if "".join(piece[0] for piece in pieces) != unsigned or not pieces:
        raise invalid
    for _, unit in map(re.Match.groups, pieces):
        if unit not in _UNITS:
            unknown = f"unknown unit {gojson.quote(unit)} in" if unit else "missing unit in"
            raise Refusal(400, f"time: {unknown} duration {shown}")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in map(re.Match.groups, pieces))
    if seconds > 2**63 / 1e9:  # Go counts nanoseconds in 64 bits
        raise invalid
    return -seconds if text[0] == "-" else seconds


READERS = {
    "any": lambda value, where: value,
    "api.Message": _message,
    "api.ImageData": _image,
    "Duration": _keep_alive,
    "ThinkValue": _think,
}


# ---- records


def record(path: str, model: str, text: str = "", **more: Any) -> dict:
    """One record of an answer, its keys in Ollama's order, empty and zero values left out.

    `more`: `done_reason` (makes it the last record), `thinking`, `tool_calls`, `context`, the
    metrics in nanoseconds; `created_at` where it is not now.

    >>> record("/api/generate", "m", "Yes", created_at="2026-11-22T10:00:00Z")
    {'model': 'm', 'created_at': '2026-11-22T10:00:00Z', 'response': 'Yes', 'done': False}
    """
    done = bool(more.get("done_reason"))
    values = {"model": model, "created_at": created_at(), "done": done, **more}
    if path == "/api/generate":
        return _ordered(GENERATE_KEYS, {**values, "response": text})
    message = _ordered(MESSAGE_KEYS, {**values, "role": "assistant", "content": text})
    return _ordered(CHAT_KEYS, {**values, "message": message})


def loaded(path: str, request: dict) -> dict:
    """The whole answer to a request that asks nothing."""
    reason = "unload" if request.get("keep_alive") == 0 else "load"
    return record(path, request["model"], done_reason=reason)


def whole(records: list[dict]) -> dict:
    """The answer to `"stream": false`: the last record, with the text of them all.

    >>> whole([{"response": "Yes", "done": False}, {"response": ".", "done": True}])
    {'response': 'Yes.', 'done': True}
    """
    last = records[-1]
    if "error" in last:
        return last
    if "message" not in last:
        return _joined(GENERATE_KEYS, records)
    message = _joined(MESSAGE_KEYS, [record["message"] for record in records])
    return {**_joined(CHAT_KEYS, records), "message": message}


def created_at(nanoseconds: int | None = None) -> str:
    """A moment (ns since 1970; default now) in UTC, as `created_at` shows it.

    >>> created_at(1_705_079_078_403_681_380)
    '2024-01-12T17:04:38.40368138Z'
    """
    return _moment(time.time_ns() if nanoseconds is None else nanoseconds, timezone.utc)


def local_time(nanoseconds: int) -> str:
    """A moment (ns since 1970) with this machine's offset, as `modified_at` shows it."""
    return _moment(nanoseconds, None)


def _moment(nanoseconds: int, zone: timezone | None) -> str:
    """RFC 3339 as Go writes it: the fraction without its last zeros, `Z` for UTC."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    text = datetime.fromtimestamp(seconds, timezone.utc).astimezone(zone).isoformat()
    digits = f".{fraction:09}".rstrip("0").rstrip(".")
    return text[:19] + digits + ("Z" if text[19:] == "+00:00" else text[19:])


def _ordered(keys: list[str], values: dict) -> dict:
    return {key: values[key] for key in keys if values.get(key) or key in ALWAYS}


def _joined(keys: list[str], records: list[dict]) -> dict:
    """The last record's values; text and lists are those of all records, one after the other."""
    values = dict(records[-1])
    for key in ("response", "content", "thinking", "tool_calls", "logprobs"):
        parts = [record[key] for record in records if record.get(key)]
        if parts:
            values[key] = "".join(parts) if isinstance(parts[0], str) else [*chain(*parts)]
    known = {key: values[key] for key in keys if key in values}
    return {**known, **values}
