"""Measures how late the event loop is, by a timer four times a second."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from ai_gateway.telemetry import names
from ai_gateway.telemetry.sample import Sample
from ai_gateway.telemetry.series import Histogram

EVERY_SECONDS: Final = 0.25


class LoopLag:
    """Measures while its block runs. `clock` is monotonic seconds; uvloop's clock does not move within a round."""

    def __init__(self, clock: Callable[[], float], every_seconds: float = EVERY_SECONDS) -> None:
        self._clock = clock
        self._every_seconds = every_seconds
        self._lags = Histogram(names.BUCKETS[names.LOOP_LAG])
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    @contextmanager
    def running(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Measures this loop until the end of the block."""
        self._wait(loop)
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def samples(self) -> Iterator[Sample]:
        """The measurements so far."""
        yield Sample(names.LOOP_LAG, self._lags.read())

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = self._clock() + self._every_seconds
        self._timer = loop.call_later(self._every_seconds, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._lags.observe(max(0.0, self._clock() - self._due))
        self._wait(loop)
