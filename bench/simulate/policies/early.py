"""Early binding: a call is sent the moment it arrives, by this gateway's own counts alone. Ollama queues."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from bench.simulate.contract import Call, Ending, Listed, Outside

RETRY_SECONDS: Final = 1.0  # when every pod is down


class Early:
    """The frame of these policies: each has its own `pick`."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside
        self.in_flight = [0] * len(outside.pods)
        self.down: set[int] = set()
        self._gone: set[Call] = set()

    def pick(self, call: Call, pods: Sequence[int]) -> int:
        """One of `pods`, which are up."""
        raise NotImplementedError

    def arrive(self, call: Call) -> None:
        """See Policy."""
        pods = [pod.number for pod in self.outside.pods if pod.number not in self.down]
        pod = self.pick(call, pods or range(len(self.in_flight)))
        self.in_flight[pod] += 1
        self.outside.send(call, pod)

    def ended(self, call: Call, pod: int, ending: Ending) -> None:
        """See Policy."""
        self.in_flight[pod] -= 1
        if ending.outcome == "failed" and ending.first_at is None:
            self.down.add(pod)  # until a poll is answered
            pause = RETRY_SECONDS if len(self.down) == len(self.in_flight) else 0.0
            self.outside.call_at(self.outside.now + pause, partial(self._again, call))

    def left(self, call: Call) -> None:
        """See Policy. No call waits here, except one that is about to be sent again."""
        self._gone.add(call)

    def _again(self, call: Call) -> None:
        if call not in self._gone:
            self.arrive(call)

    def saw(self, pod: int, listing: Sequence[Listed] | None) -> None:
        """See Policy."""
        (self.down.add if listing is None else self.down.discard)(pod)

    def report(self) -> object | None:
        """See Policy."""
        return None

    def heard(self, gateway: int, report: object) -> None:
        """See Policy."""


class RoundRobin(Early):
    """Each pod in turn."""

    def __init__(self, outside: Outside) -> None:
        super().__init__(outside)
        self._turn = outside.rng.randrange(len(outside.pods))

    def pick(self, call: Call, pods: Sequence[int]) -> int:
        """See Early."""
        self._turn += 1
        return pods[self._turn % len(pods)]


class Random(Early):
    """Any pod."""

    def pick(self, call: Call, pods: Sequence[int]) -> int:
        """See Early."""
        return self.outside.rng.choice(pods)


class LeastInFlight(Early):
    """The pod with the fewest calls of this gateway, ties at random."""

    def pick(self, call: Call, pods: Sequence[int]) -> int:
        """See Early."""
        least = min(self.in_flight[pod] for pod in pods)
        return self.outside.rng.choice([pod for pod in pods if self.in_flight[pod] == least])


class TwoChoices(Early):
    """The less busy of two pods that are drawn at random."""

    def pick(self, call: Call, pods: Sequence[int]) -> int:
        """See Early."""
        drawn = self.outside.rng.sample(pods, min(2, len(pods)))
        return min(drawn, key=lambda pod: self.in_flight[pod])
