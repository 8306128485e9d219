"""Turns at the event loop: work in slices lets all other tasks run between two of them."""

import asyncio
from collections.abc import Callable, Generator
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")


class FairSlices:
    """`async with slices:` encloses one slice. All requests together do one slice per round of the loop."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await asyncio.sleep(0)
        finally:
            self._lock.release()

    async def through(self, steps: Generator[int, None, T], made: Callable[[int], None]) -> T:
        """Does all steps, one per turn. Calls `made` with the bytes that a step holds more, or less."""
        while True:
            async with self:
                try:
                    size = next(steps)
                except StopIteration as end:
                    result: T = end.value
                    return result
                if size:
                    made(size)
