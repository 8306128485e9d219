"""Checks whether file descriptors are left. Without one the kernel accepts connections, but the event loop closes them
at once and logs nothing."""

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
CALM_SECONDS: Final = 10.0  # with free descriptors, until the shortage counts as over
_NONE_LEFT: Final = (errno.EMFILE, errno.ENFILE)

log = logging.getLogger("ai_gateway.server")


def has_one() -> bool:
    """Whether one more descriptor can be opened now."""
    try:
        os.close(os.dup(2))
    except OSError as error:
        return error.errno not in _NONE_LEFT
    return True


class Descriptors:
    """Checks while its block runs. `clock` is monotonic seconds; `has_free` says whether one is left."""

    def __init__(self, clock: Callable[[], float], has_free: Callable[[], bool] = has_one) -> None:
        self._clock = clock
        self._has_free = has_free
        self._timer: asyncio.TimerHandle | None = None
        self._exhausted_at: float | None = None  # when none was left, the last time; None: no shortage

    @contextmanager
    def running(self, loop: asyncio.AbstractEventLoop) -> Iterator[Callable[[], Iterator[Sample]]]:
        """Checks until the end of the block; yields the source of its samples."""
        self._wait(loop)
        try:
            yield self.samples
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def samples(self) -> Iterator[Sample]:
        """Whether no descriptor is left."""
        yield Sample(names.DESCRIPTORS_OUT, self._exhausted_at is not None)

    def check(self) -> None:
        """Logs when the last descriptor is gone, and when some have been free for a while."""
        now = self._clock()
        if not self._has_free():
            if self._exhausted_at is None:
                most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
                log.error(
                    "no file descriptor is left (the limit is %d): the gateway closes new connections and cannot open "
                    "files or reach endpoints; raise the limit (`ulimit -n`, LimitNOFILE)",
                    most,
                )
            self._exhausted_at = now
        elif self._exhausted_at is not None and now - self._exhausted_at >= CALM_SECONDS:
            self._exhausted_at = None
            log.warning("file descriptors are available again")

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(EVERY_SECONDS, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self.check()
        self._wait(loop)
