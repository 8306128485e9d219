"""Whether a file descriptor can be had. Without one the kernel takes connections that nobody hears of: the event loop
closes them at once, and says nothing."""

import asyncio
import errno
import logging
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from ai_gateway.telemetry import names
from ai_gateway.telemetry.sample import Sample

EVERY_SECONDS: Final = 0.5
CALM_SECONDS: Final = 10.0  # without want, until it is said to be over
_NONE_LEFT: Final = (errno.EMFILE, errno.ENFILE)

log = logging.getLogger("ai_gateway.server")


def has_one() -> bool:
    """Whether one more can be opened now."""
    try:
        os.close(os.dup(2))
    except OSError as error:
        return error.errno not in _NONE_LEFT
    return True


class Descriptors:
    """Looks while its block runs. `clock` is monotonic seconds, `look` says whether there is one."""

    def __init__(self, clock: Callable[[], float], look: Callable[[], bool] = has_one) -> None:
        self._clock = clock
        self._has_one = look
        self._timer: asyncio.TimerHandle | None = None
        self._wanted_at: float | None = None  # when there was none, the last time; None: all is well

    @contextmanager
    def running(self, loop: asyncio.AbstractEventLoop) -> Iterator[Callable[[], Iterator[Sample]]]:
        """Looks until the block is left; yields what is measured."""
        self._wait(loop)
        try:
            yield self.samples
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def samples(self) -> Iterator[Sample]:
        """Whether there is want of them."""
        yield Sample(names.DESCRIPTORS_OUT, self._wanted_at is not None)

    def check(self) -> None:
        """Says when the last one is gone, and when there have been some for a while."""
        now = self._clock()
        if not self._has_one():
            if self._wanted_at is None:
                most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
                log.error(
                    "no file descriptor is left (the limit is %d): new connections are closed unheard, files cannot be "
                    "opened, endpoints not reached; raise the limit (`ulimit -n`, LimitNOFILE)",
                    most,
                )
            self._wanted_at = now
        elif self._wanted_at is not None and now - self._wanted_at >= CALM_SECONDS:
            self._wanted_at = None
            log.warning("there are file descriptors again")

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(EVERY_SECONDS, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self.check()
        self._wait(loop)
