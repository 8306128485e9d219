"""Access lines of unauthenticated requests: some in each minute, and one line that counts the rest.

Anyone can send such requests as fast as the network allows. Metrics count each of them, and each has its entry in the
audit, if that is on; a line for each would let anyone fill the log.
"""

import time
from typing import Final

import msgspec

from ai_gateway.exchange import Exchange
from ai_gateway.wire.timestamp import timestamp

MOST_LINES: Final = 20
PAUSE_SECONDS: Final = 60.0
# Besides 401: pages of other sites, their preflights, and tokens that cannot be checked now.
_UNPROVEN: Final = frozenset(("origin_refused", "host_refused", "cors_refused", "auth_unavailable"))


class SuppressedLines(msgspec.Struct):
    """The line that counts the suppressed ones."""

    time: str
    log: str
    held_back: int
    story: str


class UnauthenticatedLines:
    """Counts such lines within PAUSE_SECONDS. Changed by `suppresses` and `summary`."""

    def __init__(self) -> None:
        self._since = float("-inf")
        self._count = 0
        self.suppressed = 0  # since the last summary

    def suppresses(self, exchange: Exchange) -> bool:
        """Whether to suppress the line of a finished exchange."""
        if exchange.outcome.status != 401 and exchange.outcome.error_code not in _UNPROVEN:
            return False
        now = exchange.times.opened_at
        if now - self._since >= PAUSE_SECONDS:
            self._since, self._count = now, 0
        self._count += 1
        if self._count <= MOST_LINES:
            return False
        self.suppressed += 1
        return True

    def summary(self) -> SuppressedLines:
        """The line that counts those suppressed so far."""
        held, self.suppressed = self.suppressed, 0
        story = f"{held} more unauthenticated requests were refused; the metrics count each of them"
        return SuppressedLines(timestamp(time.time_ns()), "access", held, story)
