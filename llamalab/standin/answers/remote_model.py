"""A model elsewhere that speaks the OpenAI protocol: vLLM, SGLang, Ray Serve, a llama-server."""

import contextlib
import hashlib
import re
import time
from collections.abc import AsyncIterator

import httpx

from llamalab.errors import ServerNotFound
from llamalab.standin.answers.endpoint import Endpoint
from llamalab.standin.answers.live import LiveModel
from llamalab.standin.ollama import protocol


class RemoteModel(LiveModel):
    """A model elsewhere that speaks the OpenAI protocol, such as that of vLLM or Ray Serve."""

    thinks = True  # it may: the engine knows, and says so if not

    def __init__(self, url: str, model: str):
        self._endpoint = Endpoint(url, model=model)
        self.name = protocol.name_of(model)
        self._since = time.time_ns()

    def here(self) -> bool:
        return True

    def item(self) -> dict:
        name = protocol.short_name(self.name)
        return {
            "name": name,
            "model": name,
            "modified_at": protocol.local_time(self._since),
            "size": 0,
            "digest": hashlib.sha256(self._endpoint.model.encode()).hexdigest(),
            "details": {
                "parent_model": "",
                "format": "remote",
                "family": "unknown",
                "families": ["unknown"],
                "parameter_size": "unknown",
                "quantization_level": "unknown",
            },
            "capabilities": ["completion"],
        }

    def show(self, model: str = "") -> dict:
        item = self.item()
        return {
            "modelfile": f"# {item['name']}, served by the engine at {self._endpoint.url}\n",
            "details": item["details"],
            "model_info": {},
            "capabilities": item["capabilities"],
            "modified_at": item["modified_at"],
        }

    @contextlib.asynccontextmanager
    async def use(self, keep_alive: float | None) -> AsyncIterator[Endpoint]:
        yield self._endpoint


def remote_model(url: str, model: str = "") -> RemoteModel:
    """The engine at `url` (with or without its /v1); `model` is its name there, or its first.

    Raises `ServerNotFound` where nothing there speaks the OpenAI protocol.
    """
    root = re.sub(r"/v1/?$|/$", "", url)
    try:
        listed = httpx.get(f"{root}/v1/models", timeout=5, trust_env=False).json()
        return RemoteModel(root, model or listed["data"][0]["id"])
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
        why = str(error) if isinstance(error, httpx.HTTPError) else "it does not list its models"
        do = "llamalab serve --engine http://HOST:PORT/v1"
        raise ServerNotFound(f"No engine answers at {url}.", why, do) from None
