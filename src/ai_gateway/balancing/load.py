"""One load under way: the steps by which an endpoint comes to have another model resident."""

from typing import Final, Literal

import msgspec

from ai_gateway.balancing.endpoint import Endpoint

UNLOAD_SECONDS: Final = 120.0  # after which an unload is given up
LOAD_SECONDS: Final = 300.0  # after which a load is given up at the earliest: callers may leave sooner
FIRST_BACKOFF_SECONDS: Final = 10.0
LONGEST_BACKOFF_SECONDS: Final = 300.0

Phase = Literal["reserved", "unloading", "loading"]
# What an observer is told. Dropped: the endpoint went away, or all who waited while its room was made.
Step = Literal["begun", "loaded", "failed", "dropped"]


class Victim(msgspec.Struct, frozen=True):
    """The runner that makes room: its key, and a name by which Ollama still finds it.

    Without a name only Ollama can unload it, which it does for a load once the runner is idle.
    """

    key: str
    name: str | None


class Load(msgspec.Struct, eq=False):
    """A load of `model` (Ollama's name; `key` is its runner) on an endpoint, for the calls of a pool. Changed by Loads.

    `reserved` until the victim has no more calls, `unloading` until `/api/ps` lists it no more, then `loading`.
    Moments are monotonic seconds.
    """

    endpoint: Endpoint
    pool: str
    model: str
    key: str
    victim: Victim | None
    keep_alive: str | int | None
    limit_seconds: float
    phase: Phase
    began_at: float
    phase_at: float
    answered_at: float | None = None  # when Ollama answered the unload
    is_over: bool = False
    is_asked: bool = False  # by the config, though no call waits

    def __repr__(self) -> str:
        return f"<Load of {self.model} on {self.endpoint.address.authority}, {self.phase}>"


class Backoff(msgspec.Struct, frozen=True):
    """Why an endpoint is not asked to load a runner for now."""

    until: float
    seconds: float
    reason: str

    @property
    def failed_at(self) -> float:
        """When it did."""
        return self.until - self.seconds


def next_backoff(before: Backoff | None, now: float, reason: str) -> Backoff:
    """The back-off after one more failure: 10 s, doubling up to 5 minutes."""
    seconds = FIRST_BACKOFF_SECONDS if before is None else min(2 * before.seconds, LONGEST_BACKOFF_SECONDS)
    return Backoff(now + seconds, seconds, reason)
