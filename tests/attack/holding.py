"""How long the event loop is held: this thread's CPU inside single callbacks, so that a busy machine adds nothing."""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Held:
    """The longest callback seen so far, in seconds of this thread's CPU, and all of them together."""

    longest_seconds: float = 0.0
    total_seconds: float = 0.0

    def __str__(self) -> str:
        return f"loop held {self.longest_seconds * 1000:.1f} ms at once, {self.total_seconds * 1000:.1f} ms in all"


@contextmanager
def callbacks_timed() -> Iterator[Held]:
    """Times each callback of asyncio's own loop while the block runs: a loop of uvloop's is not seen.

    The heap of the tests is set aside, as `serve` does with its own, so that no collection of it is counted.
    """
    held = Held()
    run = asyncio.Handle._run

    def timed(self: asyncio.Handle) -> None:
        began = time.thread_time()
        run(self)
        spent = time.thread_time() - began
        held.longest_seconds = max(held.longest_seconds, spent)
        held.total_seconds += spent

    gc.collect()
    gc.freeze()
    asyncio.Handle._run = timed  # type: ignore[method-assign]  # the one place where a loop runs anything
    try:
        yield held
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]
        gc.unfreeze()
