"""On which endpoints a model is to be installed: those that its labels and its number of copies say."""

from collections.abc import Callable, Container, Sequence
from typing import Final

import msgspec

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.reconcile.plans import Plan
from ai_gateway.wire.made_names import is_ours

SIGHT_SECONDS: Final = 30.0  # then one that never tells what it holds is not waited for
GONE_SECONDS: Final = 120.0  # so long after its last endpoint a model may come back with another one


class _Home(msgspec.Struct):
    """Where a model is at home: the workloads of the pods that hold it, and when one was last seen to."""

    workloads: set[str]
    at: float


class Targets:
    """Changed by `are_seen`, `of` and `keep`. What it remembers may be lost: `everywhere` goes to the other gateways.

    Those are the models that no endpoint held when they were asked for: the first that has one must not end that.
    """

    def __init__(self, fleet: Fleet, clock: Callable[[], float]) -> None:
        self._fleet = fleet
        self._clock = clock
        self._everywhere = fleet.peers.everywhere
        self._unseen: dict[Endpoint, float] = {}
        self._first: set[Endpoint] | None = None  # those that were there when all had told what they hold
        self._homes: dict[str, _Home] = {}

    def are_seen(self) -> bool:
        """Whether each endpoint that is not known to be down has told what it holds, or has had the time to.

        Before the first polls none seems to hold anything.
        """
        now = self._clock()
        unseen = [one for one in self._fleet.endpoints.values() if one.is_usable and one.held is None]
        self._unseen = {one: self._unseen.get(one, now) for one in unseen}
        is_clear = self._fleet.listed.is_set() and all(now - at > SIGHT_SECONDS for at in self._unseen.values())
        if is_clear and self._first is None:
            self._first = set(self._fleet.endpoints.values())
        return is_clear

    def keep(self, keys: Container[str]) -> None:
        """Forgets all other models, and endpoints that are gone."""
        self._everywhere.difference_update([key for key in self._everywhere if key not in keys])
        self._homes = {key: home for key, home in self._homes.items() if key in keys}
        if self._first is not None:
            self._first &= set(self._fleet.endpoints.values())

    def of(self, plan: Plan, endpoints: Sequence[Endpoint], *, remembers: bool = True) -> list[Endpoint]:
        """Those of the endpoints, which are up and have told what they hold. Those that hold the model come first."""
        key = plan.shaped.key
        holders: list[Endpoint] = []
        others: list[Endpoint] = []
        for endpoint in endpoints:
            if not plan.labels or matches(plan, endpoint):
                (holders if endpoint.holds(key) else others).append(endpoint)
        if plan.pull == "never":
            return holders if plan.copies is None or plan.copies == "all" else holders[: plan.copies]
        if plan.copies is None and key not in self._everywhere:
            return [*holders, *self._newcomers(key, holders, others, remembers=remembers)]
        if plan.copies is None or plan.copies == "all":
            return holders + others
        return (holders + sorted(others, key=_emptiness))[: plan.copies]

    def _newcomers(
        self, key: str, holders: Sequence[Endpoint], others: Sequence[Endpoint], *, remembers: bool
    ) -> Sequence[Endpoint]:
        """New pods of the workloads that are its home; all others where it has none."""
        now, home = self._clock(), self._homes.get(key)
        if holders:
            workloads = {one.pod.workload for one in holders if one.pod is not None and one.pod.workload}
            if remembers:
                self._homes[key] = _Home(workloads, now)
            # Where the gateway has made a name, it looks after the whole workload.
            is_made = any(is_ours(one.residency.name_for(key)) for one in holders)
            return [one for one in others if _is_from(one, workloads) and (is_made or self._is_new(one))]
        if home is not None:
            siblings = [one for one in others if _is_from(one, home.workloads)]
            if siblings or now - home.at < GONE_SECONDS:
                return siblings
        if any(endpoint.holds(key) for endpoint in self._fleet.endpoints.values()):
            return ()  # it is down, and may be back in a moment
        if remembers:
            self._everywhere.add(key)
        return others

    def _is_new(self, endpoint: Endpoint) -> bool:
        return self._first is not None and endpoint not in self._first


def matches(plan: Plan, endpoint: Endpoint) -> bool:
    """Whether its pod has the labels that the config asks for."""
    labels = endpoint.pod.labels if endpoint.pod is not None else {}
    return all(labels.get(name) == value for name, value in plan.labels.items())


def _is_from(endpoint: Endpoint, workloads: Container[str]) -> bool:
    return endpoint.pod is not None and endpoint.pod.workload is not None and endpoint.pod.workload in workloads


def _emptiness(endpoint: Endpoint) -> tuple[int, int]:
    """The same order at all gateways: the disk with the fewest models first."""
    return len(endpoint.held or ()), endpoint.number
