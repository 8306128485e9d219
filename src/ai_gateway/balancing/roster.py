"""Which endpoints there are: the latest list of discovery, and those that are gone but still have streams."""

import random
from collections.abc import Callable, Container, Iterable, Mapping

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.naming import Naming
from ai_gateway.balancing.pod import Pod
from ai_gateway.balancing.resident import Weights
from ai_gateway.wire.address import Address


class Roster:
    """Endpoints by address. Changed by the fleet, with each list of discovery."""

    __slots__ = ("_has_pods", "_random", "_weights", "endpoints", "leaving", "naming")

    def __init__(self, rng: random.Random, weights: Mapping[str, Weights], naming: Naming) -> None:
        self._random = rng
        self._weights = weights
        self.naming = naming
        self.endpoints: dict[Address, Endpoint] = {}
        self.leaving: list[Endpoint] = []
        self._has_pods = False

    def apply(
        self, addresses: Iterable[Address], unready: Container[Address], drop: Callable[[Endpoint], None]
    ) -> tuple[list[Endpoint], list[Endpoint]]:
        """Applies a whole list; returns the new and the gone endpoints, and calls `drop` for the latter.

        An endpoint that stays keeps its counts, as does one that comes back while streams run on it. One that
        is gone gets no new calls and keeps its streams.
        """
        wanted = dict.fromkeys(addresses)
        gone = [endpoint for address, endpoint in self.endpoints.items() if address not in wanted]
        for endpoint in gone:
            endpoint.is_draining = True
            endpoint.is_deleted = endpoint.address not in unready
            del self.endpoints[endpoint.address]
            drop(endpoint)
        busy = {endpoint.address: endpoint for endpoint in [*self.leaving, *gone] if endpoint.total_in_flight}
        new = [
            busy.pop(address) if address in busy else Endpoint(address, self._random, self._weights, self.naming)
            for address in wanted
            if address not in self.endpoints
        ]
        self.leaving = list(busy.values())
        for endpoint in new:
            endpoint.is_draining = endpoint.is_deleted = False
        self.endpoints.update((endpoint.address, endpoint) for endpoint in new)
        return new, gone

    def know(self, pods: Mapping[Address, Pod]) -> None:
        """Notes the facts about pods."""
        if not (pods or self._has_pods):
            return
        self._has_pods = bool(pods)
        for address, endpoint in self.endpoints.items():
            endpoint.pod = pods.get(address)
