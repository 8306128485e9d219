"""All endpoints, and a pool per model over them. Polls, discovery and calls write their results here."""

import asyncio
import random
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from ai_gateway.balancing.budget import RetryBudget
from ai_gateway.balancing.endpoint import Endpoint, HeldModel, Pod
from ai_gateway.balancing.policy import Policy, WarmLeastInFlight
from ai_gateway.balancing.pool import Pool, PoolSettings
from ai_gateway.wire.address import Address

POOL_SECONDS: Final = 60.0  # how long the pool of a model stays without calls and without an endpoint that holds it
POOLS_AT_ONCE: Final = 200  # they take some 0.5 ms; then other tasks may run


class FleetSettings(msgspec.Struct, frozen=True):
    """The config of balancing: `pools` for its models, by Ollama's name, and `others` for every other model."""

    pools: Mapping[str, PoolSettings] = {}
    others: PoolSettings = PoolSettings()
    retry_share: float = 0.2

    def of(self, model: str) -> PoolSettings:
        """The settings of a model's pool."""
        return self.pools.get(model, self.others)


DEFAULTS: Final = FleetSettings()


class Fleet:
    """Endpoints by address. Changed by discovery (apply), by polls (saw_*), by a new config (configure) and by calls
    (the rest), never awaiting.

    `clock` gives monotonic seconds; the random generator breaks ties and spreads ejections.
    """

    def __init__(self, clock: Callable[[], float], rng: random.Random, settings: FleetSettings = DEFAULTS) -> None:
        self._settings = settings
        self._clock = clock
        self._random = rng
        self._policy: Policy = WarmLeastInFlight(rng)
        self._pools: dict[str, Pool] = {}
        self.endpoints: dict[Address, Endpoint] = {}
        self.leaving: list[Endpoint] = []  # gone from discovery, but with running streams
        self.listed = asyncio.Event()  # set by discovery's first list
        self.departed = asyncio.Event()  # wakes who waits when endpoints leave, and is never seen set
        self.budget = RetryBudget(settings.retry_share)

    def __repr__(self) -> str:
        return f"<Fleet of {len(self.endpoints)}, {len(self.leaving)} leaving>"

    def configure(self, settings: FleetSettings) -> Iterator[None]:
        """Applies a new config in steps, at least one; other tasks may run between them.

        At the end all pools have their new settings, and waiting calls have the slots that these add.
        """
        self._settings = settings
        yield
        for number, pool in enumerate(list(self._pools.values()), 1):
            pool.settings = settings.of(pool.model)
            if pool.waiting:
                pool.bind_waiting()
            if number % POOLS_AT_ONCE == 0:
                yield
        self.budget.share = settings.retry_share

    def pool(self, model: str) -> Pool:
        """The pool of a model, by Ollama's name, for a call; made at the first use."""
        pool = self._pools.get(model)
        if pool is None:
            pool = self._pools[model] = self._made(model)
        else:
            pool.used_at = self._clock()  # so that it stays until the call uses it
        return pool

    def peek(self, model: str) -> Pool:
        """The pool of a model for reading alone. A missing pool is made as a call would make it, and not kept."""
        return self._pools.get(model) or self._made(model)

    def _made(self, model: str) -> Pool:
        return Pool(model, self._settings.of(model), self.endpoints.values, self._policy, self._clock)

    def pools(self) -> Iterable[Pool]:
        """Every pool that calls used lately."""
        return self._pools.values()

    def apply(
        self,
        addresses: Iterable[Address],
        pods: Mapping[Address, Pod] | None = None,
        unready: Container[Address] = frozenset(),
    ) -> tuple[list[Endpoint], list[Endpoint]]:
        """Applies a whole list from discovery, with its facts about pods; returns the new and the gone endpoints.

        An endpoint that stays keeps its counts, as does one that comes back while streams run on it. One that
        is gone gets no new calls and keeps its streams.
        """
        self.listed.set()
        wanted = dict.fromkeys(addresses)
        gone = [endpoint for address, endpoint in self.endpoints.items() if address not in wanted]
        for endpoint in gone:
            endpoint.is_draining = True
            endpoint.is_deleted = endpoint.address not in unready
            del self.endpoints[endpoint.address]
        busy = {endpoint.address: endpoint for endpoint in [*self.leaving, *gone] if endpoint.total_in_flight}
        new = [
            busy.pop(address) if address in busy else Endpoint(address, self._random)
            for address in wanted
            if address not in self.endpoints
        ]
        self.leaving = list(busy.values())
        for endpoint in new:
            endpoint.is_draining = endpoint.is_deleted = False
        self.endpoints.update((endpoint.address, endpoint) for endpoint in new)
        for address, endpoint in self.endpoints.items():
            endpoint.pod = (pods or {}).get(address)
        self._readmit_surplus()
        if gone:
            self._forget_pools()
            self.departed.set()
            self.departed.clear()
        self.bind_waiting()
        return new, gone

    def bind_waiting(self) -> None:
        """Gives free slots to waiting calls in all pools."""
        for pool in list(self._pools.values()):
            if pool.waiting:
                pool.bind_waiting()

    def saw_up(self, endpoint: Endpoint, version: str | None) -> bool:
        """Notes an answered probe; True if the endpoint is back. An ejected one stays ejected for its time."""
        was_usable = endpoint.is_usable
        was_up = endpoint.is_reachable is True
        endpoint.is_reachable = True
        endpoint.reason = None
        endpoint.seen_at = self._clock()
        endpoint.version = version
        # If the endpoint was up before, a probe does not reset its failures: cut calls must add up.
        if endpoint.health.is_on_probation(self._clock()) or not (was_up or endpoint.health.is_ejected):
            endpoint.health.readmit()
        self.bind_waiting()  # each time: no other event shows that a model's ejection is over
        return endpoint.is_usable and not (was_usable and was_up)

    def saw_down(self, endpoint: Endpoint, reason: str) -> bool:
        """Notes a failed probe; True if the endpoint was up. It is down until it answers a probe."""
        was_usable = endpoint.is_usable
        endpoint.reason = reason
        self._fail(endpoint)
        endpoint.is_reachable = False
        endpoint.resident = None
        endpoint.check_reasons.clear()
        self.bind_waiting()
        return was_usable

    def note_check(self, endpoint: Endpoint, path: str, reason: str | None) -> bool:
        """Notes why the poll of a path failed or was incomplete, or None; True if that is new."""
        before = endpoint.check_reasons.pop(path, None)
        if reason is not None:
            endpoint.check_reasons[path] = reason
        return reason != before

    def saw_models(self, endpoint: Endpoint, held: dict[str, HeldModel]) -> None:
        """Notes the models on the endpoint's disk."""
        before = endpoint.held or {}
        endpoint.held = held
        endpoint.missing.clear()
        if before.keys() - held.keys():
            endpoint.forget_models()
            self._forget_pools()
        self.bind_waiting()

    def _forget_pools(self) -> None:
        """Drops pools of models that are gone, except recently used ones: a call may be on its way there."""
        latest = self._clock() - POOL_SECONDS
        everywhere = (*self.endpoints.values(), *self.leaving)
        gone = [
            model
            for model, pool in self._pools.items()
            if not (pool.waiting or pool.used_at > latest)
            and not any(model in endpoint.in_flight or model in (endpoint.held or ()) for endpoint in everywhere)
        ]
        for model in gone:
            del self._pools[model]

    def saw_residents(self, endpoint: Endpoint, names: frozenset[str] | None) -> None:
        """Notes the endpoint's loaded models; None: it did not answer, so they are unknown.

        Loads and unloads are counted from one list to the next; the first list counts as none.
        """
        endpoint.resident = names
        if names is None:
            return
        before = endpoint.last_resident
        if before is not None:
            endpoint.total_loads += len(names - before)
            endpoint.total_unloads += len(before - names)
        endpoint.last_resident = names

    def mark_missing(self, endpoint: Endpoint, model: str) -> None:
        """Notes a 404 for a model: it counts as missing there until the next list of models."""
        endpoint.missing.add(model)
        self.bind_waiting()

    def failed(self, endpoint: Endpoint) -> bool:
        """Notes that the endpoint was not reached, or cut a call before its head; True if that ejects it."""
        endpoint.total_failures += 1
        return self._fail(endpoint)

    def failed_model(self, endpoint: Endpoint, model: str) -> bool:
        """Notes a 5xx for a call that another endpoint could serve; True if that ejects the model there."""
        endpoint.total_failures += 1
        health = endpoint.model_health(model)
        peers = [other for other in self.endpoints.values() if other.holds(model)]
        ejected = sum(other.model_health(model).is_ejected for other in peers)
        return health.fail(self._clock(), may_eject=ejected + 1 <= len(peers) // 2)

    def succeeded(self, endpoint: Endpoint, model: str) -> bool:
        """Notes an answered call; True if that readmits the model there."""
        if endpoint.health.ejected_until is None:  # only a probe readmits the whole endpoint
            endpoint.health.succeed()
        is_readmitted = endpoint.succeed(model)
        if is_readmitted:
            self.bind_waiting()
        return is_readmitted

    def _fail(self, endpoint: Endpoint) -> bool:
        return endpoint.health.fail(self._clock(), self._may_eject(endpoint))

    def _may_eject(self, endpoint: Endpoint) -> bool:
        """Whether one more may be ejected: never more than half. If most fail, the gateway is a likelier cause."""
        if endpoint.health.failures + 1 < endpoint.health.threshold:
            return False  # too early: of hundreds of new endpoints that are not up yet, each would count all others
        others = sum(other.health.is_ejected for other in self.endpoints.values() if other is not endpoint)
        return others + 1 <= len(self.endpoints) // 2

    def _readmit_surplus(self) -> None:
        """Readmits endpoints of a shrinking fleet until half are ejected at most, those with the earliest end first."""
        ejected = [endpoint for endpoint in self.endpoints.values() if endpoint.health.is_ejected]
        ejected.sort(key=lambda endpoint: endpoint.health.ejected_until or 0.0)
        for endpoint in ejected[: max(0, len(ejected) - len(self.endpoints) // 2)]:
            endpoint.health.readmit()
