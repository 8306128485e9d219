"""Who needs which runner: the pools of all models, and the runners that are loaded, seen together.

Several names may share a runner; they are one need. A need is made for one round of decisions and then dropped.
"""

from collections.abc import Iterable, Sequence

import msgspec

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.load import Load
from ai_gateway.balancing.pool import Pool
from ai_gateway.balancing.resident import Weights
from ai_gateway.balancing.seats import NOWHERE

Key = tuple[str, int | None, str]  # a runner's key, and the context and other options that a name asks for


class Need(msgspec.Struct, eq=False):
    """What is known about one runner in this round. `copies` has the endpoints that have it and keep it."""

    key: Key
    pools: list[Pool]
    waiting: int = 0
    running: int = 0
    rate: float = 0.0  # calls a second, over the last minutes
    oldest_seconds: float = 0.0
    resident: int = 0  # copies that must stay
    copies: dict[Endpoint, None] = {}
    copy_slots: int = 0
    loading: list[Load] = []
    avoid: frozenset[Endpoint] = NOWHERE  # where a call must not go that is sent again, or whose name is not there

    @property
    def is_nowhere(self) -> bool:
        """Whether some call that waits finds it nowhere, now or soon."""
        coming = (load.endpoint for load in self.loading)
        return all(endpoint in self.avoid for endpoint in (*self.copies, *coming))

    @property
    def count(self) -> int:
        """Copies, with those under way."""
        return len(self.copies) + len(self.loading)

    @property
    def is_wanted(self) -> bool:
        """Whether a load may be due."""
        return self.waiting + self.running > 0 or self.count < self.resident

    def slots_on(self, endpoint: Endpoint) -> int:
        """How many calls of it run at a time on an endpoint."""
        return self.pools[0].slots_of(endpoint)

    @property
    def slots(self) -> int:
        """Those of all copies, with those under way."""
        return self.copy_slots + sum(self.slots_on(load.endpoint) for load in self.loading)

    def name_on(self, endpoint: Endpoint) -> str | None:
        """The name to load it by: of those that the endpoint holds, the one that most calls wait for."""
        pool = self.pool_on(endpoint)
        return None if pool is None else endpoint.residency.name_for(pool.model)

    def pool_on(self, endpoint: Endpoint) -> Pool | None:
        """Whose name that is."""
        if len(self.pools) == 1:
            return self.pools[0] if endpoint.holds(self.pools[0].model) else None
        held = [pool for pool in self.pools if endpoint.holds(pool.model)]
        return max(held, key=lambda pool: pool.waiting) if held else None


class Demand:
    """All needs of one round. `owner` finds the need that a loaded runner serves."""

    def __init__(self, pools: Iterable[Pool], endpoints: Sequence[Endpoint], loads: Iterable[Load], now: float) -> None:
        self._now = now
        self.needs: dict[Key, Need] = {}
        self._by_model: dict[str, Need] = {}
        self._owners: dict[tuple[Endpoint, str], Need] = {}
        for pool in pools:
            if pool.policy.binds_late:
                self._add(pool, endpoints)
        for shared in self.needs.values():
            if len(shared.pools) > 1:
                shared.avoid = shared.avoid or _lacking(shared, endpoints)
        for load in loads:
            need = self._by_model.get(load.pool)
            if need is not None:
                need.loading.append(load)

    def owner(self, endpoint: Endpoint, key: str) -> Need | None:
        """Whose runner it is; None if nobody here asks for it."""
        return self._owners.get((endpoint, key))

    def _add(self, pool: Pool, endpoints: Sequence[Endpoint]) -> None:
        holder = next((one for one in endpoints if one.holds(pool.model)), None)
        if holder is None:
            return
        own = holder.residency.own(pool.model) or Weights()
        key = (holder.residency.key_of(pool.model), own.num_ctx, own.options)
        need = self.needs.get(key)
        if need is None:
            need = self.needs[key] = Need(key, [], copies={}, loading=[])
        self._by_model[pool.model] = need
        need.pools.append(pool)
        need.waiting += pool.waiting + pool.peer_waiting
        need.running += pool.in_flight + pool.peer_in_flight
        need.rate += pool.rate
        need.oldest_seconds = max(need.oldest_seconds, self._oldest(pool))
        need.resident = max(need.resident, pool.settings.resident)
        for ticket in pool.queue.again():
            need.avoid = need.avoid or ticket.avoid
        warm = pool.warm
        if warm:
            need.copy_slots = max(need.copy_slots, pool.total_slots)
        for endpoint in warm:
            self._owners[endpoint, endpoint.residency.key_of(pool.model)] = need
            need.copies[endpoint] = None

    def _oldest(self, pool: Pool) -> float:
        own = max((self._now - ticket.came_at for ticket in pool.queue.firsts()), default=0.0)
        return max(own, pool.peer_oldest_seconds)


def _lacking(need: Need, endpoints: Sequence[Endpoint]) -> frozenset[Endpoint]:
    """Where calls for one of its names cannot go, which wait and find it nowhere: other names alone are there."""
    for pool in need.pools:
        if (pool.waiting or pool.peer_waiting) and not pool.able:
            return frozenset(one for one in endpoints if not one.holds(pool.model))
    return NOWHERE
