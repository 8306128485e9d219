"""Emits tokens when they are due: one timer per answer and no task, so that a thousand answers are cheap."""

import asyncio
from collections.abc import Callable
from typing import Protocol

_AT_ONCE = 1000  # tokens emitted at once if they cost no time, so that other answers can run


class Outlet(Protocol):
    """Where tokens go. While it is paused, no token is emitted and the answer's time stands still."""

    is_paused: bool
    on_resume: Callable[[], None] | None


class Pacing:
    """Calls `emit(first, last)` for the tokens first..last-1 as they become due, `interval` seconds apart.

    Token n is due n + 1 intervals after the start, so that delays do not add up.
    """

    def __init__(self, count: int, interval: float, emit: Callable[[int, int], None], outlet: Outlet) -> None:
        self._loop = asyncio.get_running_loop()
        self._count = count
        self._interval = interval
        self._emit = emit
        self._outlet = outlet
        self._given = 0
        self._timer: asyncio.Handle | None = None
        self._done: asyncio.Future[None] = self._loop.create_future()

    async def run(self) -> None:
        """Returns when all tokens are out. Cancelling it stops the timer."""
        if self._count <= 0:
            return
        self._started_at = self._loop.time()
        self._outlet.on_resume = self._resume
        self._schedule()
        try:
            await self._done
        finally:
            self._outlet.on_resume = None
            if self._timer is not None:
                self._timer.cancel()

    def _schedule(self) -> None:
        if self._interval > 0:
            due = self._started_at + (self._given + 1) * self._interval
            self._timer = self._loop.call_at(due, self._tick)
        else:
            self._timer = self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._done.done():
            return
        if self._outlet.is_paused:
            self._paused_at = self._loop.time()
            return
        first = self._given
        self._given = last = max(first + 1, min(self._count, self._due()))
        try:
            self._emit(first, last)
        except Exception as error:
            self._done.set_exception(error)
            return
        if last >= self._count:
            self._done.set_result(None)
        else:
            self._schedule()

    def _due(self) -> int:
        """How many tokens are due by now."""
        if self._interval <= 0:
            return self._given + _AT_ONCE
        return int((self._loop.time() - self._started_at) / self._interval)

    def _resume(self) -> None:
        if self._timer is None and not self._done.done():
            self._started_at += self._loop.time() - self._paused_at
            self._schedule()
