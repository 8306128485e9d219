"""What a decision on loads starts from, and what it yields."""

import zlib
from collections.abc import Mapping
from typing import NamedTuple

from ai_gateway.balancing.demand import Need
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.load import Backoff, Load, Victim


class State(NamedTuple):
    """What is under way already, and what failed lately, at a moment in monotonic seconds."""

    now: float
    of: Mapping[Endpoint, Load]
    backoffs: Mapping[tuple[Endpoint, str], Backoff]
    starve_seconds: float
    dwell_seconds: float
    reported: Mapping[Endpoint, Load] = {}  # loads of the other gateways


class Site(NamedTuple):
    """An endpoint that may load what is needed, with the name to load it by, and the key of its runner there."""

    endpoint: Endpoint
    model: str
    key: str

    @property
    def mix(self) -> int:
        """A number that all gateways agree on, to break ties."""
        return zlib.crc32(f"{self.key} {self.endpoint.address.authority}".encode())


class Due(NamedTuple):
    """A load that is to begin, at a site, in place of a victim or where there is room."""

    need: Need
    site: Site
    victim: Victim | None


class Hopeless(NamedTuple):
    """A need that no endpoint can serve for now: all of them failed to load it. `backoff` ends first of theirs."""

    need: Need
    backoff: Backoff
