"""OpenAI's chat completions and Ollama's chat, each in the other's words.

As a real Ollama does, `/v1/chat/completions` is answered by way of `/api/chat`: its request
becomes one of that endpoint, and the records of the answer become chunks. Sources: `openai/` in
https://github.com/ollama/ollama, https://platform.openai.com/docs/api-reference/chat.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from datetime import datetime
from typing import Any

from llamalab.standin.ollama import gojson
from llamalab.standin.ollama.protocol import Refusal, read_fields

# OpenAI's names -> those of Ollama's options. Of two that mean the same the second one wins.
OPTIONS = {"max_tokens": "num_predict", "max_completion_tokens": "num_predict", "stop": "stop"}
OPTIONS |= {name: name for name in ("temperature", "top_p", "seed")}
OPTIONS |= {name: name for name in ("presence_penalty", "frequency_penalty")}
USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")


def chat_request(asked: Any) -> dict:
    """The `/api/chat` request (as `protocol.read_request` gives it) that asks the same.

    Raises `Refusal` 400 where a field is not what it should be.

    >>> chat_request({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stop": "."})
    {'model': 'm', 'messages': [{'role': 'user', 'content': 'Hi'}], 'options': {'stop': ['.']}}
    """
    if not isinstance(asked, dict):
        raise Refusal(400, "the request is not a JSON object")
    if not isinstance(asked.get("stream_options") or {}, dict):
        raise Refusal(400, "stream_options is not a JSON object")
    messages = asked.get("messages")
    if isinstance(messages, list):
        messages = [_message(message) for message in messages]
    options = {OPTIONS[name]: asked[name] for name in OPTIONS if asked.get(name) is not None}
    if isinstance(options.get("stop"), str):
        options["stop"] = [options["stop"]]
    fields = {"messages": messages, "options": options, "format": _format(asked)}
    fields |= {name: asked.get(name) for name in ("stream", "tools")}
    request = read_fields("/api/chat", {"model": asked.get("model") or "", **fields})
    if not request.get("messages"):
        raise Refusal(400, "[] is too short - 'messages'")
    return request


async def chunks(
    lines: AsyncGenerator[bytes, None], name: str
) -> AsyncGenerator[dict[str, Any], None]:
    """The chunks of an answer, from its lines; `name` is their id.

    One with the role and the first text, one for each further text, one with the reason to stop,
    and one with the usage (`choices` empty). Raises `Refusal` for an error record.
    """
    role = {"role": "assistant"}
    async with aclosing(lines):
        async for line in lines:
            for chunk in _chunks(gojson.decode(line), name, role):
                role = {}
                yield chunk


def completed(chunks: list[dict]) -> dict:
    """The answer in one piece (`"stream": false`), from the chunks of its stream."""
    choices = [choice for each in chunks for choice in each["choices"]]
    text = "".join(choice["delta"].get("content", "") for choice in choices)
    reason = next((choice["finish_reason"] for choice in choices if choice["finish_reason"]), None)
    message = {"role": "assistant", "content": text}
    return {
        **chunks[-1],
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
    }


def _chunks(record: dict, name: str, role: dict) -> Iterator[dict]:
    """The chunks that say what one record says."""
    if "error" in record:
        raise Refusal(500, record["error"])
    made = datetime.fromisoformat(record["created_at"][:19] + "+00:00")
    envelope = {"id": name, "object": "chat.completion.chunk", "created": int(made.timestamp())}
    envelope |= {"model": record.get("model", ""), "system_fingerprint": "fp_llamalab"}

    def chunk(delta: dict, reason: str | None) -> dict:
        return {**envelope, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    message = record["message"]
    delta = {"content": message["content"]} if message["content"] else {}
    if message.get("thinking"):
        delta["reasoning"] = message["thinking"]
    if delta:
        yield chunk({**role, **delta}, None)
        role = {}
    if record.get("done"):
        yield chunk(role, record.get("done_reason", "stop"))
        asked, said = record.get("prompt_eval_count", 0), record.get("eval_count", 0)
        usage = dict(zip(USAGE, (asked, said, asked + said), strict=True))
        yield {**envelope, "choices": [], "usage": usage}


def _message(message: Any) -> Any:
    """A message whose content is one text; OpenAI has lists of parts, too."""
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return message
    texts = [part.get("text") if isinstance(part, dict) else None for part in content]
    if not all(isinstance(text, str) for text in texts):
        raise Refusal(400, "a message has a part that is not text")
    return {**message, "content": "\n".join(texts)}


def _format(asked: dict) -> Any:
    """Ollama's `format` for OpenAI's `response_format`."""
    wanted = asked.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_schema" and isinstance(wanted.get("json_schema"), dict):
        return wanted["json_schema"].get("schema")
    return "json" if kind == "json_object" else None
