"""Work beside the event loop that nobody is bound to: reading from a mount that may hang, understanding a long file."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

FEW: Final = 1000  # things that are let go of at once
BREATH_SECONDS: Final = 0.00005  # not 0: the thread would have the interpreter back before anybody woke up

T = TypeVar("T")


async def beside(work: Callable[[], T], name: str = "reading") -> T:
    """What `work` returns or raises, done in a thread of its own.

    Not in the loop's pool: a mount that hangs must not take its threads away, nor hold up the end of the process.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, failure: BaseException | None) -> None:
        if done.done():
            return  # whoever asked has gone
        if failure is not None:
            done.set_exception(failure)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # without a fault it is one

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except Exception as error:  # whatever it is, it is for whoever asked
            failure = error
        with suppress(RuntimeError):  # the loop may have ended meanwhile
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done


def breathe() -> None:
    """Lets the event loop have the interpreter. Long work calls it each half millisecond or so: otherwise the loop
    waits 5 ms each time that it wakes up."""
    time.sleep(BREATH_SECONDS)


def fade(things: list[object]) -> None:
    """Lets go of what nobody else has any more, some at a time and in a thread: what is freed at once, such as the
    10,000 models of an old config, holds everybody up."""

    def run() -> None:
        while things:
            del things[-FEW // 4 :]
            breathe()

    if len(things) > FEW:
        threading.Thread(target=run, name="fading", daemon=True).start()
