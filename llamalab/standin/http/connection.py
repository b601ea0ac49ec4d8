"""A connection and its limits: what uvicorn does, and what it does not.

uvicorn knows no limit on the time in which a request comes, and answers what it refuses in
plain text. This class sits where the bytes come in, and so also sees what never becomes a
request.
"""

import asyncio
import sys
from http import HTTPStatus
from typing import Any

import h11
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from llamalab.standin import limits
from llamalab.standin.http.responses import error_response
from llamalab.standin.ollama.protocol import BUSY

CLOSE = {"Connection": "close"}


class Connection(H11Protocol):
    """uvicorn's connection, within `limits`; and it can be hung up, which is what `faults` does."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.app = with_ollamas_header_names(self.app)

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "hang_up": transport.close}
        self._waits_for = None  # a state of h11's: how far the request has come
        self._coming = self._unread = None  # timers: for the request, for the answer
        self._refused, self._size = False, 0
        if len(self.connections) > limits.MAX_CONNECTIONS:
            self.app = busy
        if len(self.connections) > 2 * limits.MAX_CONNECTIONS:
            return transport.abort()
        self._watch()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        in_body = self.conn.their_state is h11.SEND_BODY
        self._size = self._size + len(data) if in_body else 0
        if self._size > limits.MAX_BODY + limits.MAX_DISCARDED:
            return self.transport.abort()
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:  # of the next request, which came with this one
            self._watch()

    def send_400_response(self, msg: str) -> None:
        """What comes is not HTTP: uvicorn calls this while it handles h11's error."""
        error = sys.exc_info()[1]
        if getattr(error, "error_status_hint", 400) == 431:
            return self.refuse(431, limits.HEAD_TOO_LONG)
        why = "a chunk has no length" if "chunk header" in str(error) else error or msg
        self.refuse(400, f"the request is not HTTP: {why}")

    def refuse(self, status: int, text: str) -> None:
        """Answer, unless an answer has begun, and close once the sender had time to read it."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        begun = self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE)
        if self.cycle and not self.cycle.response_complete:
            self.cycle.disconnected = True  # the app has nothing to say any more
        self._stop(self._coming)
        if begun:
            return self.transport.close()
        answer = error_response(status, text, headers=CLOSE)
        head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        head += [f"{name.title()}: {value}" for name, value in answer.headers.items()]
        self.transport.write("\r\n".join([*head, "", ""]).encode() + answer.body)
        self.transport.write_eof()
        self.flow.resume_reading()  # else we would not see the sender leave
        self._coming = self.loop.call_later(limits.LINGER, self.transport.close)

    def _watch(self) -> None:
        """Let the time run for what is still to come of the request."""
        state = self.conn.their_state
        if self._refused or state is self._waits_for:
            return
        self._stop(self._coming)
        seconds = {h11.IDLE: limits.HEAD_TIME, h11.SEND_BODY: limits.BODY_TIME}.get(state)
        if seconds:
            self._coming = self.loop.call_later(seconds, self._too_late, seconds)
        self._waits_for = state

    def _too_late(self, seconds: float) -> None:
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            return self.transport.close()  # not a word was said
        self.refuse(408, f"the request did not come to its end in {seconds:g} seconds")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(limits.UNREAD_TIME, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop(self._unread)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # uvicorn forgets it where the reader has hung up
        self._stop(self._coming)
        self._stop(self._unread)

    @staticmethod
    def _stop(timer: asyncio.TimerHandle | None) -> None:
        if timer:
            timer.cancel()


def with_ollamas_header_names(app: ASGIApp) -> ASGIApp:
    """`Content-Type`, as a reader of `response.headers` sees it with a real Ollama."""

    async def with_names(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_names(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(name.title(), value) for name, value in message.get("headers", ())]
                message = {**message, "headers": headers}
            await send(message)

        await app(scope, receive, send_with_names)

    return with_names


async def busy(scope: Scope, receive: Receive, send: Send) -> None:
    """The answer where there are too many connections, once the request has been read."""
    while (await receive()).get("more_body"):
        pass
    await error_response(503, BUSY, headers=CLOSE)(scope, receive, send)
