"""The pools of all models, and those of them in which calls wait."""

import math
from collections.abc import Callable, Collection, Iterator
from typing import Final

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.pool import Pool
from ai_gateway.balancing.settings import PoolSettings

POOL_SECONDS: Final = 60.0  # how long the pool of a model stays without calls and without an endpoint that holds it
POOLS_AT_ONCE: Final = 200  # they take some 0.5 ms; then other tasks may run


class Pools:
    """Pools by Ollama's name, made by `make` at their first use. Changed by the fleet."""

    def __init__(self, make: Callable[[str], Pool], clock: Callable[[], float]) -> None:
        self._make = make
        self._clock = clock
        self._pools: dict[str, Pool] = {}
        self.hungry: dict[Pool, None] = {}  # with calls that wait

    def get(self, model: str) -> Pool:
        """The pool of a model for a call."""
        pool = self._pools.get(model)
        if pool is None:
            pool = self._pools[model] = self._make(model)
        else:
            pool.used_at = self._clock()  # so that it stays until the call uses it
        return pool

    def peek(self, model: str) -> Pool:
        """The pool of a model for reading alone. A missing pool is made as a call would make it, and not kept."""
        return self._pools.get(model) or self._make(model)

    def find(self, model: str) -> Pool | None:
        """The pool of a model, if calls used it lately."""
        return self._pools.get(model)

    def all(self) -> Collection[Pool]:
        """Every pool that calls used lately."""
        return self._pools.values()

    def note(self, pool: Pool) -> None:
        """Calls wait in a pool, or wait no more."""
        if pool.waiting:
            self.hungry[pool] = None
        else:
            self.hungry.pop(pool, None)

    def bind_waiting(self) -> None:
        """Gives free slots to waiting calls in all pools."""
        for pool in list(self.hungry):
            pool.bind_waiting()

    def freed(self, endpoint: Endpoint, pool: Pool) -> None:
        """Gives a slot that came free to the next call, of whatever name shares its runner."""
        sharers = endpoint.residency.sharers(pool.model)
        if sharers is None:
            if pool in self.hungry:
                pool.bind_waiting()
            return
        same = [one for one in self.hungry if one.model in sharers]
        for one in sorted(same, key=_came_at):
            one.bind_waiting()

    def configure(self, settings_of: Callable[[str], PoolSettings]) -> Iterator[None]:
        """Gives each pool its new settings, in steps."""
        for number, pool in enumerate(list(self._pools.values()), 1):
            pool.settings = settings_of(pool.model)
            if pool.waiting:
                pool.bind_waiting()
            if number % POOLS_AT_ONCE == 0:
                yield

    def forget(self, endpoints: Collection[Endpoint]) -> None:
        """Drops pools of models that are gone, except recently used ones: a call may be on its way there."""
        latest = self._clock() - POOL_SECONDS
        gone = [
            model
            for model, pool in self._pools.items()
            if not (pool.waiting or pool.in_flight or pool.used_at > latest or pool.settings.resident)
            and not any(endpoint.holds(model) for endpoint in endpoints)
        ]
        for model in gone:
            del self._pools[model]


def _came_at(pool: Pool) -> float:
    """When its next call came: of pools that share a runner the one with the oldest goes first."""
    ticket = pool.queue.first(pool.now)
    return math.inf if ticket is None else ticket.came_at
