"""Who makes room where there is none: of the runners that are loaded, the one that will be missed least."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

from ai_gateway.balancing.demand import Demand, Need
from ai_gateway.balancing.due import Site, State
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.forecast import Forecast
from ai_gateway.balancing.load import Victim
from ai_gateway.balancing.resident import Loaded
from ai_gateway.balancing.sites import Sites

DWELL_SECONDS: Final = 10.0  # an idle runner is replaced no sooner
KEEP_ONLY_SECONDS: Final = 60.0  # nor is the only copy of a model that was used within this time, for a further copy
FULL: Final = 0.2  # share of a model's slots in use over minutes from which it may get another's spare copy,
UNEVEN: Final = 3.0  # if its slots are so many times fuller than the other's will be,
UNEVEN_WAITING: Final = 1.5  # or so many times while it pays for those that wait


class Place(NamedTuple):
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

    def give_up(self) -> Victim:
        """It makes room: the other needs of this round count it no more."""
        if self.need is not None:
            self.need.copies.pop(self.endpoint)
        return Victim(self.loaded.key, self.endpoint.residency.name_of(self.loaded))


Found = tuple[Site, Place]  # where to load, and who makes room there


class Victims:
    """The runners of one round of decisions."""

    def __init__(
        self, demand: Demand, listed: Sequence[Endpoint], sites: Sites, forecast: Forecast, state: State
    ) -> None:
        self._demand = demand
        self._listed = listed
        self._sites = sites
        self._forecast = forecast
        self._state = state
        self._spares: list[tuple[float, Place]] | None = None

    def changed(self) -> None:
        """Who needs what has changed: a load has begun."""
        self._spares = None

    def idle(self, need: Need) -> Found | None:
        """A runner that nobody has used for a while: spare copies first, then what will be missed least."""
        forecast = self._forecast
        keeps = not need.is_nowhere and forecast.wait_seconds(need) < forecast.load_seconds(need)
        dwell = forecast.hurried(need, self._state.dwell_seconds)
        keep_only = forecast.hurried(need, KEEP_ONLY_SECONDS)
        found = []
        for place in self._idle:
            if place.idle_seconds < dwell:
                continue
            is_recent = keeps and place.idle_seconds < keep_only
            if not place.may_go or (place.copies == 1 and place.need is not None and (place.need.waiting or is_recent)):
                continue
            for site in self._sites_of(need, place):
                rank = (
                    self._sites.has_failed(site),
                    place.copies == 1,
                    self._missed(place),
                    -place.idle_seconds,
                    site.mix,
                )
                found.append((rank, site, place))
        return _best(found)

    def spare(self, need: Need, is_worth_it: bool) -> Found | None:
        """A copy of a model that has more slots than it needs: an idle one, or a busy one if calls wait for long."""
        fullness = self._forecast.fullness(need, need.slots)
        if fullness < FULL:
            return None
        dwell = 0.0 if is_worth_it else self._forecast.hurried(need, self._state.dwell_seconds)
        if self._spares is None:
            self._spares = sorted(self._found_spares(), key=_fullness)
        found = []
        for left, place in self._spares:
            if left * (UNEVEN_WAITING if is_worth_it else UNEVEN) >= fullness:
                break
            if place.idle_seconds >= dwell:
                for site in self._sites_of(need, place):
                    found.append(((left, place.endpoint.busy_on(place.loaded.key), site.mix), site, place))
        return _best(found)

    def _found_spares(self) -> Iterator[tuple[float, Place]]:
        """Copies that may go because there are others, and how full those would be without it."""
        for place in self._places:
            other = place.need
            if other is not None and place.copies >= 2 and place.may_go:
                yield self._forecast.fullness(other, other.slots - other.slots_on(place.endpoint)), place

    def busy(self, need: Need) -> Found | None:
        """The runner with the least to do: it gets no more calls, and makes room when it is empty.

        If there is no other, one that the config wants to stay.
        """
        return _best(
            [
                ((self._sites.has_failed(site), not place.may_go, *self._busyness(place), site.mix), site, place)
                for place in self._places
                for site in self._sites_of(need, place)
            ]
        )

    def _busyness(self, place: Place) -> tuple[bool, float]:
        busy = place.endpoint.busy_on(place.loaded.key)
        if place.need is None:
            return False, busy
        if place.copies == 1:
            return True, 10 * place.need.rate + place.need.running + place.need.waiting
        return False, busy + place.need.waiting / max(1, place.copies)

    def _missed(self, place: Place) -> float:
        """What its going costs, in seconds of loading per second."""
        if place.need is None:
            return 0.0
        return place.need.rate / max(1, place.copies) * self._forecast.load_seconds(place.need)

    def _sites_of(self, need: Need, place: Place) -> Iterator[Site]:
        """Where it may be loaded if this runner goes: the same file with another context must go itself."""
        for site in self._sites.among(need, (place.endpoint,)):
            if place.loaded.key == site.key or site.key not in (place.endpoint.residency.loaded or {}):
                yield site

    @cached_property
    def _places(self) -> list[Place]:
        """All runners."""
        return [place for endpoint in self._listed for place in self._places_on(endpoint)]

    @cached_property
    def _idle(self) -> list[Place]:
        """Those that nobody uses now."""
        return [place for place in self._places if place.idle_seconds > 0.0]

    def _places_on(self, endpoint: Endpoint) -> Iterator[Place]:
        key_of = endpoint.residency.key_of
        busy = {key_of(model) for model in (*endpoint.in_flight, *endpoint.peers)}
        ended: dict[str, float] = {}
        for model, at in endpoint.ended_at.items():
            key = key_of(model)
            ended[key] = max(at, ended.get(key, 0.0))
        for key, loaded in (endpoint.residency.loaded or {}).items():
            idle = 0.0 if key in busy else self._state.now - max(loaded.moved_at, ended.get(key, 0.0))
            yield Place(endpoint, loaded, self._demand.owner(endpoint, key), idle)


def _fullness(spare: tuple[float, Place]) -> float:
    return spare[0]


def _best(found: list[tuple[tuple[Any, ...], Site, Place]]) -> Found | None:
    """The one with the lowest rank."""
    return min(found, key=_rank)[1:] if found else None


def _rank(found: tuple[tuple[Any, ...], Site, Place]) -> tuple[Any, ...]:
    return found[0]
