"""Access lines of requests whose caller proved nothing: some of each minute, and a line that counts the rest.

Whoever knows no key can send such requests as fast as the network allows. Each is counted by the metrics and has its
entry in the audit, where that is on; a line each would let anybody fill the log.
"""

import time
from typing import Final

import msgspec

from ai_gateway.exchange import Exchange
from ai_gateway.wire.timestamp import timestamp

MOST_LINES: Final = 20
PAUSE_SECONDS: Final = 60.0
# Beside 401: pages of other sites, preflights too, and tokens of which nobody can say now whose they are.
_UNPROVEN: Final = frozenset(("origin_refused", "host_refused", "cors_refused", "auth_unavailable"))


class HeldBack(msgspec.Struct):
    """The line that stands for those that were not written."""

    time: str
    log: str
    held_back: int
    reason: str


class Strangers:
    """How many such lines have come within PAUSE_SECONDS. Changed by `holds_back` and `told`."""

    def __init__(self) -> None:
        self._since = float("-inf")
        self._count = 0
        self.held = 0  # not written and not told of yet

    def holds_back(self, exchange: Exchange) -> bool:
        """Whether the line of a finished exchange is one too many."""
        if exchange.outcome.status != 401 and exchange.outcome.error_code not in _UNPROVEN:
            return False
        now = exchange.times.opened_at
        if now - self._since >= PAUSE_SECONDS:
            self._since, self._count = now, 0
        self._count += 1
        if self._count <= MOST_LINES:
            return False
        self.held += 1
        return True

    def summary(self) -> HeldBack:
        """The line for those that were held back until now."""
        held, self.held = self.held, 0
        reason = f"{held} more requests were refused whose callers proved nothing; the metrics have counted each"
        return HeldBack(timestamp(time.time_ns()), "access", held, reason)
