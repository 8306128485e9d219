"""Processor sharing: what runs on a pod shares its speed, and all are slowed alike.

With n calls each runs at `speed / (1 + cost * (n - 1))`. Since that rate is the same for all of them, one sum says how
far each has come: the work that a call present since the beginning would have done. A mark is a point on that sum.
"""

import heapq
import itertools
import math
from typing import Generic, TypeVar

Item = TypeVar("Item")

EPSILON = 1e-9  # seconds of work; what is nearer counts as reached


class Sharing(Generic[Item]):
    """Changed by its pod. Times are seconds of the simulation, work is in seconds of a call that is alone."""

    def __init__(self, speed: float = 1.0, cost: float = 0.2) -> None:
        self._speed = speed
        self._cost = cost
        self._count = 0
        self._done = 0.0  # the sum
        self._at = 0.0  # when it was that
        self._marks: list[tuple[float, int, Item]] = []
        self._numbers = itertools.count()

    @property
    def rate(self) -> float:
        """Seconds of work that each call does in a second."""
        return self._speed / (1.0 + self._cost * max(0, self._count - 1))

    def enter(self, now: float, marks: tuple[tuple[float, Item], ...]) -> None:
        """Adds a call with its marks: how much work from now on, and what has then been reached."""
        self._catch_up(now)
        self._count += 1
        for work, item in marks:
            heapq.heappush(self._marks, (self._done + work, next(self._numbers), item))

    def leave(self, now: float) -> None:
        """Takes a call out. Its marks that are not reached stay, and who reaches them has to know that it is gone."""
        self._catch_up(now)
        self._count -= 1

    def clear(self, now: float) -> None:
        """Takes all out."""
        self._catch_up(now)
        self._count = 0
        self._marks.clear()

    def reached(self, now: float) -> list[Item]:
        """The marks that have been reached by now, in order."""
        self._catch_up(now)
        items: list[Item] = []
        while self._marks and self._marks[0][0] <= self._done + EPSILON:
            items.append(heapq.heappop(self._marks)[2])
        return items

    def next_time(self) -> float:
        """When the next mark is reached if nobody enters or leaves; infinity if there is none."""
        if not self._marks:
            return math.inf
        return self._at + max(0.0, self._marks[0][0] - self._done) / self.rate

    def _catch_up(self, now: float) -> None:
        self._done += (now - self._at) * self.rate
        self._at = now
