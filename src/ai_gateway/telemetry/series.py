"""Where numbers of requests are kept between scrapes: counters and histograms, small enough for the hot path.

The Prometheus client's own metrics take a lock and a few microseconds for each observation. All of this runs in the
event loop, between awaits: it needs no lock, and whoever observes keeps the object, not its labels.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

MOST_LABEL_SETS: Final = 2000  # of one metric; the rest is counted together
OTHER: Final = "other"


class Mark(NamedTuple):
    """The request that an exemplar leads to: ids in hex, the time in Unix seconds."""

    trace_id: str
    span_id: str
    unix_seconds: float


Exemplar = tuple[float, Mark]  # a value, and whose it was


class Distribution(msgspec.Struct, frozen=True):
    """A histogram at one moment. `counts` are those of each bucket alone; the last is of what lies beyond all bounds.

    `exemplars` are by the place of their bucket.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float
    exemplars: dict[int, Exemplar] = {}

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)


class Counter:
    """A number that grows. Changed by whoever counts: `value += 1`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Histogram:
    """How values are spread over buckets, with the last exemplar of each. Changed by `observe`."""

    __slots__ = ("_bounds", "_counts", "_exemplars", "_total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._exemplars: dict[int, Exemplar] = {}
        self._total = 0.0

    def observe(self, value: float, mark: Mark | None = None) -> None:
        """Counts a value in; a bound is part of the bucket below it. With a mark it becomes its bucket's exemplar."""
        place = bisect_left(self._bounds, value)
        self._counts[place] += 1
        self._total += value
        if mark is not None:
            self._exemplars[place] = (value, mark)

    def read(self) -> Distribution:
        """What was observed until now; it does not change any more."""
        return Distribution(self._bounds, tuple(self._counts), self._total, dict(self._exemplars))


Kept = TypeVar("Kept", Counter, Histogram)


class Series(Generic[Kept]):
    """One metric's numbers by the values of its labels. Changed as new ones come, up to a limit.

    Beyond it the numbers of new label sets are kept together, with `other` for every label: a mistake elsewhere must
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
        """All there are, by their labels' values."""
        yield from self._kept.items()


def counters() -> Series[Counter]:
    """A metric that only grows."""
    return Series(Counter)


def histograms(bounds: tuple[float, ...]) -> Series[Histogram]:
    """A metric of values in buckets."""
    return Series(lambda: Histogram(bounds))
