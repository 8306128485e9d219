"""Learns how much an endpoint's memory holds: Ollama has evicted a runner for our load, where room was expected."""

from typing import Final

import msgspec

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.load import Load
from ai_gateway.balancing.resident import Loaded

FULL_SECONDS: Final = 600.0  # how long that is believed: other programs may need the memory only for a while


class _Watched(msgspec.Struct):
    """What was loaded when a load began, and when it was over."""

    key: str
    before: dict[str, Loaded]
    over_at: float | None = None


class Evictions:
    """The latest load of each endpoint, until a list of residents shows what it did. Changed by Loads."""

    __slots__ = ("_watched",)

    def __init__(self) -> None:
        self._watched: dict[Endpoint, _Watched] = {}

    def began(self, load: Load) -> None:
        """Ollama is about to load."""
        self._watched[load.endpoint] = _Watched(load.key, dict(load.endpoint.residency.loaded or {}))

    def ended(self, load: Load, now: float) -> None:
        """It has."""
        watched = self._watched.get(load.endpoint)
        if watched is not None:
            watched.over_at = now

    def forget(self, endpoint: Endpoint) -> None:
        """The load has failed, or the endpoint is gone or down."""
        self._watched.pop(endpoint, None)

    def saw(self, endpoint: Endpoint, asked_at: float, now: float) -> None:
        """A new list of residents: if the load pushed one out, what is left is all that fits."""
        watched = self._watched.get(endpoint)
        if watched is None or watched.over_at is None or asked_at < watched.over_at:
            return
        del self._watched[endpoint]
        residency = endpoint.residency
        loaded = residency.loaded or {}
        gone = [one for key, one in watched.before.items() if key not in loaded and key != watched.key]
        if watched.key in loaded and any(not residency.was_due(one, asked_at) for one in gone):
            endpoint.full_bytes = sum(one.entry.size for one in loaded.values()) or None
            endpoint.full_until = now + FULL_SECONDS
