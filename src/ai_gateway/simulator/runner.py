"""One loaded (or loading) model of an endpoint, and a request's place on it."""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from ai_gateway.simulator.durations import FOREVER_SECONDS
from ai_gateway.simulator.prompt_cache import Slot

LISTED_AFTER = 0.6  # the share of its load after which /api/ps of 0.24.0 shows a loading model, as measured
LISTED_LOADED = 1.0  # from 0.30 on it shows a model when the load is over


@dataclass(slots=True, eq=False)
class Ticket:
    """One request's demand on the scheduler, and its result. Only the scheduler changes the lower half."""

    name: str  # the model's display name
    weights: str  # digest; models with equal weights share a runner
    size_bytes: int
    slots: int  # how many the runner has if this request loads it
    load_seconds: float
    context_length: int  # a different one from the runner's needs a reload
    keep_alive: float | None = None  # seconds; None keeps the runner's value
    prompt: str = ""
    digest: str = ""  # of the model's manifest
    details: dict[str, Any] = field(default_factory=dict)  # of the model, as /api/ps shows it

    runner: "Runner | None" = None
    slot: Slot | None = None
    cached_characters: int = 0


@dataclass(slots=True, eq=False)
class Runner:
    """A model in memory, or on its way there. Only the scheduler changes it."""

    name: str
    weights: str
    size_bytes: int
    context_length: int
    keep_alive: float  # seconds; math.inf is forever
    load_started_at: float
    load_ends_at: float
    starter: Ticket  # if it leaves during the load, the load is aborted
    slots: list[Slot]
    listed_after: float = LISTED_LOADED  # the share of its load after which /api/ps shows it
    is_loaded: bool = False
    expires_at: float | None = None  # None until its first request has ended
    idle_at: float = 0.0  # when its last request ended
    running: set[Ticket] = field(default_factory=set)
    waiting: deque[Ticket] = field(default_factory=deque)

    @property
    def is_idle(self) -> bool:
        """Loaded, and no request runs or waits."""
        return self.is_loaded and not self.running and not self.waiting

    def is_listed(self, now: float) -> bool:
        """Whether /api/ps shows it: once loaded, or in older versions when the load is well under way."""
        if self.is_loaded or self.listed_after >= LISTED_LOADED:
            return self.is_loaded
        load_seconds = self.load_ends_at - self.load_started_at
        return now >= self.load_started_at + self.listed_after * load_seconds

    def takes(self, ticket: Ticket, now: float) -> bool:
        """Whether a request may wait here rather than in the scheduler's queue."""
        return self.context_length == ticket.context_length and self.is_listed(now)

    def shown_expiry(self, now: float) -> float:
        """The expiry in /api/ps: it moves with the clock until the first request has ended, and then stands still."""
        if self.expires_at is None:
            return now + min(self.keep_alive, FOREVER_SECONDS)
        return self.idle_at + FOREVER_SECONDS if math.isinf(self.expires_at) else self.expires_at


def expiry(now: float, keep_alive: float) -> float:
    """When an idle runner is unloaded; math.inf if never."""
    return math.inf if math.isinf(keep_alive) else now + keep_alive
