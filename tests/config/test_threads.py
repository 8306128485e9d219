"""Work beside the event loop: its outcome comes back, and nobody waits for it who has gone."""

import asyncio
import subprocess
import sys
import threading

import pytest
from tests.flow.waiting import until

from ai_gateway.config.threads import RELEASE_AT_ONCE, release_slowly, run_in_thread


async def test_what_is_returned_and_raised_comes_back() -> None:
    assert await run_in_thread(lambda: threading.current_thread().name, "mine") == "mine"
    with pytest.raises(ZeroDivisionError):
        await run_in_thread(lambda: 1 / 0)


async def test_whoever_has_gone_is_not_missed() -> None:
    """The work goes to its end, and its outcome nowhere."""
    go_on, is_done = threading.Event(), threading.Event()

    def work() -> None:
        go_on.wait(60)
        is_done.set()

    waiting = asyncio.create_task(run_in_thread(work))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()
    await until(is_done.is_set)


HANGS = """
import asyncio, time
from ai_gateway.config.threads import run_in_thread
async def main():
    task = asyncio.create_task(run_in_thread(lambda: time.sleep(3600)))
    await asyncio.sleep(0.05)
    task.cancel()
asyncio.run(main())
"""


def test_a_mount_that_hangs_does_not_hold_up_the_end() -> None:
    """Formerly a read in the loop's pool was waited for when the gateway left."""
    assert subprocess.run([sys.executable, "-c", HANGS], check=False, timeout=60).returncode == 0


async def test_many_things_are_let_go_of_by_and_by() -> None:
    few, many = [object()], [object() for _ in range(RELEASE_AT_ONCE + 1)]
    release_slowly(few)
    release_slowly(many)
    await until(lambda: not many)
    assert few
