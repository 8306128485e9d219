"""Counters and histograms of requests, cheap enough for the hot path.

The Prometheus client's own metrics take a lock and a few microseconds for each observation. All of this runs in the
event loop, between awaits: it needs no lock, and the observer keeps the object, not its labels.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

MOST_LABEL_SETS: Final = 2000  # of one metric; the rest are counted together
OTHER: Final = "other"


class Mark(NamedTuple):
    """The request of an exemplar: ids in hex, the time in Unix seconds."""

    trace_id: str
    span_id: str
    unix_seconds: float


Exemplar = tuple[float, Mark]  # a value and its request


class Distribution(msgspec.Struct, frozen=True):
    """A histogram at one moment. `counts` has each bucket alone; the last counts values beyond all bounds.

    `exemplars` is by the index of the bucket.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float
    exemplars: dict[int, Exemplar] = {}

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self.counts)


class Counter:
    """A number that grows. The code that counts changes it: `value += 1`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Histogram:
    """Values in buckets, with the last exemplar of each bucket. Changed by `observe`."""

    __slots__ = ("_bounds", "_counts", "_exemplars", "_total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._exemplars: dict[int, Exemplar] = {}
        self._total = 0.0

    def observe(self, value: float, mark: Mark | None = None) -> None:
        """Counts a value; a bound belongs to the bucket below it. With a mark it becomes its bucket's exemplar."""
        place = bisect_left(self._bounds, value)
        self._counts[place] += 1
        self._total += value
        if mark is not None:
            self._exemplars[place] = (value, mark)

    def read(self) -> Distribution:
        """The state now, as a frozen value."""
        return Distribution(self._bounds, tuple(self._counts), self._total, dict(self._exemplars))


Kept = TypeVar("Kept", Counter, Histogram)


class Series(Generic[Kept]):
    """One metric's numbers by label values. New label values add numbers, up to a limit.

    Beyond it, new label sets share one number, with `other` for every label: a mistake elsewhere must
    not fill the memory, here and in Prometheus.
    """

    def __init__(self, make: Callable[[], Kept], most: int = MOST_LABEL_SETS) -> None:
        self._make: Callable[[], Kept] = make
        self._most = most
        self._kept: dict[tuple[str, ...], Kept] = {}

    def at(self, *labels: str) -> Kept:
        """The number of these label values."""
        kept = self._kept.get(labels)
        if kept is None:
            if len(self._kept) >= self._most:
                labels = (OTHER,) * len(labels)
            kept = self._kept.setdefault(labels, self._make())
        return kept

    def items(self) -> Iterator[tuple[tuple[str, ...], Kept]]:
        """All numbers, by their label values."""
        yield from self._kept.items()


def counters() -> Series[Counter]:
    """The series of a counter."""
    return Series(Counter)


def histograms(bounds: tuple[float, ...]) -> Series[Histogram]:
    """The series of a histogram."""
    return Series(lambda: Histogram(bounds))
