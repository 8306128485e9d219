"""The injected clock: events in the order of their times. Nothing here waits."""

import heapq
import itertools
from collections.abc import Callable

Action = Callable[[], None]


class Timeline:
    """Simulated time in seconds. Changed by whoever adds an event, and by `run`."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Action]] = []
        self._numbers = itertools.count()

    def at(self, time: float, action: Action) -> None:
        """Runs `action` at `time`, or now if that has passed; equal times keep their order."""
        heapq.heappush(self._events, (max(time, self.now), next(self._numbers), action))

    def run(self, until: float) -> None:
        """Runs all events up to and including `until`."""
        events = self._events
        while events and events[0][0] <= until:
            self.now, _, action = heapq.heappop(events)
            action()
        self.now = until
