"""Many rings are heard once, and none is missed, whatever became of who waited before."""

import asyncio
import threading

from tests.flow.waiting import soon

from ai_gateway.cluster.change_notice import ChangeNotice

ROUNDS = 10  # of the event loop: more than a ring takes to be heard


async def rounds() -> None:
    """Everything that is ready to run has run."""
    for _ in range(ROUNDS):
        await asyncio.sleep(0)


async def test_many_rings_are_heard_once() -> None:
    """A list of 500 pods is one change of the fleet; the next ring is the next one."""
    notice = ChangeNotice(settle_seconds=0.0)
    for _ in range(500):
        notice.notify()
    await soon(notice.wait())
    second = asyncio.create_task(notice.wait())
    await rounds()
    assert not second.done()
    notice.notify()
    await soon(second)


async def test_what_rings_is_not_heard_before_the_burst_has_settled() -> None:
    """What comes until then is taken up together with it."""
    notice = ChangeNotice(settle_seconds=60.0)
    notice.notify()
    waiting = asyncio.create_task(notice.wait())
    await rounds()
    assert not waiting.done()
    waiting.cancel()


async def test_a_waiter_that_is_cancelled_takes_no_ring_with_it() -> None:
    """Who waits next hears it."""
    notice = ChangeNotice(settle_seconds=0.0)
    cancelled = asyncio.create_task(notice.wait())
    await rounds()
    notice.notify()
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    await soon(notice.wait())


async def test_a_ring_after_a_wait_that_gave_up_is_heard() -> None:
    """And no old one stands in its way."""
    notice = ChangeNotice(settle_seconds=0.0)
    notice.notify()
    await notice.wait(0.0)
    notice.notify()
    await soon(notice.wait())


async def test_a_bell_rung_in_another_thread_is_heard() -> None:
    """A thousand rings are one."""
    notice = ChangeNotice(settle_seconds=0.01)

    def ring_on() -> None:
        for _ in range(1000):
            notice.notify()

    ringing = threading.Thread(target=ring_on)
    ringing.start()
    await soon(notice.wait())
    ringing.join()
    notice.notify()
    await soon(notice.wait())


async def test_waiting_has_an_end_if_it_is_asked_for() -> None:
    await soon(ChangeNotice().wait(0.01))


def test_a_bell_of_a_loop_that_is_closed_is_rung_without_harm() -> None:
    """A thread may outlive the loop by a moment."""
    bells = []

    async def make() -> None:
        bells.append(ChangeNotice())

    asyncio.run(make())
    bells[0].notify()
