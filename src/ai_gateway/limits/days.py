"""The current day for budgets. The wall clock, which may jump, only decides the day."""

import math
from collections.abc import Callable

from ai_gateway.limits.account import Instant
from ai_gateway.limits.rates import DAY_SECONDS


class Days:
    """`wall` gives Unix seconds, `clock` monotonic seconds. Only `instant` changes it, when a day begins.

    If the clock is set back, the day stays: otherwise callers would get a budget twice. It accepts an earlier day only
    after a whole day on the monotonic clock: then the later day was wrong.
    """

    def __init__(self, wall: Callable[[], float], clock: Callable[[], float]) -> None:
        self._wall = wall
        self.clock = clock
        self._today = int(wall() // DAY_SECONDS)
        self._ends_at = (self._today + 1) * float(DAY_SECONDS)  # on the wall clock
        self._began_at = clock()

    def instant(self) -> Instant:
        """Now."""
        now = self.clock()
        left = self._ends_at - self._wall()
        if not 0 < left <= DAY_SECONDS and (left <= 0 or now - self._began_at >= DAY_SECONDS):
            self._today -= math.ceil(left / DAY_SECONDS) - 1
            self._ends_at = (self._today + 1) * float(DAY_SECONDS)
            self._began_at = now
            left = self._ends_at - self._wall()
        return Instant(now, self._today, left)  # after a clock was set back, `left` may exceed a day
