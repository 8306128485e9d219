"""Whether a client sends or reads fast enough: arithmetic on a clock that the caller reads. Seconds and bytes."""

from ai_gateway.wire.framing import FramingLimits


class BodyPace:
    """Measures a request's body from the first sweep that finds it incomplete. Changed by each check."""

    def __init__(self, now: float, limits: FramingLimits) -> None:
        self._limits = limits
        self._since = now
        self._checked_at = now
        self._moved_at = now
        self._seen_bytes = 0

    def is_too_slow(self, now: float, taken_bytes: int, is_paused: bool) -> bool:
        """Whether nothing came for too long, or too little on average. Time while reading was paused does not count."""
        if is_paused:
            self._since += now - self._checked_at
            self._moved_at = now
        elif taken_bytes != self._seen_bytes:
            self._moved_at = now
        self._checked_at = now
        self._seen_bytes = taken_bytes
        limits = self._limits
        elapsed = now - self._since
        if elapsed > limits.body_grace_seconds and taken_bytes < limits.body_rate * elapsed:
            return True
        return now - self._moved_at >= limits.body_silence_seconds


class WritePace:
    """Measures how a client reads while bytes wait for it. Changed by each check; belongs to one connection."""

    def __init__(self, limits: FramingLimits) -> None:
        self._limit_seconds = limits.write_silence_seconds
        self._least_bytes: int | None = None
        self._moved_at = 0.0

    def is_stuck(self, now: float, waiting_bytes: int) -> bool:
        """Whether `waiting_bytes` (0: nothing waits) have not decreased for too long."""
        if not waiting_bytes:
            self._least_bytes = None
        elif self._least_bytes is None or waiting_bytes < self._least_bytes:
            self._least_bytes = waiting_bytes
            self._moved_at = now
        return self._least_bytes is not None and now - self._moved_at >= self._limit_seconds

    def moved(self) -> None:
        """The client has read enough for the server to write on."""
        self._least_bytes = None
