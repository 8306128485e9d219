"""Decides which endpoint loads which model: one round of the decision, which changes nothing itself.

The rules and their figures come from the simulation in bench/simulate; docs/balancing.md tells them to operators.
Ollama chooses victims of its own when it lacks room, so room is made before a load.
"""

from collections.abc import Collection, Iterator
from typing import Final, Protocol

from ai_gateway.balancing.demand import Demand, Need
from ai_gateway.balancing.due import Due, Hopeless, Site, State
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.forecast import Forecast
from ai_gateway.balancing.learned import Learned
from ai_gateway.balancing.pool import Pool
from ai_gateway.balancing.sites import Sites
from ai_gateway.balancing.victims import Victims

EAGER: Final = 0.4  # share of the slots in demand from which a further copy is loaded where there is room
REPLACE: Final = 0.3  # the same, where another model must go: the wait, as a share of a load's time
USUAL_ROOMS: Final = 3  # Ollama's default for one GPU, and on a CPU


class Surroundings(Protocol):
    """What the decision needs of the fleet."""

    learned: Learned

    def everyone(self) -> Collection[Endpoint]:
        """All endpoints."""

    def pools(self) -> Collection[Pool]:
        """All pools."""


class Decision:
    """One round. It is used once; what it yields must be carried out before the next step is taken."""

    def __init__(self, around: Surroundings, state: State) -> None:
        self._learned = around.learned
        self._state = state
        endpoints = [endpoint for endpoint in around.everyone() if endpoint.is_usable]
        listed = [endpoint for endpoint in endpoints if endpoint.residency.loaded is not None]
        self._roomy = [endpoint for endpoint in listed if has_place(endpoint)]
        loads = (*state.of.values(), *state.reported.values())
        self._demand = Demand(around.pools(), endpoints, loads, state.now)
        self._forecast = Forecast(around.learned)
        self._sites = Sites(state, endpoints)
        self._victims = Victims(self._demand, listed, self._sites, self._forecast, state)

    def steps(self) -> Iterator[Due | Hopeless]:
        """What is due, models that are loaded nowhere first, then who waits longest."""
        wanted = [need for need in self._demand.needs.values() if need.is_wanted]
        wanted.sort(key=lambda need: (not need.is_nowhere, -need.oldest_seconds))
        for need in wanted:
            if not self._suffices(need):
                step = self._step(need)
                if step is not None:
                    yield step
                    self._victims.changed()

    def _suffices(self, need: Need) -> bool:
        """Whether the loads under way will take all that wait."""
        if need.is_nowhere:
            return False
        pending = sum(need.slots_on(load.endpoint) for load in need.loading)
        return bool(need.loading) and pending >= need.waiting and need.count >= need.resident

    def _step(self, need: Need) -> Due | Hopeless | None:
        if need.is_nowhere and (hopeless := self._sites.hopeless(need)) is not None:
            return hopeless
        is_short = need.count < need.resident
        is_crowded = need.running + need.waiting > EAGER * need.slots
        if need.is_nowhere or is_short or is_crowded:
            rooms = [site for site in self._sites.among(need, self._roomy) if has_room(site, self._learned)]
            if rooms:
                return Due(need, min(rooms, key=self._rank), None)
        is_worth_it = self._forecast.pays(need, REPLACE)
        is_due = is_short or (need.waiting > 0 and (need.is_nowhere or is_worth_it))
        found = self._victims.idle(need) if is_due else None
        if found is None and not need.is_nowhere:
            found = self._victims.spare(need, is_worth_it)
        if found is None and need.is_nowhere and self._starves(need):
            found = self._victims.busy(need)
        if found is None:
            return None
        site, place = found
        return Due(need, site, place.give_up())

    def _starves(self, need: Need) -> bool:
        return need.oldest_seconds > self._forecast.hurried(need, self._state.starve_seconds)

    def _rank(self, site: Site) -> tuple[bool, float, int, int]:
        """Where to load: an empty and fast endpoint first, then an idle one; all gateways see the same tie."""
        endpoint = site.endpoint
        residents = len(endpoint.residency.loaded or {})
        return (
            self._sites.has_failed(site),
            residents - 2 * min(1.0, endpoint.speed),
            endpoint.total_in_flight + endpoint.total_peers,
            site.mix,
        )


def has_room(site: Site, learned: Learned) -> bool:
    """Whether the memory that is known takes a further runner there beside those that it has."""
    endpoint = site.endpoint
    loaded = endpoint.residency.loaded or {}
    if site.key in loaded:
        return False  # the same file with another context: it has to go first
    if endpoint.full_bytes is None or not loaded:
        return True
    return sum(one.entry.size for one in loaded.values()) + _size(site, learned) <= endpoint.full_bytes


def _size(site: Site, learned: Learned) -> int:
    known = learned.sizes.get(site.key)
    if known is not None:
        return known
    held = (site.endpoint.held or {}).get(site.model)
    return 0 if held is None else held.size


def has_place(endpoint: Endpoint) -> bool:
    """Whether Ollama takes a further runner, whatever its size."""
    rooms = endpoint.pod.max_loaded_models if endpoint.pod is not None else None
    return len(endpoint.residency.loaded or {}) < (rooms or USUAL_ROOMS)
