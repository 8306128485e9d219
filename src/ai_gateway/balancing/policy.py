"""Chooses the endpoint for a call."""

import random
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ai_gateway.balancing.endpoint import Endpoint


class Choice(NamedTuple):
    """The endpoint for a call, and why it was chosen, for logs and traces."""

    endpoint: Endpoint
    reason: str
    is_warm: bool  # the model is loaded there


class Policy(Protocol):
    """Chooses among endpoints that all have the model and a free slot for it."""

    def pick(self, candidates: Sequence[Endpoint], model: str) -> Choice:
        """The best of `candidates` (never empty) for a model, by Ollama's name."""


class WarmLeastInFlight:
    """Prefers an endpoint without recent failures, then one with the model loaded, then the least busy one."""

    def __init__(self, rng: random.Random) -> None:
        self._random = rng

    def pick(self, candidates: Sequence[Endpoint], model: str) -> Choice:
        """See Policy. Ties are broken at random, so that several gateways choose differently."""
        if len(candidates) == 1:
            return Choice(candidates[0], "only", candidates[0].is_resident(model))
        ranks = [
            (endpoint.health.failures > 0, not endpoint.is_resident(model), endpoint.total_in_flight)
            for endpoint in candidates
        ]
        best = min(ranks)
        equals = [endpoint for endpoint, rank in zip(candidates, ranks, strict=True) if rank == best]
        chosen = equals[0] if len(equals) == 1 else self._random.choice(equals)
        return Choice(chosen, "least_in_flight", not best[1])
