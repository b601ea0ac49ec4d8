"""Where an engine listens: one HTTP request at a time, in the OpenAI protocol.

llama.cpp does a little more, and where it does we use it: it renders templates and turns text
into tokens. Source: `tools/server/README.md` of llama.cpp.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx

from llamalab.standin import limits
from llamalab.standin.ollama.protocol import DIED, Refusal

TOO_LONG = (
    "the prompt is longer than the context length currently available to the model; shorten the "
    "prompt, adjust the context length in settings, or use a model with a longer context length"
)


@dataclass
class Endpoint:
    """Where an engine listens: the address before /v1, its key, its name for the model.

    `context` is how many tokens its prompt and answer may have together, where we know it: with
    the engine on this machine, which is also kept from requests that would hold it up.
    """

    url: str
    key: str = ""
    model: str = ""
    context: int | None = None

    def __post_init__(self):
        self._certificates = httpx.create_ssl_context(trust_env=False)  # once: it takes 20 ms

    def client(self, timeout: float | None = None) -> httpx.AsyncClient:
        """A client for one request. Not the environment's proxies or passwords.

        Each request has its own client, and so its own connection, which ends with it. An engine
        that hangs up on an idle one would spoil the next request; and a connection that httpx is
        about to close when its reader is cancelled stays open, unless the client is closed, too.
        """
        return httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.key}"} if self.key else {},
            timeout=httpx.Timeout(timeout, connect=5),
            verify=self._certificates,
            trust_env=False,
        )

    async def ask(self, path: str, body: dict | None = None) -> Any:
        """One JSON answer; GET where there is no body. Raises `Refusal` with the engine's words."""
        try:
            async with self.client() as client:
                answer = await client.request("POST" if body else "GET", path, json=body)
        except httpx.HTTPError as error:
            raise Unreachable(self.url, error) from None
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
            async with self.client() as client, client.stream("POST", path, json=body) as answer:
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
            raise Unreachable(self.url, error) from None
        except (httpx.HTTPError, ValueError):
            raise EngineGone(500, DIED) from None

    @property
    def longest(self) -> int | None:
        """The bytes from which on no prompt fits in its context."""
        return self.context and self.context * limits.BYTES_PER_TOKEN

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


class TooLong(Refusal):
    """A prompt does not fit, by `excess` tokens at least."""

    def __init__(self, excess: int = 1):
        super().__init__(400, TOO_LONG)
        self.excess = excess


class EngineGone(Refusal):
    """The engine has broken off: it may have ended."""


class Unreachable(EngineGone):
    """The engine was not even asked: nothing listens there."""

    def __init__(self, url: str, error: Exception):
        super().__init__(500, f"the engine at {url} cannot be reached: {error}")


def checked(event: Any) -> dict:
    """A chunk, unless it is an error in the middle of the answer."""
    if not isinstance(event, dict) or event.get("error") or "choices" not in event:
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
