"""Loads a new version where another one is loaded, so that calls find one of them loaded all the time."""

from collections.abc import Iterator, Sequence

from ai_gateway.balancing.decision import has_place, has_room
from ai_gateway.balancing.due import Site
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.load import Load, Victim
from ai_gateway.reconcile.places import Place
from ai_gateway.reconcile.steps import Bring


class Bringing:
    """Begins such loads with the fleet's own, and ends those that nobody wants any more."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def begin(self, bring: Bring, places: Sequence[Place]) -> bool:
        """Loads beside the old one, or else in its place, on one endpoint at a time; True if a load has begun."""
        endpoint, key = bring.endpoint, bring.key
        if not self._may_load(endpoint, bring.name):
            return False
        if self._begin_beside(bring):
            return True
        old = endpoint.residency.find(key)
        if old is None or any(load.victim is not None for load in self._loads(key)):
            return False
        if not self._is_elsewhere(key, endpoint):
            # Calls would wait for the load: a copy elsewhere comes first, where there is room for one.
            if any(self._loads(key)):
                return False
            others = [place.endpoint for place in places if place.next is None and place.endpoint is not endpoint]
            if any(self._begin_on(other, key) for other in others):
                return True
        victim = Victim(old.key, endpoint.residency.name_of(old))
        self._fleet.loads.bring(self._fleet.pool(key), _site(bring), victim)
        return True

    def _begin_on(self, endpoint: Endpoint, key: str) -> bool:
        """A copy of the wanted version where no version is loaded."""
        wanted = endpoint.residency.served.wanted(key, endpoint.residency.digest_of)
        if wanted is None or not self._may_load(endpoint, wanted.name):
            return False
        return self._begin_beside(Bring(endpoint, key, wanted.name))

    def _begin_beside(self, bring: Bring) -> bool:
        """Loads it where there is room for it beside all that is loaded; False: there is none."""
        if not (has_place(bring.endpoint) and has_room(_site(bring), self._fleet.learned)):
            return False
        self._fleet.loads.bring(self._fleet.pool(bring.key), _site(bring), None)
        return True

    def _may_load(self, endpoint: Endpoint, name: str) -> bool:
        """Whether no load is under way there, and it is known which runner the name has: it may be there already."""
        loads, is_known = self._fleet.loads, endpoint.residency.digest_of(name) in self._fleet.weights
        return is_known and endpoint not in loads.of and endpoint not in loads.reported

    def give_up(self, key: str, places: Sequence[Place]) -> None:
        """Makes no room for a version that the config does not ask for any more."""
        wanted = {place.endpoint: place.next.name for place in places if isinstance(place.next, Bring)}
        for load in list(self._loads(key)):
            if load.is_asked and wanted.get(load.endpoint) != load.model:
                self._fleet.loads.give_up(load)

    def is_waited_for(self, key: str) -> bool:
        """Whether the only loaded copy of a model makes room for its new version."""
        loads = [load for load in self._loads(key) if load.is_asked and load.victim is not None]
        return any(not self._is_elsewhere(key, load.endpoint) for load in loads)

    def _loads(self, key: str) -> Iterator[Load]:
        return (load for load in self._fleet.loads.of.values() if load.pool == key)

    def _is_elsewhere(self, key: str, endpoint: Endpoint) -> bool:
        """Whether another endpoint takes calls for it now."""
        others = (one for one in self._fleet.endpoints.values() if one is not endpoint)
        return any(one.is_usable and one.is_resident(key) for one in others)


def _site(bring: Bring) -> Site:
    return Site(bring.endpoint, bring.name, bring.endpoint.residency.key_of(bring.name))
