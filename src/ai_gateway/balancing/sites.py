"""Where a runner may be loaded: endpoints that hold its model, have no load under way, and did not fail to load it.

Where the version of the config has failed to load, an earlier one serves.
"""

import math
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

    def has_failed(self, site: Site) -> bool:
        """Whether it failed to load there lately: all others are tried before it is tried again."""
        return (site.endpoint, site.key) in self._state.backoffs

    def hopeless(self, need: Need) -> Hopeless | None:
        """If all endpoints that may load it have failed to: a while ago at most, or since its first call here came."""
        if not self._state.backoffs:
            return None
        sites = [site for site in (self._site(need, endpoint) for endpoint in self._endpoints) if site is not None]
        came_at = min((ticket.came_at for pool in need.pools for ticket in pool.queue.firsts()), default=math.inf)
        found = [self._state.backoffs.get((site.endpoint, site.key)) for site in sites]
        now = self._state.now
        backoffs = [one for one in found if one is not None and (one.until > now or one.failed_at >= came_at)]
        if not backoffs or len(backoffs) < len(sites):
            return None
        return Hopeless(need, min(backoffs, key=lambda backoff: backoff.until))

    def _site(self, need: Need, endpoint: Endpoint) -> Site | None:
        """Where it may be loaded, now or later."""
        if endpoint in need.copies or endpoint in need.avoid:
            return None
        name = need.name_on(endpoint)
        if name is None:
            return None
        residency = endpoint.residency
        site = Site(endpoint, name, residency.key_of(name))
        if self.has_failed(site):
            others = (Site(endpoint, other, residency.key_of(other)) for other in residency.served.others(name))
            site = next((other for other in others if not self.has_failed(other)), site)
        return site

    def _backoff(self, site: Site) -> Backoff | None:
        backoff = self._state.backoffs.get((site.endpoint, site.key))
        return backoff if backoff is not None and backoff.until > self._state.now else None
