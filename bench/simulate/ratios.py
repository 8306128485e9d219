"""Geometric means with their 95 % intervals, and ratios paired by seed."""

import math
import statistics
from collections.abc import Sequence
from typing import Final, NamedTuple

# Student's t, two-sided 95 %, for 1 to 30 degrees of freedom
_T: Final = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_SMALLEST: Final = 1e-3  # seconds; a wait of nothing has no logarithm


class Mean(NamedTuple):
    """A geometric mean and its 95 % interval; without one if there is one value alone."""

    value: float
    low: float
    high: float


def geometric(values: Sequence[float]) -> Mean:
    """The geometric mean of values, with the t interval of their logarithms."""
    logs = [math.log(max(value, _SMALLEST)) for value in values]
    middle = statistics.fmean(logs)
    if len(logs) < 2:
        return Mean(math.exp(middle), math.exp(middle), math.exp(middle))
    t = _T[len(logs) - 2] if len(logs) - 2 < len(_T) else 1.96
    half = t * statistics.stdev(logs) / math.sqrt(len(logs))
    return Mean(math.exp(middle), math.exp(middle - half), math.exp(middle + half))


def paired(values: Sequence[float], bases: Sequence[float]) -> Mean:
    """The ratio of values to bases of the same seeds."""
    pairs = zip(values, bases, strict=True)
    return geometric([max(value, _SMALLEST) / max(base, _SMALLEST) for value, base in pairs])
