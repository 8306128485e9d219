"""Where a runner may be loaded: endpoints that hold its model, have no load under way, and did not fail to load it."""

from collections.abc import Iterable, Iterator, Sequence

from ai_gateway.balancing.demand import Need
from ai_gateway.balancing.due import Hopeless, Site, State
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.load import Backoff


class Sites:
    """The sites of one round of decisions, among `endpoints`."""

    def __init__(self, state: State, endpoints: Sequence[Endpoint]) -> None:
        self._state = state
        self._endpoints = endpoints

    def among(self, need: Need, endpoints: Iterable[Endpoint]) -> Iterator[Site]:
        """Those of the endpoints that may load it now."""
        for endpoint in endpoints:
            site = self._site(need, endpoint)
            if endpoint in self._state.of or endpoint in self._state.reported:
                continue
            if site is not None and self._backoff(site) is None:
                yield site

    def hopeless(self, need: Need) -> Hopeless | None:
        """If all endpoints that may load it have failed to."""
        if not self._state.backoffs:
            return None
        sites = (self._site(need, endpoint) for endpoint in self._endpoints)
        backoffs = [self._backoff(site) for site in sites if site is not None]
        ends = [backoff for backoff in backoffs if backoff is not None]
        if not ends or len(ends) < len(backoffs):
            return None
        return Hopeless(need, min(ends, key=lambda backoff: backoff.until))

    def _site(self, need: Need, endpoint: Endpoint) -> Site | None:
        """Where it may be loaded, now or later."""
        if endpoint in need.copies or endpoint in need.avoid:
            return None
        model = need.name_on(endpoint)
        return None if model is None else Site(endpoint, model, endpoint.residency.key_of(model))

    def _backoff(self, site: Site) -> Backoff | None:
        backoff = self._state.backoffs.get((site.endpoint, site.key))
        return backoff if backoff is not None and backoff.until > self._state.now else None
