"""Clocks of which one runs at a time: while a model is resident somewhere, and while it is only on disks."""

from typing import Literal

Phase = Literal["warm", "cold", "absent"]  # resident somewhere; only on disks; not even that


class Stopwatch:
    """Seconds of each phase. Changed by its owner, who turns it when another phase begins."""

    __slots__ = ("_phase", "_seconds", "_since")

    def __init__(self, now: float, phase: Phase) -> None:
        self._since = now
        self._phase = phase
        self._seconds: dict[Phase, float] = {"warm": 0.0, "cold": 0.0, "absent": 0.0}

    def turn(self, now: float, phase: Phase) -> None:
        """From now on this one runs."""
        self._seconds[self._phase] += now - self._since
        self._since, self._phase = now, phase

    def read(self, now: float) -> tuple[float, float]:
        """Seconds while it was resident somewhere, and while it was only on disks."""
        self.turn(now, self._phase)
        return self._seconds["warm"], self._seconds["cold"]
