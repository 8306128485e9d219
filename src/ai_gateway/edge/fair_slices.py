"""Turns at the event loop: work that is done in slices waits behind all else between two of them."""

import asyncio
from collections.abc import Callable, Generator
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")


class FairSlices:
    """`async with turns:` encloses one slice. One slice of all is done per round of the loop, whoever's it is."""

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
        """Does all steps, one a turn; `made` is told by how many bytes each has changed what is held."""
        while True:
            async with self:
                try:
                    size = next(steps)
                except StopIteration as end:
                    result: T = end.value
                    return result
                if size:
                    made(size)
