"""What the scheduler learns from what it sees: how long loads and calls take, how often models are asked for.

All are moving averages (EWMA). A number that is not learned yet is None, and refuses nobody.
"""

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from ai_gateway.balancing.resident import Loaded
from ai_gateway.wire.address import Address

LOAD_WEIGHT: Final = 0.3
CALL_WEIGHT: Final = 0.05
SPEED_WEIGHT: Final = 0.1
RATE_SECONDS: Final = 180.0  # with less, copies of models with few calls move by chance
LEAST_TOKENS: Final = 8  # a shorter answer says little about speed
SLOWEST, FASTEST = 0.05, 20.0  # bounds of a learned speed
MOST_NAMES: Final = 4096


class Averages:
    """Moving averages by name. Bounded: beyond MOST_NAMES all are learned anew."""

    __slots__ = ("_values", "_weight")

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self._values: dict[str, float] = {}

    def note(self, name: str, value: float) -> None:
        """Adds a sample."""
        before = self._values.get(name)
        if before is None and len(self._values) >= MOST_NAMES:
            self._values.clear()
        self._values[name] = value if before is None else before + self._weight * (value - before)

    def get(self, name: str) -> float | None:
        """The average, None if there is no sample."""
        return self._values.get(name)

    def items(self) -> dict[str, float]:
        """All averages."""
        return dict(self._values)


class Rate:
    """How often something happens, over the last minutes. Times are monotonic seconds."""

    __slots__ = ("_at", "_count")

    def __init__(self) -> None:
        self._at = 0.0
        self._count = 0.0

    def note(self, now: float) -> None:
        """Once more."""
        self._count = self._decayed(now) + 1.0
        self._at = now

    def per_second(self, now: float) -> float:
        """The rate now."""
        return self._decayed(now) / RATE_SECONDS

    def _decayed(self, now: float) -> float:
        return self._count * math.exp(-max(0.0, now - self._at) / RATE_SECONDS)


class Answered(msgspec.Struct, frozen=True):
    """How a call ended: the tokens that it took in all, and those that were written in `seconds`; 0 if unknown."""

    address: Address
    tokens: int
    written: int = 0
    seconds: float = 0.0


class Learned:
    """What is learned of models; what is learned of an endpoint stands there.

    `load_seconds` by runner, `call_seconds` (a lease from grant to end) and `token_rate` (tokens per second of an
    answer, as a call that is alone would have it) by Ollama's name.
    """

    __slots__ = ("call_seconds", "load_seconds", "sizes", "token_rate")

    def __init__(self) -> None:
        self.load_seconds = Averages(LOAD_WEIGHT)
        self.call_seconds = Averages(CALL_WEIGHT)
        self.token_rate = Averages(CALL_WEIGHT)
        self.sizes: dict[str, int] = {}  # bytes in memory, by runner

    def load_of(self, key: str, otherwise: float) -> float:
        """How long a load of a runner takes, in seconds."""
        seconds = self.load_seconds.get(key)
        if seconds is None:
            known = list(self.load_seconds.items().values())
            seconds = sum(known) / len(known) if known else otherwise
        return seconds

    def note_sizes(self, loaded: Mapping[str, Loaded]) -> None:
        """Notes the bytes that runners take."""
        for key, one in loaded.items():
            if one.entry.size:
                if key not in self.sizes and len(self.sizes) >= MOST_NAMES:
                    self.sizes.clear()
                self.sizes[key] = one.entry.size

    def speed_after(self, before: float, model: str, answered: Answered, slowdown: float) -> float:
        """An endpoint's speed after an answer, whose calls beside it made it slower by a factor; learns its rate."""
        if answered.written < LEAST_TOKENS or answered.seconds <= 0.0:
            return before
        rate = answered.written / answered.seconds * slowdown
        self.token_rate.note(model, rate)
        mean = self.token_rate.get(model) or rate
        sample = min(max(rate / mean, SLOWEST), FASTEST)
        return before + SPEED_WEIGHT * (sample - before)
