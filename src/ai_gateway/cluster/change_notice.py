"""Lets threads tell the event loop that something has changed: many notices wake it once."""

import asyncio
from contextlib import suppress
from typing import Final

# The loop handles all events of a burst within this time together: 500 pods are one change of the fleet, not 500.
SETTLE_SECONDS: Final = 0.025


class ChangeNotice:
    """Any thread may notify it. One task waits for it, in the loop that created it."""

    def __init__(self, settle_seconds: float = SETTLE_SECONDS) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._is_pending = False
        self._settle_seconds = settle_seconds

    def notify(self) -> None:
        """Something has changed. Cheap if a notice is pending already."""
        if not self._is_pending:
            self._is_pending = True
            with suppress(RuntimeError):  # the loop is closed: no task waits any more
                self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, seconds: float | None = None) -> None:
        """Returns shortly after a notice, or after so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
                await asyncio.sleep(self._settle_seconds)
        # In this order: the caller sees the change of every notice from here on, or the next call returns for it.
        self._event.clear()
        self._is_pending = False
