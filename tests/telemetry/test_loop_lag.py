"""How late the event loop is, and no measurement after the gateway has ended."""

import asyncio
import time

from tests.flow.waiting import until

from ai_gateway.telemetry.loop_lag import LoopLag
from ai_gateway.telemetry.series import Distribution


def read(lag: LoopLag) -> Distribution:
    (sample,) = lag.samples()
    assert isinstance(sample.value, Distribution)
    return sample.value


async def test_a_blocked_loop_is_late() -> None:
    """By about as long as it was held."""
    lag = LoopLag(time.monotonic, every_seconds=0.01)
    with lag.running(asyncio.get_running_loop()):
        await until(lambda: read(lag).count >= 2)
        before = read(lag)
        time.sleep(0.15)  # noqa: ASYNC251 - this is what holds it up
        await until(lambda: read(lag).count > before.count)
    after = read(lag)
    assert sum(after.counts[6:]) >= 1  # beyond 0.1 s
    assert after.total - before.total > 0.1


async def test_nothing_is_measured_after_the_end() -> None:
    lag = LoopLag(time.monotonic, every_seconds=0.005)
    with lag.running(asyncio.get_running_loop()):
        await until(lambda: read(lag).count)
    count = read(lag).count
    await asyncio.sleep(0.03)
    assert read(lag).count == count


async def test_a_clock_that_goes_ahead_of_the_timer_is_no_negative_lag() -> None:
    """A timer may come a little early."""
    lag = LoopLag(lambda: 5.0, every_seconds=0.005)
    with lag.running(asyncio.get_running_loop()):
        await until(lambda: read(lag).count)
    assert read(lag).total == 0
