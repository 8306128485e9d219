"""Waiting for a slot: connects the scheduler with a clock and futures."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ai_gateway.simulator.runner import Ticket
from ai_gateway.simulator.scheduler import Limits, Scheduler


class Leasing:
    """Wakes requests when the scheduler lets them run; one timer serves all its deadlines. Belongs to an endpoint."""

    def __init__(self, limits: Limits) -> None:
        self._loop = asyncio.get_running_loop()
        self._futures: dict[Ticket, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None  # what the timer is set to
        self._is_closed = False
        self.now = self._loop.time
        self.scheduler = Scheduler(limits, self.now)

    @asynccontextmanager
    async def lease(self, ticket: Ticket) -> AsyncIterator[Ticket]:
        """A slot on a loaded model, held until the block is left. Raises `Busy`."""
        granted = self._loop.create_future()
        self._futures[ticket] = granted
        try:
            self._settle(self.scheduler.ask(ticket))
            await granted
            yield ticket
        finally:
            self._futures.pop(ticket, None)
            self._settle(self.scheduler.leave(ticket))

    def unload(self, weights: str) -> None:
        """Unloads a model as soon as it is idle."""
        self._settle(self.scheduler.unload(weights))

    def close(self) -> None:
        """Cancels the timer; the process is gone."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _settle(self, granted: list[Ticket]) -> None:
        for ticket in granted:
            future = self._futures.get(ticket)
            if future is not None and not future.done():
                future.set_result(None)
        self._arm()

    def _arm(self) -> None:
        deadline = self.scheduler.next_deadline()
        if deadline == self._deadline:
            return
        self._deadline = deadline
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None and not self._is_closed:
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = self._deadline = None
        self._settle(self.scheduler.advance())
