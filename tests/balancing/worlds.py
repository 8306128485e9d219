"""The smallest fleets: a clock that is set by hand, chance that is seeded, and endpoints that hold what is said."""

import random
from collections.abc import Callable
from typing import Any

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.policy import Name
from ai_gateway.balancing.pool import Pool
from ai_gateway.balancing.resident import HeldModel, Resident
from ai_gateway.balancing.settings import FleetSettings, PoolSettings
from ai_gateway.balancing.ticket import ANYONE, Claim, Ticket
from ai_gateway.wire.address import Address

MODEL = "llama3:latest"


class Clock:
    """Monotonic seconds; only a test moves them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def held(*names: str) -> dict[str, HeldModel]:
    """Models on a disk, each with a digest of its own."""
    return {name: HeldModel(name, f"sha256:{name}", 1, 0) for name in names}


def addresses(count: int) -> list[Address]:
    """So many different endpoints' addresses."""
    return [Address(f"pod-{number}") for number in range(count)]


def fleet_settings(slots: int, max_waiting: int, own_slots: int | None = None, policy: Name = "warm") -> FleetSettings:
    """The same for every pool."""
    return FleetSettings(others=PoolSettings(slots, own_slots, max_waiting, policy))


class World:
    """A fleet of endpoints that are up and have the model loaded, and its pool with one slot each and a queue of ten.

    Not loaded with `is_warm=False`: the first poll came late, so nobody knows what is loaded, until another one tells.
    """

    make_clock: Callable[[], Any] = Clock

    def __init__(
        self,
        count: int = 2,
        slots: int = 1,
        max_waiting: int = 10,
        is_warm: bool = True,
        settings: FleetSettings | None = None,
    ) -> None:
        self.clock = self.make_clock()
        settings = settings or fleet_settings(slots, max_waiting)
        self.fleet = Fleet(self.clock, random.Random(1), settings)
        self.fleet.apply(addresses(count))
        for endpoint in self.endpoints:
            self.begin(endpoint, is_warm)
        self.pool: Pool = self.fleet.pool(MODEL)

    def begin(self, endpoint: Endpoint, is_warm: bool = True) -> None:
        """It is up, and holds the model, in memory too."""
        self.fleet.saw_up(endpoint, "0.24.0")
        self.fleet.saw_models(endpoint, held(MODEL))
        if is_warm:
            self.saw_loaded(endpoint, MODEL)
        else:
            self.saw_no_residents(endpoint)

    def saw_loaded(self, endpoint: Endpoint, *names: str) -> None:
        """A poll that was sent now told of these loaded models."""
        on_disk = held(*names) | (endpoint.held or {})
        loaded = tuple(Resident(name, on_disk[name].digest) for name in names)
        self.fleet.saw_residents(endpoint, loaded, self.fleet.now())

    def saw_no_residents(self, endpoint: Endpoint) -> None:
        """A poll that was sent now came late, or failed."""
        self.fleet.saw_residents(endpoint, None, self.fleet.now())

    def configure(self, settings: FleetSettings) -> None:
        """Takes them, all steps at once."""
        for _ in self.fleet.configure(settings):
            pass

    @property
    def endpoints(self) -> list[Endpoint]:
        """In the order of discovery."""
        return list(self.fleet.endpoints.values())

    def saw_nothing_loaded(self) -> None:
        """Polls of all endpoints told that nothing is."""
        for endpoint in self.endpoints:
            self.saw_loaded(endpoint)

    def take(self, *avoid: Endpoint, claim: Claim = ANYONE) -> Endpoint:
        """A slot that is free at once."""
        choice = self.pool.ask(frozenset(avoid), claim)
        assert choice is not None
        return choice.endpoint

    def queue(self, *avoid: Endpoint, claim: Claim = ANYONE, pool: Pool | None = None) -> "Waiting":
        """A call that has to wait."""
        pool = pool or self.pool
        assert pool.ask(frozenset(avoid), claim) is None
        waiting = Waiting(frozenset(avoid), claim)
        pool.wait(waiting.ticket)
        return waiting

    def eject(self, endpoint: Endpoint) -> None:
        """Failures until the endpoint is ejected."""
        for _ in range(5):
            self.fleet.failed(endpoint)
        assert endpoint.state == "ejected"

    def fail_model(self, endpoint: Endpoint, times: int = 5) -> bool:
        """5xx answers for the model; whether the last of them ejected it there."""
        return [self.fleet.failed_model(endpoint, MODEL) for _ in range(times)][-1]


class Waiting:
    """A ticket, and how often it was settled."""

    def __init__(self, avoid: frozenset[Endpoint] = frozenset(), claim: Claim = ANYONE) -> None:
        self.settled = 0
        self.ticket = Ticket(avoid, self._settle, claim)

    def _settle(self) -> None:
        self.settled += 1

    @property
    def endpoint(self) -> Endpoint | None:
        """Where it was sent, if it was."""
        return None if self.ticket.choice is None else self.ticket.choice.endpoint


def states(endpoints: list[Endpoint]) -> list[Any]:
    """One word each."""
    return [endpoint.state for endpoint in endpoints]
