"""When a failing endpoint or model is ejected, and when it is tried again. Pure: time and randomness come in."""

import random

THRESHOLD = 5
FIRST_EJECTION_SECONDS = 5.0
LONGEST_EJECTION_SECONDS = 60.0
JITTER = 0.2


class EjectionState:
    """Failures in a row of one thing (an endpoint, or one model on it). Changed by the endpoint that owns it.

    `threshold` failures in a row eject it, 5 s at first, then longer each time until it succeeds, up to 60 s,
    each +-20 % so that several gateways do not try it at once. After that time it is on probation:
    one success readmits it, one failure ejects it again.
    """

    __slots__ = ("_ejections", "_random", "ejected_until", "failures", "threshold")

    def __init__(self, rng: random.Random, threshold: int = THRESHOLD) -> None:
        self._random = rng
        self._ejections = 0
        self.threshold = threshold
        self.failures = 0
        self.ejected_until: float | None = None

    @property
    def is_ejected(self) -> bool:
        """Whether it gets no calls until a success readmits it (`is_on_probation` says when to try)."""
        return self.ejected_until is not None

    def is_on_probation(self, now: float) -> bool:
        """Whether its ejection is over, so that one attempt may test it."""
        return self.ejected_until is not None and now >= self.ejected_until

    def succeed(self) -> bool:
        """Notes a success; True if that readmits it."""
        was_ejected = self.is_ejected
        self.readmit()
        self._ejections = 0
        return was_ejected

    def readmit(self) -> None:
        """Ends the ejection; without a success in between, the next ejection is longer."""
        self.failures = 0
        self.ejected_until = None

    def fail(self, now: float, may_eject: bool) -> bool:
        """Notes a failure; True if that ejects it."""
        self.failures += 1
        on_probation = self.is_on_probation(now)
        if self.is_ejected and not on_probation:
            return False
        if not on_probation and (self.failures < self.threshold or not may_eject):
            return False
        self._ejections += 1
        seconds = min(FIRST_EJECTION_SECONDS * self._ejections, LONGEST_EJECTION_SECONDS)
        self.ejected_until = now + seconds * self._random.uniform(1 - JITTER, 1 + JITTER)
        return True
