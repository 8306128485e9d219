"""Splits long work over rounds of the event loop: other tasks run between two slices."""

import asyncio
from collections.abc import Callable, Generator
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")


class FairSlices:
    """`async with slices:` encloses one slice. Each round of the loop runs one slice, of all callers together."""

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

    async def through(self, steps: Generator[int, None, T], changed: Callable[[int], None]) -> T:
        """Runs all steps, one per round. `changed` gets how many bytes a step added or freed."""
        while True:
            async with self:
                try:
                    size = next(steps)
                except StopIteration as end:
                    result: T = end.value
                    return result
                if size:
                    changed(size)
