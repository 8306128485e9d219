"""What a pool needs of its fleet."""

import random
from typing import TYPE_CHECKING, Protocol

from ai_gateway.balancing import policy as policies
from ai_gateway.balancing import seats
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.learned import Learned
from ai_gateway.balancing.policy import Policy
from ai_gateway.balancing.rollout import Rollout

if TYPE_CHECKING:
    from ai_gateway.balancing.pool import Pool


class Surroundings(seats.Surroundings, Protocol):
    """What a pool needs of its fleet."""

    learned: Learned
    rng: random.Random

    def policy(self, name: policies.Name) -> Policy:
        """The policy of that name."""

    def wants(self, pool: "Pool") -> None:
        """Notes that calls wait, or wait no more: the decision on loads may change."""

    def freed(self, endpoint: Endpoint, pool: "Pool") -> None:
        """Notes that a slot came free."""

    def own_slots(self, slots: int) -> int:
        """How many of a runner's slots this gateway may use, with those that others are known to use."""

    def load_seconds_left(self, pool: "Pool") -> float:
        """When the model will be loaded, as far as is known."""

    def rollout_of(self, model: str) -> Rollout | None:
        """How far a model is on its way to the endpoints, if it is."""
