"""Waiting for what must come, with an end: nothing in these tests sleeps and hopes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

PATIENCE_SECONDS = 30.0  # on a busy machine too, only what hangs takes so long
POLL_SECONDS = 0.005

T = TypeVar("T")


async def until(condition: Callable[[], object], what: str = "", seconds: float = PATIENCE_SECONDS) -> float:
    """Returns once the condition holds, with the seconds it took; fails when it does not come to hold."""
    started_at = time.monotonic()
    while not condition():
        assert time.monotonic() - started_at < seconds, f"not within {seconds:g} s: {what or condition}"
        await asyncio.sleep(POLL_SECONDS)
    return time.monotonic() - started_at


async def soon(awaited: Awaitable[T], seconds: float = PATIENCE_SECONDS) -> T:
    """What is awaited, if it comes within the tests' patience."""
    async with asyncio.timeout(seconds):
        return await awaited
