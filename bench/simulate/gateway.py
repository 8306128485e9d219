"""One simulated gateway: the hands and eyes of its policy. It polls the pods, and passes reports between gateways."""

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from ai_gateway.upstream.reports import pause_seconds
from bench.simulate.contract import Call, Model, PodFacts, Policy
from bench.simulate.pods import Job, Pod
from bench.simulate.timeline import Timeline
from bench.simulate.traffic import Trace

POLL_SECONDS: Final = 2.0
POLL_JITTER: Final = 0.2


class Hands(NamedTuple):
    """What the simulation, which knows what clients want, does for a gateway."""

    send: Callable[["Gateway", Call, int], None]
    refuse: Callable[[Call], None]


class Gateway:
    """An `Outside` for its policy."""

    policy: Policy  # set once, right after the policy was made with this gateway

    def __init__(self, number: int, trace: Trace, pods: Sequence[Pod], timeline: Timeline, hands: Hands) -> None:
        self.number = number
        self.gateways = trace.world.gateways
        self.pods = [PodFacts(pod.number, trace.world.slots, trace.world.places) for pod in pods]
        self.models = trace.models
        self.rng = random.Random(f"{trace.seed}/policy/{number}")
        self._timing = random.Random(f"{trace.seed}/timing/{number}")
        self._pods = pods
        self._timeline = timeline
        self._hands = hands

    @property
    def now(self) -> float:
        """The time."""
        return self._timeline.now

    def call_at(self, time: float, action: Callable[[], None]) -> None:
        """See Outside."""
        self._timeline.at(time, action)

    def send(self, call: Call, pod: int) -> None:
        """See Outside."""
        self._hands.send(self, call, pod)

    def refuse(self, call: Call) -> None:
        """See Outside."""
        self._hands.refuse(call)

    def preload(
        self, pod: int, model: Model, done: Callable[[bool], None], keep_alive_seconds: float | None = None
    ) -> None:
        """See Outside."""
        target = self._pods[pod]
        if not target.is_up:
            self._timeline.at(self.now, partial(done, False))
            return
        ticket = target.ticket(model, "", keep_alive_seconds)
        target.ask(Job(ticket, 0, 0, "", first=_nothing, done=done))

    def unload(self, pod: int, model: Model, done: Callable[[bool], None]) -> None:
        """See Outside."""
        target = self._pods[pod]
        if target.is_up:
            target.unload(model)
        self._timeline.at(self.now, partial(done, target.is_up))

    def look(self, pod: int) -> None:
        """See Outside."""
        self._timeline.at(self.now, partial(self._look, pod))

    def start(self, others: Sequence["Gateway"]) -> None:
        """Begins to poll, each pod at its own moments, and to report to the others."""
        for pod in self._pods:
            self._timeline.at(0.0, partial(self._look, pod.number))
            first = self._timing.uniform(0.0, POLL_SECONDS)
            self._timeline.at(first, partial(self._poll, pod.number))
        if others:
            self._timeline.at(self._timing.uniform(0.0, 1.0), partial(self._report, others))

    def _look(self, pod: int) -> None:
        target = self._pods[pod]
        self.policy.saw(pod, target.listing() if target.is_up else None)

    def _poll(self, pod: int) -> None:
        self._look(pod)
        pause = POLL_SECONDS * self._timing.uniform(1.0 - POLL_JITTER, 1.0 + POLL_JITTER)
        self._timeline.at(self.now + pause, partial(self._poll, pod))

    def _report(self, others: Sequence["Gateway"]) -> None:
        report = self.policy.report()
        if report is not None:
            for other in others:
                other.policy.heard(self.number, report)
        self._timeline.at(self.now + pause_seconds(len(others)), partial(self._report, others))


def _nothing() -> None:
    """An empty call has no first token."""
