"""Work outside the event loop, which must block neither it nor the exit: file reads that may hang, long parsing."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Final, TypeVar

RELEASE_AT_ONCE: Final = 1000  # objects; more are freed in a thread
PAUSE_SECONDS: Final = 0.00005  # not 0: the thread would get the interpreter back before the loop wakes up

T = TypeVar("T")


async def run_in_thread(work: Callable[[], T], name: str = "reading") -> T:
    """Runs `work` in a thread of its own; returns what it returns, raises what it raises.

    The thread is not from the loop's pool. A mount that hangs must not use up the pool, nor delay the exit.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, failure: BaseException | None) -> None:
        if done.done():
            return  # the caller was cancelled
        if failure is not None:
            done.set_exception(failure)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # without a failure it is a T

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except Exception as error:  # the caller gets it, whatever it is
            failure = error
        with suppress(RuntimeError):  # the loop may have been closed meanwhile
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done


def pause_for_others() -> None:
    """Lets the event loop run. Long work calls it about every 0.5 ms; otherwise the loop waits 5 ms at each wake-up."""
    time.sleep(PAUSE_SECONDS)


def pausing(items: Iterable[T], at_once: int) -> Iterator[T]:
    """The items; after each `at_once` of them the event loop may run."""
    for number, item in enumerate(items, 1):
        yield item
        if number % at_once == 0:
            pause_for_others()


def release_slowly(objects: list[object]) -> None:
    """Frees objects that nothing else refers to, a few at a time in a thread; the first ones may be large.

    Freeing many at once stops all threads: an old config may have 10,000 models.
    """

    def run() -> None:
        while objects:
            del objects[-(RELEASE_AT_ONCE // 4) if len(objects) > RELEASE_AT_ONCE else -1 :]
            pause_for_others()

    if len(objects) > RELEASE_AT_ONCE:
        threading.Thread(target=run, name="release", daemon=True).start()
