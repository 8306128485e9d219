"""Which day it is for budgets. The wall clock names the day and nothing else, and may jump."""

import math
from collections.abc import Callable

from ai_gateway.limits.account import Instant
from ai_gateway.limits.rates import DAY_SECONDS


class Days:
    """`wall` is Unix seconds, `clock` monotonic ones. Changed by `moment` alone, when a day begins.

    A clock that is set back stays on its day: else a budget would be given twice. Only when a whole day has gone by
    on the monotonic clock is an earlier day believed: then it was the later one that was wrong.
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
        return Instant(now, self._today, left)  # where the clock was set back, the next day is as far as it says
