"""An event loop that turns only while someone waits for an answer.

In a page, one loop runs already: the browser's, and it waits for the cell that runs. The server
needs a second one inside that cell. Its time passes with `time.sleep`, between the turns, so that
answers keep their pace in every browser.
"""

import asyncio
import heapq
import logging
import time
from asyncio import tasks
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from itertools import count
from typing import Any


class Call:
    """A function to call in a later turn, as `call_soon` and `call_later` return it."""

    def __init__(self, function: Callable, arguments: tuple, context: Context | None):
        self.function, self.arguments = function, arguments
        self.context = context or copy_context()
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled

    def run(self) -> None:
        if not self._cancelled:
            self.context.run(self.function, *self.arguments)


class PageLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as the built-in server needs; each `turn` does what is due."""

    def __init__(self):
        self._ready: deque[Call] = deque()
        self._later: list[tuple[float, int, Call]] = []  # a heap: when, in which order, what
        self._order = count()

    def turn(self, end: float | None = None) -> bool:
        """Do what is due, after a pause until then; until `end` at most, where one is given.

        False where there is no end and nothing will ever be due.
        """
        while self._later and self._later[0][2].cancelled():
            heapq.heappop(self._later)
        if not self._ready:
            moments = [self._later[0][0]] if self._later else []
            moments += [] if end is None else [end]
            if not moments:
                return False
            time.sleep(max(0.0, min(moments) - self.time()))
        while self._later and self._later[0][0] <= self.time():
            self._ready.append(heapq.heappop(self._later)[2])
        with self.in_charge():
            for _ in range(len(self._ready)):
                self._do(self._ready.popleft())
        return True

    def settle(self) -> None:
        """Do what is due now, and what follows from that, without a pause."""
        for _ in range(100):
            if not self._ready:
                return
            self.turn()

    @contextmanager
    def in_charge(self) -> Iterator[None]:
        """This loop in the place of the one that runs the cell, for code that asks which it is."""
        outer = asyncio._get_running_loop()
        task = asyncio.current_task(outer) if outer else None
        if task:
            tasks._leave_task(outer, task)
        asyncio._set_running_loop(self)
        try:
            yield
        finally:
            asyncio._set_running_loop(outer)
            if task:
                tasks._enter_task(outer, task)

    def _do(self, call: Call) -> None:
        try:
            call.run()
        except Exception as error:
            self.call_exception_handler({"message": "a call failed", "exception": error})

    # ---- what asyncio asks of a loop

    def time(self) -> float:
        return time.monotonic()

    def call_soon(self, callback: Callable, *args: Any, context: Context | None = None) -> Call:
        call = Call(callback, args, context)
        self._ready.append(call)
        return call

    def call_at(
        self, when: float, callback: Callable, *args: Any, context: Context | None = None
    ) -> Call:
        call = Call(callback, args, context)
        heapq.heappush(self._later, (when, next(self._order), call))
        return call

    def call_later(
        self, delay: float, callback: Callable, *args: Any, context: Context | None = None
    ) -> Call:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def create_future(self) -> asyncio.Future:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **more: Any) -> asyncio.Task:
        return asyncio.Task(coro, loop=self, **more)

    def run_in_executor(self, executor: Any, func: Callable, *args: Any) -> asyncio.Future:
        """There are no threads in a page: do it now."""
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done

    def call_exception_handler(self, context: dict) -> None:
        logging.getLogger(__name__).error(context["message"], exc_info=context.get("exception"))

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False
