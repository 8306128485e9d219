"""What the writer's thread must survive, and what it must still do when the gateway leaves."""

import asyncio
import sys
import time

import pytest
from tests.audit.entries import entry
from tests.audit.scripted import Scripted, writing
from tests.flow.waiting import until

from ai_gateway.audit.backlog import Backlog
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.store import StoreTooNew, StoreUnavailable


async def test_an_unexpected_failure_does_not_end_the_writer(caplog: pytest.LogCaptureFixture) -> None:
    """The log has each kind once, though they take turns."""
    kept = Scripted()
    kept.failures = [KeyError("odd"), ValueError("odder"), KeyError("odd"), ValueError("odder")]
    async with writing(kept) as made:
        made.enqueue(entry(request_id="r"))
        await until(lambda: len(kept.entries) == 1, "it is written all the same")
        assert made.failure is None
    assert caplog.text.count("failed unexpectedly") == caplog.text.count("Traceback") == 2


class _Broken(Scripted):
    def heartbeat(self, writer: str) -> None:
        self.tries += 1
        raise KeyError(f"odd, for the {self.tries}. time")


async def test_an_unexpected_failure_that_stays_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Also if its text changes each time."""
    broken = _Broken()
    async with writing(broken):
        await until(lambda: broken.tries > 5, "it is tried again and again")
    assert len([one for one in caplog.records if one.exc_info]) == 1


async def test_a_second_place_that_is_closed_harms_nothing() -> None:
    """As standard output may be: that is no OSError."""
    kept = Scripted()

    def closed(_: object) -> None:
        raise ValueError("I/O operation on closed file")

    async with writing(kept, sink=closed) as made:
        for _ in range(1200):
            made.enqueue(entry())
        await until(lambda: len(kept.entries) == 1200, "all is written")
        made.enqueue(entry())
        await until(lambda: len(kept.entries) == 1201, "and so is what comes later")


async def test_a_store_that_fails_while_the_gateway_leaves_is_tried_until_the_patience_is_over() -> None:
    kept = Scripted()
    async with writing(kept) as made:
        kept.trouble = "locked"
        for _ in range(50):
            made.enqueue(entry())
        await until(lambda: made.failure == "locked", "it fails")
        asyncio.get_running_loop().call_later(0.3, lambda: setattr(kept, "trouble", None))
        assert await asyncio.to_thread(made.stop, 5.0) == 0
    assert len(kept.entries) == 50


async def test_a_store_that_stays_away_is_given_up_when_the_patience_is_over() -> None:
    kept = Scripted()
    async with writing(kept) as made:
        kept.trouble = "away"
        made.enqueue(entry())
        await until(lambda: made.failure == "away", "it fails")
        began = time.monotonic()
        assert await asyncio.to_thread(made.stop, 0.4) == 1
        assert time.monotonic() - began < 30


def test_whoever_leaves_while_the_thread_goes_to_sleep_is_heard() -> None:
    loop = asyncio.new_event_loop()
    waiting = Backlog(loop)
    waiting.leave()
    began = time.monotonic()
    waiting.wait(120)
    assert time.monotonic() - began < 60
    loop.close()


async def test_what_waits_longest_is_known_while_it_moves() -> None:
    """Else the metric of the lag would fall to zero now and then while the store is away."""
    waiting = Backlog(asyncio.get_running_loop())
    for _ in range(1000):
        waiting.put(entry())
    seen: list[AuditEntry | None] = []
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        moving = asyncio.create_task(asyncio.to_thread(_move_on, waiting))
        while not moving.done():
            seen += [waiting.oldest() for _ in range(100)]
            await asyncio.sleep(0)
    finally:
        sys.setswitchinterval(usual)
    assert None not in seen


def _move_on(waiting: Backlog) -> None:
    for _ in range(200):
        waiting.gather(is_leaving=False)
        waiting.give_back(StoreUnavailable("away"))


async def test_an_intent_that_is_refused_at_once_leaves_nothing_behind() -> None:
    """Its end comes all the same, closes nothing, and takes the note of it away."""
    kept = Scripted()
    async with writing(kept) as made:
        kept.trouble = "away"
        made.enqueue(entry())
        await until(lambda: made.failure == "away", "it fails")
        with pytest.raises(StoreUnavailable):
            await made.durable(entry(kind="intent", intent="i"))
        made.enqueue(entry(request_id="refused", intent="i"))
        kept.trouble = None
        await until(lambda: len(kept.entries) == 2, "both are written")
        assert kept.entries[-1].intent is None
        await until(lambda: not made._backlog.unwritten, "nothing is remembered")


class _Newer(Scripted):
    def open(self) -> None:
        raise StoreTooNew("made by a newer gateway")


async def test_a_store_that_is_too_new_is_told_apart() -> None:
    """It will not be mended by waiting: such a gateway is not ready in any mode."""
    async with writing(_Newer()) as made:
        assert made.is_outdated
    away = Scripted()
    away.trouble = "away"
    async with writing(away) as made:
        assert not made.is_outdated
