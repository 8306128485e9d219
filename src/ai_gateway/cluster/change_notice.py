"""How threads tell the event loop that something has changed: many rings are heard as one."""

import asyncio
from contextlib import suppress
from typing import Final

# Events of a burst that come within this time are taken up together: 500 pods are one change of the fleet, not 500.
SETTLE_SECONDS: Final = 0.025


class ChangeNotice:
    """Rung in any thread, heard by one waiter in the loop that it was made in."""

    def __init__(self, settle_seconds: float = SETTLE_SECONDS) -> None:
        self._loop = asyncio.get_running_loop()
        self._heard = asyncio.Event()
        self._is_rung = False
        self._settle_seconds = settle_seconds

    def ring(self) -> None:
        """Something has changed; cheap where it is rung already."""
        if not self._is_rung:
            self._is_rung = True
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._heard.set)

    async def wait(self, seconds: float | None = None) -> None:
        """Returns a moment after it was rung, or when the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._heard.wait()
                await asyncio.sleep(self._settle_seconds)
        # In this order: what is rung from here on is seen by whoever looks after this call, or heard by the next.
        self._heard.clear()
        self._is_rung = False
