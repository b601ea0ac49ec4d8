"""The records of a chat's answer, read on the event loop that is running: no thread waits.

A kernel has such a loop. Between two records it can take a press on Stop, and what it sends is
part of the answer to a message from the page. Some pages (Google Colab's) show nothing that a
thread sends.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import requests

from llamalab import client, diagnosis, find, keys
from llamalab.address import is_direct, keep_proxies_off_loopback, parse_host
from llamalab.errors import BrokenStream
from llamalab.wire import lines_of, load_record

if TYPE_CHECKING:
    import httpx


async def records(asked: dict, server: str | None = None) -> AsyncIterator[dict]:
    """Post a conversation (`POST /api/chat`) and yield the records as they arrive.

    Cancelling the task that iterates closes the connection, and so stops the model, also before
    anything has arrived. Raises what `client.post` and `client.records` raise. Where nothing has
    answered, or the answer is to be had elsewhere, the client asks again: it has more ways.
    """
    async with AsyncExitStack() as opened:
        response = await _answer(opened, asked, server)
        if response is None:
            for record in client.records(client.post("/api/chat", asked, server)):
                yield record
                await asyncio.sleep(0)  # the loop may have a press on Stop
            return
        import httpx  # a page has none, and asks the client's way

        record, rest = {}, b""
        try:
            async for chunk in response.aiter_bytes():
                *whole, rest = (rest + chunk).split(b"\n")
                for record in map(load_record, lines_of([b"\n".join(whole)])):
                    yield record
        except httpx.TransportError as error:
            slow = isinstance(error, httpx.TimeoutException)
            why = "nothing came any more" if slow else "the connection broke"
            raise BrokenStream("The answer was cut off.", why, do="ask again") from None
        for record in map(load_record, lines_of([rest])):
            yield record
        if record.get("done") is not True:
            why = 'it sent no last record ("done": true)'
            raise BrokenStream("The server stopped in the middle.", why, do="ask again")


async def _answer(opened: AsyncExitStack, asked: dict, server: str | None) -> httpx.Response | None:
    """The answer with its headers, its body still to be read; None for the client to ask."""
    address = _address(server)
    if find.page():
        return None
    import httpx

    timeout = httpx.Timeout(client.READ, connect=client.CONNECT)
    try:
        # `requests` writes the request, with the key of a netrc file where there is one.
        url, key = f"{address}/api/chat", keys.headers()
        post = requests.Request("POST", url, json=asked, headers=key)
        wanted = requests.Session().prepare_request(post)
        # httpx does not know each way to say that an address needs no proxy; `requests` does.
        asks = httpx.AsyncClient(timeout=timeout, trust_env=not is_direct(url))
        http = await opened.enter_async_context(asks)
        request = http.build_request(
            "POST", wanted.url, content=wanted.body, headers=dict(wanted.headers)
        )
        response = await http.send(request, stream=True)
    except httpx.ReadTimeout:
        raise diagnosis.not_begun(client.READ) from None
    except (httpx.TransportError, httpx.InvalidURL, requests.RequestException, ValueError):
        return None
    opened.push_async_callback(response.aclose)
    if response.has_redirect_location:
        return None
    if response.status_code != 200:
        raise diagnosis.refusal(await _as_requests_has_it(response, wanted), asked["model"])
    return response


async def _as_requests_has_it(
    answer: httpx.Response, request: requests.PreparedRequest
) -> requests.Response:
    """A refusal as it would have come through `requests`, which the table of diagnoses reads."""
    import httpx

    same = requests.Response()
    same.status_code, same.url, same.request = answer.status_code, request.url, request
    same.headers.update(answer.headers)
    same.encoding = requests.utils.get_encoding_from_headers(same.headers)
    try:
        same.raw = io.BytesIO(await answer.aread())
    except httpx.HTTPError:  # cut off, or not what its Content-Encoding says
        same.raw = io.BytesIO()
    return same


def offered(server: str | None = None) -> list[tuple[str, bool]]:
    """The server's models, and whether each is only a recording; [] where it does not say.

    Source: Ollama's API reference (`GET /api/tags`); "recording" is the built-in server's word.
    """
    address = _address(server)
    try:  # a page waits for it
        asked = {"timeout": (client.CONNECT, 5), "headers": keys.headers()}
        listed = requests.get(f"{address}/api/tags", **asked).json()["models"]
        return [(it["name"], it.get("details", {}).get("format") == "recording") for it in listed]
    except (requests.RequestException, ValueError, KeyError, TypeError, AttributeError):
        return []


def _address(server: str | None) -> str:
    keep_proxies_off_loopback()
    return keys.take_out(parse_host(server)) if server else find.address()
