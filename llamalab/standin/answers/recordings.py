"""Recordings: answers kept as the bytes that came, read from `*.ndjson` files.

A file's first line is the request, `{"path": "/api/generate", "json": {...}}`; all following
lines are the body of the streamed answer, byte for byte. Their pace needs no extra file: each
record's `created_at` says when it was made.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from llamalab.errors import LlamalabError
from llamalab.standin.ollama import protocol

FOLDER = Path(__file__).parents[2] / "recordings"  # those that come with llamalab

# Fields of a request that do not change the answer, or are the same as nothing.
IGNORED = ("model", "stream", "keep_alive")
DEFAULTS = {"raw": False, "logprobs": False, "top_logprobs": 0}
DEFAULTS |= {"truncate": True, "shift": True, "think": False}
# How a model is run says nothing about what is asked; nor do names that Ollama does not know.
OPTIONS_THAT_MATTER = protocol.OPTIONS.keys() - {"num_ctx", "num_thread", "num_batch", "num_gpu"}
OPTIONS_THAT_MATTER -= {"main_gpu", "use_mmap"}

# What must be right in a record, so that it can be joined and timed.
KINDS = {"message": dict, "response": str, "content": str, "thinking": str, "model": str}
KINDS |= {"done": bool, "tool_calls": list, "logprobs": list}
KINDS |= dict.fromkeys(protocol.METRICS, int)

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


class BadRecording(LlamalabError):
    """A recording that cannot be replayed; the message names the file and the line."""


@dataclass(frozen=True)
class Recording:
    """One answer: where it was asked, what was asked, and the lines that came."""

    path: str
    request: dict
    lines: list[bytes]
    pauses: list[float]  # seconds before each line, as recorded
    content: bytes  # of the complete file
    modified: int  # when the file was, in ns since 1970

    @property
    def model(self) -> str:
        """The model's full name."""
        return protocol.canonical(self.request["model"])

    @property
    def prompt(self) -> str:
        """What was asked, in one text."""
        return _prompt(self.path, self.request)

    def answers(self, path: str, request: dict) -> bool:
        """Whether this is the answer to `request` (as `protocol.read_request` gives it)."""
        return path == self.path and not self.differences(request)

    def asks_the_same(self, path: str, request: dict) -> bool:
        """Whether its prompt is the request's; the other fields may differ."""
        return path == self.path and _as_typed(_prompt(path, request)) == _as_typed(self.prompt)

    def differences(self, request: dict) -> list[str]:
        """The names of the fields that set a request at the same path apart from this one."""
        this, that = _what_matters(self.request), _what_matters(request)
        return sorted(key for key in {*this, *that} if this.get(key) != that.get(key))


def read_folder(folder: Path = FOLDER) -> list[Recording]:
    """All recordings of a folder, in the order of their file names. Raises `BadRecording`."""
    if not folder.is_dir():
        raise BadRecording(f"{folder} is not a folder")
    return [read(file) for file in sorted(folder.glob("*.ndjson"))]


def read(file: Path) -> Recording:
    """Read one recording. Raises `BadRecording`, which names the file and the line."""
    content = file.read_bytes()
    head, *lines = content.split(b"\n")
    if lines and lines[-1]:
        raise BadRecording(f"{file}, line {len(lines) + 1}: no newline at its end, it is cut off")
    path, request = _parsed(file, 1, _request, head)
    lines = [line + b"\n" for line in lines[:-1]]
    records = [_parsed(file, i, _record, line, path) for i, line in enumerate(lines, start=2)]
    if not records:
        raise BadRecording(f"{file}, line 2: the answer is missing")
    modified = file.stat().st_mtime_ns
    return Recording(path, request, lines, pauses(records), content, modified)


def pauses(records: list[dict]) -> list[float]:
    """Seconds before each record, from their `created_at`; never below zero.

    The first pause is what `total_duration` leaves for loading and reading the prompt.

    >>> pauses([{"created_at": "2024-01-12T17:04:38.4Z"},
    ...         {"created_at": "2024-01-12T17:04:38.9Z", "total_duration": 2_000_000_000}])
    [1.5, 0.5]
    """
    times = [moment(record["created_at"]) for record in records if "created_at" in record]
    times += times[-1:] * (len(records) - len(times))  # an error record carries no time
    if not times:
        return [0.0] * len(records)
    first = records[-1].get("total_duration", 0) - (times[-1] - times[0])
    return [max(0, ns) / 1e9 for ns in (first, *(b - a for a, b in pairwise(times)))]


def schedule(pauses: Iterable[float], speed: float) -> list[float]:
    """Seconds after the request at which each record is due; speed 0 makes no pauses.

    >>> schedule([1.5, 0.5], speed=2), schedule([1.5, 0.5], speed=0)
    ([0.75, 1.0], [0.0, 0.0])
    """
    return [due / speed if speed else 0.0 for due in accumulate(pauses)]


def moment(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time, all nine digits kept. Raises ValueError.

    >>> moment("1970-01-01T01:00:00.000000001+01:00")
    1
    """
    match = _MOMENT.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a time as in created_at")
    whole, fraction, zone = match.groups()
    seconds = datetime.fromisoformat(whole + zone.replace("Z", "+00:00")).timestamp()
    return int(seconds) * 10**9 + int((fraction or "0").ljust(9, "0"))


def _parsed(file: Path, number: int, parse: Callable[..., Any], line: bytes, *more: str) -> Any:
    try:
        return parse(_object(line), *more)
    except ValueError as error:
        raise BadRecording(f"{file}, line {number}: {error}") from None


def _object(line: bytes) -> dict:
    """The JSON object of a line. Raises ValueError."""
    if line.rstrip(b"\n").endswith(b"\r"):
        raise ValueError("it ends in \\r\\n: something has changed the recorded bytes")
    try:
        document = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise ValueError("not JSON that can be read: too many nests") from None
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    return document


def _request(head: dict) -> tuple[str, dict]:
    """The path and the fields of the request in a recording's first line."""
    path = head.get("path")
    if path not in ("/api/generate", "/api/chat"):
        raise ValueError(f'"path" is {path!r}, not /api/generate or /api/chat')
    try:
        request = protocol.read_fields(path, head.get("json"))
        protocol.check_model_name(path, request.get("model", ""))
    except protocol.Refusal as refusal:
        raise ValueError(refusal.text) from None
    if protocol.is_empty(path, request):
        raise ValueError("the request asks nothing")
    return path, request


def _record(record: dict, path: str) -> dict:
    """A record, once it is known that it can be replayed, joined and timed."""
    if "error" in record:
        return record
    message = record.get("message", {})
    for part in (record, message):
        for key, kind in KINDS.items():
            value = part.get(key, kind())
            if type(value) is not kind or (kind is int and not 0 <= value < 2**63):
                raise ValueError(f'"{key}" is not what Ollama has there')
    if ("content" not in message) if path == "/api/chat" else ("response" not in record):
        raise ValueError(f"not a record of {path}: it has no text")
    moment(str(record.get("created_at")))
    return record


def _prompt(path: str, request: dict) -> str:
    """The prompt, or what the last message says."""
    if path == "/api/chat":
        return request["messages"][-1].get("content", "")
    return request.get("prompt", "")


def _what_matters(request: dict) -> dict:
    """What of a request changes its answer: the model's name in one form, nothing empty.

    Prompts are compared as people type them: `are you listening ?` is `Are you listening?`.
    """
    fields = {key: _without_empty(value) for key, value in request.items() if key not in IGNORED}
    if "prompt" in fields:
        fields["prompt"] = _as_typed(fields["prompt"])
    for message in fields.get("messages", []):
        if "content" in message:
            message["content"] = _as_typed(message["content"])
    options = fields.get("options", {}).items()
    fields["options"] = {key: value for key, value in options if key in OPTIONS_THAT_MATTER}
    fields = {key: value for key, value in fields.items() if value != DEFAULTS.get(key, "")}
    return {**_without_empty(fields), "model": protocol.canonical(request["model"])}


def _as_typed(prompt: str) -> str:
    """A prompt without what does not matter: its case, the length of its spaces."""
    return re.sub(r" (?=[?!.,:;])", "", " ".join(prompt.split())).casefold()


def _without_empty(value: Any) -> Any:
    """Within requests, messages and options an empty field is as good as an absent one."""
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if item not in (None, "", [], {})}
    return value
