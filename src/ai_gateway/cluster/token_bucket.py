"""Allows a burst, then so many a second. Time is an argument."""


class TokenBucket:
    """A token bucket. Only `take` changes it."""

    def __init__(self, burst: int, per_second: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._left = float(burst)
        self._at: float | None = None

    def take(self, now: float) -> float:
        """Takes a token; returns the seconds to wait for it, 0 within the burst. `now` is monotonic seconds."""
        if self._at is not None:
            self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        self._left -= 1
        return max(0.0, -self._left / self._per_second)
