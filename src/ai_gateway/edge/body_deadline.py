"""Whether a body comes fast enough: arithmetic on a clock that the caller reads. In seconds and bytes."""

from typing import Final

LEAST_BYTES: Final = 256 << 10  # of a body, or its rest, that must come ...
LEAST_SECONDS: Final = 30.0  # ... in this time: 70 kbit/s, so that a byte now and then is not enough


class BodyDeadline:
    """The deadline of one body. Changed by `came`. At `due` the gateway gives up the body unless more has come."""

    __slots__ = ("_bytes", "_end", "due")

    def __init__(self, now: float, total_seconds: float) -> None:
        self._bytes = 0  # since the deadline moved last
        self._end = now + total_seconds
        self.due = min(now + LEAST_SECONDS, self._end)

    def came(self, size: int, now: float) -> bool:
        """Counts bytes that came; True if that moved `due`."""
        self._bytes += size
        if self._bytes < LEAST_BYTES:
            return False
        self._bytes = 0
        self.due = min(now + LEAST_SECONDS, self._end)
        return True
