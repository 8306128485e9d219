"""How long a client says that it waits, and what the gateway makes of it."""

from math import inf
from typing import Final

import msgspec

from ai_gateway.config.types import Timeouts
from ai_gateway.edge.asgi import Scope, header

# The gateway answers a little before the client gives up: its error says more than the client's timeout would.
MARGIN_SECONDS: Final = 1.0
MARGIN_SHARE: Final = 0.05

BEAT_SHARE: Final = 0.5  # of the patience between two bytes: one comment may be late
SOONEST_BEAT_SECONDS: Final = 1.0


class Patience(msgspec.Struct, frozen=True):
    """The client's own timeouts, in seconds; None: it names none.

    `between_bytes` is the longest silence on its connection, as OpenAI's clients mean it: a whole answer is silent
    until it is there, a stream never is. `total` is the longest time for the call.
    """

    between_bytes: float | None = None
    total: float | None = None

    def heartbeat_seconds(self, usual: float) -> float:
        """How long a stream may be silent; never longer than usual."""
        if self.between_bytes is None:
            return usual
        return min(usual, max(SOONEST_BEAT_SECONDS, self.between_bytes * BEAT_SHARE))

    def total_seconds(self, timeouts: Timeouts, *, stream: bool) -> float:
        """How long the whole call may take. For a whole answer a client may wait longer than is usual."""
        if self is _NONE:
            return timeouts.stream if stream else timeouts.total
        if stream:
            return min(_in_time(self.total), timeouts.stream)
        seconds = min(_in_time(self.total), _in_time(self.between_bytes))
        return timeouts.total if seconds == inf else min(seconds, max(timeouts.stream, timeouts.total))


_NONE: Final = Patience()  # of most clients


def _in_time(seconds: float | None) -> float:
    """When to answer a client that waits for so long."""
    return inf if seconds is None else seconds - min(MARGIN_SECONDS, seconds * MARGIN_SHARE)


def patience_of(scope: Scope) -> Patience:
    """What the client says. Numbers that mean nothing count as none: not above 0, infinite, or no number at all."""
    between_bytes, total = header(scope, b"x-stainless-read-timeout"), header(scope, b"x-request-timeout")
    if between_bytes is None and total is None:
        return _NONE
    return Patience(_seconds(between_bytes), _seconds(total))


def _seconds(text: bytes | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 < seconds < inf else None
