"""Gives slots to calls and loads to endpoints: the pools of all models over the endpoints of one roster."""

import random
from collections.abc import Callable, Collection, Iterator
from typing import Final

from ai_gateway.balancing import pools
from ai_gateway.balancing.affinity import Affinity
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.forecast import USUAL_LOAD_SECONDS
from ai_gateway.balancing.learned import Learned
from ai_gateway.balancing.loads import Loads
from ai_gateway.balancing.overdue import send_cold, send_past_peers
from ai_gateway.balancing.peers import Peers
from ai_gateway.balancing.policy import POLICIES, Name, Policy
from ai_gateway.balancing.pool import Pool
from ai_gateway.balancing.rollout import Rollout
from ai_gateway.balancing.roster import Roster
from ai_gateway.balancing.settings import DEFAULTS, FleetSettings
from ai_gateway.wire.address import Address

ENDPOINTS_AT_ONCE: Final = 16


class Scheduler:
    """What pools and loads need of their fleet, and what a fleet does with them. Changed by the fleet and by calls."""

    def __init__(
        self, roster: Roster, clock: Callable[[], float], rng: random.Random, settings: FleetSettings = DEFAULTS
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._roster = roster
        self.naming = roster.naming
        for _ in self.naming.configure(settings.shaped, settings.tags):
            pass
        self.rng = rng
        self._affinity: Affinity[Endpoint] = Affinity(clock)
        self._policies = {name: make(rng, self._affinity) for name, make in POLICIES.items()}
        self._pools = pools.Pools(self._made, clock)
        self.epoch = 0
        self.learned = Learned()
        self.loads = Loads(self, clock)
        self.loads.starve_seconds = settings.starve_seconds
        self.peers = Peers(self, clock)
        self.peers.may_lead = self._may_lead
        self.is_leaving = False  # another gateway had better decide on loads
        self._is_configured = settings is not DEFAULTS  # else there is no valid config yet
        self.peers.is_foreign = settings.is_foreign
        self.wake: Callable[[], None] = lambda: None  # asks the driver for a decision on loads
        self._keep_resident()

    @property
    def endpoints(self) -> dict[Address, Endpoint]:
        """Those of the latest list of discovery."""
        return self._roster.endpoints

    @property
    def leaving(self) -> list[Endpoint]:
        """Those that are gone from discovery, but with running streams."""
        return self._roster.leaving

    # -- what pools and loads need of it

    def policy(self, name: Name) -> Policy:
        """The policy of that name."""
        return self._policies[name]

    def everyone(self) -> Collection[Endpoint]:
        """All endpoints."""
        return self.endpoints.values()

    def wants(self, pool: Pool) -> None:
        """Notes whether calls wait in a pool."""
        self._pools.note(pool)
        if pool.waiting:
            self.wake()

    def freed(self, endpoint: Endpoint, pool: Pool) -> None:
        """Gives a slot that came free to the next call."""
        if self._pools.hungry:
            self._pools.freed(endpoint, pool)
            if self._pools.hungry:
                self.wake()
        if endpoint.reserved is not None:
            self.loads.freed(endpoint)

    def changed(self) -> None:
        """Other endpoints may serve models than before: the next in each queue may have a slot now."""
        self.epoch += 1
        self.bind_waiting()
        self.wake()

    def bind_waiting(self) -> None:
        """Gives free slots to waiting calls in all pools."""
        self._pools.bind_waiting()

    def load_seconds_left(self, pool: Pool) -> float:
        """When a model will be loaded, as far as is known."""
        now = self._clock()
        left = [
            self.learned.load_of(load.key, USUAL_LOAD_SECONDS) - (now - load.phase_at)
            for load in self.loads.under_way()
            if load.pool == pool.model
        ]
        return max(1.0, min(left, default=USUAL_LOAD_SECONDS))

    def rollout_of(self, model: str) -> Rollout | None:
        """How far a model is on its way to the endpoints, if it is."""
        return self.peers.rollout_of(model)

    @property
    def never_loads(self) -> bool:
        """Whether the config forbids it."""
        return self._settings.loads == "never"

    @property
    def may_load(self) -> bool:
        """Whether the config lets this gateway load models. By itself it does not where others may be unseen."""
        return self._settings.loads == "always" or (self._settings.loads == "auto" and self.peers.is_known)

    @property
    def decides(self) -> bool:
        """Whether this gateway decides on loads. One that leaves does for its own calls, if nobody else is fit to."""
        return self.may_load and (self.peers.leads or (self.is_leaving and self.peers.leader is None))

    def _may_lead(self) -> bool:
        return self.may_load and self._is_configured and not self.is_leaving

    def own_slots(self, slots: int) -> int:
        """How many of a runner's slots this gateway may use, with those that others are known to use."""
        return self.peers.own_slots(slots) if self.may_load else slots

    def decide(self) -> None:
        """One round of decisions on loads, where they are this gateway's to make."""
        if self.decides:
            self.loads.decide()

    def tick(self) -> None:
        """What time alone brings. Called each second."""
        self.loads.tick()
        seconds = self._settings.starve_seconds
        for pool in list(self._pools.hungry):
            if pool.policy.binds_late and not (self.may_load and self._is_loadable(pool)):
                send_cold(pool, seconds)
            send_past_peers(pool, seconds)
        self.bind_waiting()
        self.decide()

    def _is_loadable(self, pool: Pool) -> bool:
        """Whether an endpoint is known to have the model on its disk: else nobody decides to load it."""
        return any(endpoint.is_usable and endpoint.holds(pool.model) for endpoint in self.everyone())

    # -- config

    def configure(self, settings: FleetSettings) -> Iterator[None]:
        """Applies a new config in steps, at least one; other tasks may run between them.

        At the end all pools have their new settings, and waiting calls have the slots that these add.
        """
        self._settings = settings
        yield
        yield from self.naming.configure(settings.shaped, settings.tags)
        for number, endpoint in enumerate(tuple(self._everywhere()), 1):
            endpoint.residency.follow_names()
            if number % ENDPOINTS_AT_ONCE == 0:
                yield
        yield
        yield from self._pools.configure(settings.of)
        self.loads.starve_seconds = settings.starve_seconds
        self.peers.is_foreign = settings.is_foreign
        self._is_configured = True
        self._keep_resident()
        self.changed()

    def _keep_resident(self) -> None:
        """Makes the pools of models that must stay loaded, so that the decision on loads sees them."""
        for model in self._settings.kept:
            self.pool(model)

    def pool(self, model: str) -> Pool:
        """The pool of a model, by Ollama's name, for a call; made at the first use."""
        return self._pools.get(model)

    def peek(self, model: str) -> Pool:
        """The pool of a model for reading alone. A missing pool is made as a call would make it, and not kept."""
        return self._pools.peek(model)

    def _made(self, model: str) -> Pool:
        return Pool(model, self._settings.of(model), self, self._clock)

    def pools(self) -> Collection[Pool]:
        """Every pool that calls used lately."""
        return self._pools.all()

    def _forget_pools(self) -> None:
        self._pools.forget(self._everywhere())

    def _everywhere(self) -> tuple[Endpoint, ...]:
        """All endpoints, with those that leave: they may come back, and their streams run."""
        return (*self.endpoints.values(), *self.leaving)

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock()
