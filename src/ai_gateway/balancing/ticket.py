"""A call as the scheduler sees it: what it claims, and its place in a queue."""

from collections.abc import Callable

import msgspec

from ai_gateway.balancing.choice import Choice
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.stopwatch import Stopwatch
from ai_gateway.errors import GatewayError
from ai_gateway.wire.conversation import Conversation


class Claim(msgspec.Struct, frozen=True):
    """What a call asks of a pool. `tokens` is an estimate of what it will use, in the currency of limits.

    `patience_seconds` is how long its client waits at most for a slot, None if that is not known.
    """

    caller: str = ""
    is_batch: bool = False
    tokens: int = 0
    conversation: Conversation | None = None
    patience_seconds: float | None = None


ANYONE = Claim()


class Ticket:
    """A place in the queue. `settle` is called once, when `choice` or `error` has been set by the pool.

    `came_at` is when the call joined (monotonic seconds); `warm_at` and `cold_at` are the pool's two clocks then. One
    that is sent again has clocks of its own: it may not use all endpoints.
    """

    __slots__ = ("avoid", "came_at", "choice", "claim", "cold_at", "error", "settle", "stopwatch", "warm_at")

    def __init__(self, avoid: frozenset[Endpoint], settle: Callable[[], None], claim: Claim = ANYONE) -> None:
        self.avoid = avoid
        self.settle = settle
        self.claim = claim
        self.came_at = self.warm_at = self.cold_at = 0.0
        self.stopwatch: Stopwatch | None = None
        self.choice: Choice | None = None
        self.error: GatewayError | None = None
