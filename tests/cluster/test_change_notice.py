"""Many notices wake the waiter once, and none is lost, whatever happened to earlier waiters."""

import asyncio
import threading

from tests.flow.waiting import soon

from ai_gateway.cluster.change_notice import ChangeNotice

ROUNDS = 10  # of the event loop: more than a notice needs


async def rounds() -> None:
    """Everything that is ready to run has run."""
    for _ in range(ROUNDS):
        await asyncio.sleep(0)


async def test_many_notices_wake_the_waiter_once() -> None:
    """A list of 500 pods is one change of the fleet; the next notice is the next change."""
    notice = ChangeNotice(settle_seconds=0.0)
    for _ in range(500):
        notice.notify()
    await soon(notice.wait())
    second = asyncio.create_task(notice.wait())
    await rounds()
    assert not second.done()
    notice.notify()
    await soon(second)


async def test_a_notice_wakes_the_waiter_after_the_burst_has_settled() -> None:
    """Notices until then belong to the same burst."""
    notice = ChangeNotice(settle_seconds=60.0)
    notice.notify()
    waiting = asyncio.create_task(notice.wait())
    await rounds()
    assert not waiting.done()
    waiting.cancel()


async def test_a_cancelled_waiter_loses_no_notice() -> None:
    """The next waiter gets it."""
    notice = ChangeNotice(settle_seconds=0.0)
    cancelled = asyncio.create_task(notice.wait())
    await rounds()
    notice.notify()
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    await soon(notice.wait())


async def test_a_notice_after_a_wait_that_timed_out_wakes_the_next_waiter() -> None:
    """The old notice does not block it."""
    notice = ChangeNotice(settle_seconds=0.0)
    notice.notify()
    await notice.wait(0.0)
    notice.notify()
    await soon(notice.wait())


async def test_a_notice_from_another_thread_wakes_the_waiter() -> None:
    """A thousand notices are one."""
    notice = ChangeNotice(settle_seconds=0.01)

    def notify_often() -> None:
        for _ in range(1000):
            notice.notify()

    notifying = threading.Thread(target=notify_often)
    notifying.start()
    await soon(notice.wait())
    notifying.join()
    notice.notify()
    await soon(notice.wait())


async def test_a_wait_may_have_a_timeout() -> None:
    await soon(ChangeNotice().wait(0.01))


def test_a_notice_for_a_closed_loop_does_no_harm() -> None:
    """A thread may outlive the loop by a moment."""
    notices = []

    async def make() -> None:
        notices.append(ChangeNotice())

    asyncio.run(make())
    notices[0].notify()
