"""Chooses the endpoint for a call. A policy is a row of POLICIES; `balancing.policy` names one."""

import random
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final, Literal, Protocol

from ai_gateway.balancing.affinity import Affinity
from ai_gateway.balancing.choice import Choice, Reason
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.learned import MOST_NAMES
from ai_gateway.balancing.rendezvous import rendezvous
from ai_gateway.balancing.ticket import Claim

# What each further call in flight adds to the cost of an endpoint, as a share of the first one's time.
BUSY_COST: Final = 0.2
KNOWN_MARGIN: Final = 2.0  # how much more the endpoint may cost that had the conversation last
HASHED_MARGIN: Final = 0.5  # the same for the endpoint that the conversation's hash names

_SPEED: Final[Callable[[Endpoint], float]] = attrgetter("speed")

Name = Literal["warm", "least_in_flight", "round_robin"]


class Policy(Protocol):
    """Chooses among endpoints that all have the model and a free slot for it."""

    binds_late: bool  # calls wait until their model is resident, and the gateway decides on loads
    knows_conversations: bool  # else nobody needs to read them

    def pick(self, free: Sequence[Endpoint], able: Sequence[Endpoint], model: str, claim: Claim) -> Choice:
        """The best of `free` (never empty) for a model, by Ollama's name. `able` has those without a free slot, too."""


def costs_of(endpoints: Sequence[Endpoint]) -> list[float]:
    """How slow a further call would be on each, in terms of a call that is alone on a mean endpoint."""
    return [(1.0 + BUSY_COST * (one.total_in_flight + one.total_peers)) / one.speed for one in endpoints]


class Warm:
    """The endpoint that had this conversation, if it costs little more than the cheapest; else the cheapest.

    An unknown conversation goes where its hash points, so that equal beginnings meet in one cache. Endpoints with
    recent failures come last.
    """

    binds_late = knows_conversations = True

    def __init__(self, rng: random.Random, affinity: Affinity[Endpoint]) -> None:
        self._random = rng
        self._affinity = affinity

    def pick(self, free: Sequence[Endpoint], able: Sequence[Endpoint], model: str, claim: Claim) -> Choice:
        """See Policy."""
        if len(free) == 1:
            return self._chosen(free[0], "only", claim)
        healthy = [endpoint for endpoint in free if not endpoint.health.failures] or list(free)
        costs = costs_of(healthy)
        best = min(costs)
        conversation = claim.conversation
        if conversation is not None:
            known = self._affinity.find(conversation.keys)
            if known is not None and known not in able:
                known = None  # it has lost what it read
            if known is not None and _is_within(known, healthy, costs, best + KNOWN_MARGIN):
                return self._chosen(known, "conversation", claim)
            if known is None:
                hashed = rendezvous(conversation.first, able, _SPEED)
                if _is_within(hashed, healthy, costs, best + HASHED_MARGIN):
                    return self._chosen(hashed, "prefix", claim)
        cheapest = [endpoint for endpoint, cost in zip(healthy, costs, strict=True) if cost == best]
        return self._chosen(cheapest[0] if len(cheapest) == 1 else self._random.choice(cheapest), "cheapest", claim)

    def _chosen(self, endpoint: Endpoint, reason: Reason, claim: Claim) -> Choice:
        if claim.conversation is not None:
            self._affinity.remember(claim.conversation.own, endpoint)
        return Choice(endpoint, reason, True)


def _is_within(endpoint: Endpoint, healthy: Sequence[Endpoint], costs: Sequence[float], most: float) -> bool:
    return endpoint in healthy and costs[healthy.index(endpoint)] <= most


class LeastInFlight:
    """The endpoint with the fewest calls in flight, loaded or not; ties are broken at random."""

    binds_late = knows_conversations = False

    def __init__(self, rng: random.Random, _affinity: Affinity[Endpoint]) -> None:
        self._random = rng

    def pick(self, free: Sequence[Endpoint], able: Sequence[Endpoint], model: str, claim: Claim) -> Choice:
        """See Policy."""
        ranks = [(endpoint.health.failures > 0, endpoint.total_in_flight + endpoint.total_peers) for endpoint in free]
        best = min(ranks)
        equals = [endpoint for endpoint, rank in zip(free, ranks, strict=True) if rank == best]
        chosen = equals[0] if len(equals) == 1 else self._random.choice(equals)
        return Choice(chosen, "only" if len(free) == 1 else "least_in_flight", chosen.is_resident(model))


class RoundRobin:
    """One endpoint after the other, in the order of discovery, loaded or not."""

    binds_late = knows_conversations = False

    def __init__(self, _rng: random.Random, _affinity: Affinity[Endpoint]) -> None:
        self._last: dict[str, Endpoint] = {}

    def pick(self, free: Sequence[Endpoint], able: Sequence[Endpoint], model: str, claim: Claim) -> Choice:
        """See Policy."""
        last = self._last.get(model)
        start = able.index(last) + 1 if last in able else 0
        order = [*able[start:], *able[:start]]
        chosen = next(endpoint for endpoint in order if endpoint in free)
        if len(self._last) >= MOST_NAMES:
            self._last.clear()
        self._last[model] = chosen
        return Choice(chosen, "only" if len(free) == 1 else "round_robin", chosen.is_resident(model))


def less_busy_of_two(free: Sequence[Endpoint], rng: random.Random, reason: Reason, model: str) -> Choice:
    """The less busy of two random endpoints: what is left when nobody knows what is loaded."""
    two = rng.sample(free, 2) if len(free) > 1 else free
    chosen = min(two, key=lambda endpoint: endpoint.total_in_flight + endpoint.total_peers)
    return Choice(chosen, reason, chosen.is_resident(model))


POLICIES: Final[dict[Name, Callable[[random.Random, Affinity[Endpoint]], Policy]]] = {
    "warm": Warm,
    "least_in_flight": LeastInFlight,
    "round_robin": RoundRobin,
}
