"""Decides which endpoint loads which model: one round of the decision, which changes nothing itself.

The rules and their figures come from the simulation in bench/simulate; docs/balancing.md tells them to operators.
Ollama chooses victims of its own when it lacks room, so room is made before a load.
"""

import zlib
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from typing import Any, Final, NamedTuple, Protocol

from ai_gateway.balancing.demand import Demand, Need
from ai_gateway.balancing.due import Due, Hopeless, Site, State
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.learned import Learned
from ai_gateway.balancing.load import Backoff, Victim
from ai_gateway.balancing.pool import Pool
from ai_gateway.balancing.residency import Loaded

EAGER: Final = 0.4  # share of the slots in demand from which a further copy is loaded where there is room
REPLACE: Final = 0.3  # the same, where another model must go: the wait, as a share of a load's time
DWELL_SECONDS: Final = 10.0  # an idle runner is replaced no sooner
KEEP_ONLY_SECONDS: Final = 60.0  # nor is the only copy of a model that was used within this time, for a further copy
FULL: Final = 0.2  # share of a model's slots in use over minutes from which it may get another's spare copy,
UNEVEN: Final = 3.0  # if its slots are so many times fuller than the other's will be,
UNEVEN_WAITING: Final = 1.5  # or so many times while it pays for those that wait
STARVE_SECONDS: Final = 20.0
QUICK_SECONDS: Final = 10.0  # where a load takes less, these three are shorter in proportion
USUAL_LOAD_SECONDS: Final = 15.0  # of a model that was never seen to load
USUAL_CALL_SECONDS: Final = 10.0
USUAL_ROOMS: Final = 3  # Ollama's default for one GPU, and on a CPU


class Surroundings(Protocol):
    """What the decision needs of the fleet."""

    learned: Learned

    def everyone(self) -> Collection[Endpoint]:
        """All endpoints."""

    def pools(self) -> Collection[Pool]:
        """All pools."""


class _Place(NamedTuple):
    """A runner that may make room, with the need that it serves, and how long nobody has used it; 0.0: it is in use."""

    endpoint: Endpoint
    loaded: Loaded
    need: Need | None
    idle_seconds: float

    @property
    def copies(self) -> int:
        """How many of its kind there are; 0: nobody here asks for it."""
        return 0 if self.need is None else self.need.count

    @property
    def may_go(self) -> bool:
        """Whether more than the copies that must stay are left without it."""
        return self.need is None or self.need.count > self.need.resident


class Decision:
    """One round. It is used once; what it yields must be carried out before the next step is taken."""

    def __init__(self, around: Surroundings, state: State, now: float) -> None:
        self._learned = around.learned
        self._state = state
        self._now = now
        self._endpoints = [endpoint for endpoint in around.everyone() if endpoint.is_usable]
        self._demand = Demand(around.pools(), self._endpoints, (*state.of.values(), *state.reported.values()), now)
        self._listed = [endpoint for endpoint in self._endpoints if endpoint.residency.loaded is not None]
        self._roomy = [endpoint for endpoint in self._listed if _has_place(endpoint)]
        self._spares: list[tuple[float, _Place]] | None = None

    def steps(self) -> Iterator[Due | Hopeless]:
        """What is due, models that are loaded nowhere first, then who waits longest."""
        wanted = [need for need in self._demand.needs.values() if need.is_wanted]
        wanted.sort(key=lambda need: (not need.is_nowhere, -need.oldest_seconds))
        for need in wanted:
            if not self._suffices(need):
                step = self._step(need)
                if step is not None:
                    yield step
                    self._spares = None  # who needs what has changed

    def _suffices(self, need: Need) -> bool:
        """Whether the loads under way will take all that wait."""
        if need.is_nowhere:
            return False
        pending = sum(need.slots_on(load.endpoint) for load in need.loading)
        return bool(need.loading) and pending >= need.waiting and need.count >= need.resident

    def _step(self, need: Need) -> Due | Hopeless | None:
        is_short = need.count < need.resident
        is_crowded = need.running + need.waiting > EAGER * need.slots
        if need.is_nowhere or is_short or is_crowded:
            rooms = [site for site in self._sites(need, self._roomy) if self._has_room(site)]
            if rooms:
                return Due(need, min(rooms, key=self._rank), None)
        is_due = is_short or (need.waiting > 0 and (need.is_nowhere or self._pays(need, REPLACE)))
        found = self._idle_victim(need) if is_due else None
        if found is None and not need.is_nowhere:
            found = self._spare(need)
        if found is None and need.is_nowhere and need.oldest_seconds > self._hurried(need, self._state.starve_seconds):
            found = self._busy_victim(need)
        if found is None:
            return self._hopeless(need) if need.is_nowhere else None
        site, place = found
        if place.need is not None:
            place.need.copies.pop(site.endpoint)  # for the other needs of this round
        return Due(need, site, Victim(place.loaded.key, site.endpoint.residency.name_of(place.loaded)))

    def _sites(self, need: Need, endpoints: Iterable[Endpoint]) -> Iterator[Site]:
        """Those of the endpoints that may load it now."""
        for endpoint in endpoints:
            site = self._site(need, endpoint)
            if endpoint in self._state.of or endpoint in self._state.reported:
                continue
            if site is not None and self._backoff(site) is None:
                yield site

    def _site(self, need: Need, endpoint: Endpoint) -> Site | None:
        """Where it may be loaded, now or later."""
        if endpoint in need.copies or endpoint in need.avoid:
            return None
        model = need.name_on(endpoint)
        return None if model is None else Site(endpoint, model, endpoint.residency.key_of(model))

    def _backoff(self, site: Site) -> Backoff | None:
        backoff = self._state.backoffs.get((site.endpoint, site.key))
        return backoff if backoff is not None and backoff.until > self._now else None

    def _hopeless(self, need: Need) -> Hopeless | None:
        """If all endpoints that may load it have failed to."""
        if not self._state.backoffs:
            return None
        sites = (self._site(need, endpoint) for endpoint in self._endpoints)
        backoffs = [self._backoff(site) for site in sites if site is not None]
        ends = [backoff for backoff in backoffs if backoff is not None]
        if not ends or len(ends) < len(backoffs):
            return None
        return Hopeless(need, min(ends, key=lambda backoff: backoff.until))

    def _has_room(self, site: Site) -> bool:
        endpoint = site.endpoint
        loaded = endpoint.residency.loaded or {}
        if site.key in loaded:
            return False  # the same file with another context: it has to go first
        if endpoint.full_bytes is None or not loaded:
            return True
        return sum(one.entry.size for one in loaded.values()) + self._size(site) <= endpoint.full_bytes

    def _size(self, site: Site) -> int:
        known = self._learned.sizes.get(site.key)
        if known is not None:
            return known
        held = (site.endpoint.held or {}).get(site.model)
        return 0 if held is None else held.size

    def _rank(self, site: Site) -> tuple[float, int, int]:
        """Where to load: an empty and fast endpoint first, then an idle one; all gateways see the same tie."""
        endpoint = site.endpoint
        residents = len(endpoint.residency.loaded or {})
        return (
            residents - 2 * min(1.0, endpoint.speed),
            endpoint.total_in_flight + endpoint.total_peers,
            _mix(site),
        )

    def _pays(self, need: Need, share: float) -> bool:
        """Whether those that wait would wait longer than a share of the load's time."""
        return self._wait_seconds(need) > share * self._load_seconds(need)

    def _wait_seconds(self, need: Need) -> float:
        return need.waiting * self._call_seconds(need) / max(1, need.slots)

    def _call_seconds(self, need: Need) -> float:
        learned = [self._learned.call_seconds.get(pool.model) for pool in need.pools]
        return max((one for one in learned if one is not None), default=USUAL_CALL_SECONDS)

    def _fullness(self, need: Need, slots: int) -> float:
        """The share of some slots that its calls of the last minutes would take."""
        return need.rate * self._call_seconds(need) / max(1, slots)

    def _load_seconds(self, need: Need) -> float:
        return self._learned.load_of(need.key[0], USUAL_LOAD_SECONDS)

    def _hurried(self, need: Need, seconds: float) -> float:
        """A time that is meant for usual loads, for one that may be quick: then it costs less to be wrong."""
        return seconds * min(1.0, self._load_seconds(need) / QUICK_SECONDS)

    # -- who makes room

    @cached_property
    def _places(self) -> list[_Place]:
        """All runners."""
        return [place for endpoint in self._listed for place in self._places_on(endpoint)]

    @cached_property
    def _idle(self) -> list[_Place]:
        """Those that nobody uses now."""
        return [place for place in self._places if place.idle_seconds > 0.0]

    def _places_on(self, endpoint: Endpoint) -> Iterator[_Place]:
        key_of = endpoint.residency.key_of
        busy = {key_of(model) for model in (*endpoint.in_flight, *endpoint.peers)}
        ended: dict[str, float] = {}
        for model, at in endpoint.ended_at.items():
            key = key_of(model)
            ended[key] = max(at, ended.get(key, 0.0))
        for key, loaded in (endpoint.residency.loaded or {}).items():
            idle = 0.0 if key in busy else self._now - max(loaded.moved_at, ended.get(key, 0.0))
            yield _Place(endpoint, loaded, self._demand.owner(endpoint, key), idle)

    def _idle_victim(self, need: Need) -> tuple[Site, _Place] | None:
        """A runner that nobody has used for a while: spare copies first, then what will be missed least."""
        keeps = not need.is_nowhere and self._wait_seconds(need) < self._load_seconds(need)
        dwell, keep_only = self._hurried(need, self._state.dwell_seconds), self._hurried(need, KEEP_ONLY_SECONDS)
        found = []
        for place in self._idle:
            if place.idle_seconds < dwell:
                continue
            is_recent = keeps and place.idle_seconds < keep_only
            if not place.may_go or (place.copies == 1 and place.need is not None and (place.need.waiting or is_recent)):
                continue
            for site in self._sites(need, (place.endpoint,)):
                if _makes_room(place, site):
                    rank = (place.copies == 1, self._missed(place), -place.idle_seconds, _mix(site))
                    found.append((rank, site, place))
        return min(found, key=_first)[1:] if found else None

    def _spare(self, need: Need) -> tuple[Site, _Place] | None:
        """A copy of a model that has more slots than it needs: an idle one, or a busy one if calls wait for long."""
        fullness, waits = self._fullness(need, need.slots), self._pays(need, REPLACE)
        if fullness < FULL:
            return None
        dwell = 0.0 if waits else self._hurried(need, self._state.dwell_seconds)
        if self._spares is None:
            self._spares = sorted(self._found_spares(), key=_left)
        found = []
        for left, place in self._spares:
            if left * (UNEVEN_WAITING if waits else UNEVEN) >= fullness:
                break
            if place.idle_seconds >= dwell:
                for site in self._sites(need, (place.endpoint,)):
                    if _makes_room(place, site):
                        found.append(((left, place.endpoint.busy_on(place.loaded.key), _mix(site)), site, place))
        return min(found, key=_first)[1:] if found else None

    def _found_spares(self) -> Iterator[tuple[float, _Place]]:
        """Copies that may go because there are others, and how full those would be without it."""
        for place in self._places:
            other = place.need
            if other is not None and place.copies >= 2 and place.may_go:
                yield self._fullness(other, other.slots - other.slots_on(place.endpoint)), place

    def _busy_victim(self, need: Need) -> tuple[Site, _Place] | None:
        """The runner with the least to do: it gets no more calls, and makes room when it is empty.

        If there is no other, one that the config wants to stay.
        """
        found = []
        for place in self._places:
            for site in self._sites(need, (place.endpoint,)):
                if _makes_room(place, site):
                    found.append(((not place.may_go, *self._busyness(place), _mix(site)), site, place))
        return min(found, key=_first)[1:] if found else None

    def _busyness(self, place: _Place) -> tuple[bool, float]:
        busy = place.endpoint.busy_on(place.loaded.key)
        if place.need is None:
            return False, busy
        if place.copies == 1:
            return True, 10 * place.need.rate + place.need.running + place.need.waiting
        return False, busy + place.need.waiting / max(1, place.copies)

    def _missed(self, place: _Place) -> float:
        """What its going costs, in seconds of loading per second."""
        if place.need is None:
            return 0.0
        return place.need.rate / max(1, place.copies) * self._load_seconds(place.need)


def _has_place(endpoint: Endpoint) -> bool:
    """Whether Ollama takes a further runner, whatever its size."""
    rooms = endpoint.pod.max_loaded_models if endpoint.pod is not None else None
    return len(endpoint.residency.loaded or {}) < (rooms or USUAL_ROOMS)


def _makes_room(place: _Place, site: Site) -> bool:
    """Whether the load at this site has to wait for this runner: the same file with another context must go itself."""
    return place.loaded.key == site.key or site.key not in (place.endpoint.residency.loaded or {})


def _left(spare: tuple[float, _Place]) -> float:
    return spare[0]


def _first(found: tuple[tuple[Any, ...], Site, _Place]) -> tuple[Any, ...]:
    return found[0]


def _mix(site: Site) -> int:
    """A number that all gateways agree on, to break ties."""
    return zlib.crc32(f"{site.key} {site.endpoint.address.authority}".encode())
