"""Decides whether a body comes fast enough to wait for it. Pure: the caller reads the clock; seconds and bytes."""

from typing import Final

LEAST_BYTES: Final = 256 << 10  # of a body, or its rest, that must come ...
LEAST_SECONDS: Final = 30.0  # ... in this time: 70 kbit/s; a client that sends a byte now and then is no slow line


class BodyDeadline:
    """One body. Changed by `came`; `due` is when the body is given up unless more of it comes."""

    __slots__ = ("_bytes", "_end", "due")

    def __init__(self, now: float, total_seconds: float) -> None:
        self._bytes = 0  # since the last time that enough of them had come
        self._end = now + total_seconds
        self.due = min(now + LEAST_SECONDS, self._end)

    def came(self, size: int, now: float) -> bool:
        """So many bytes came; whether `due` is another moment now."""
        self._bytes += size
        if self._bytes < LEAST_BYTES:
            return False
        self._bytes = 0
        self.due = min(now + LEAST_SECONDS, self._end)
        return True
