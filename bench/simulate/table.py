"""The markdown of a run: the 95th percentile of every policy in every world, and all figures of each world."""

import statistics
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from bench.simulate.experiment import Results
from bench.simulate.measures import Measures
from bench.simulate.policies import POLICIES
from bench.simulate.ratios import Mean, geometric, paired
from bench.simulate.worlds import World


class Figure(NamedTuple):
    """A column of the table of a world."""

    title: str
    of: Callable[[Measures], float]
    form: str


FIGURES: Final = (
    Figure("p50, s", lambda one: one.p50, ".2f"),
    Figure("p95, s", lambda one: one.p95, ".1f"),
    Figure("p99, s", lambda one: one.p99, ".1f"),
    Figure("within 5 s", lambda one: one.soon, ".1%"),
    Figure("good answers/s", lambda one: one.goodput, ".2f"),
    Figure("answers/s", lambda one: one.answers, ".2f"),
    Figure("refused", lambda one: one.refused, ".0%"),
    Figure("loads", lambda one: one.loads, ".0f"),
    Figure("prefix hits", lambda one: one.hits, ".0%"),
    Figure("above slots", lambda one: one.above_slots, ".0f"),
    Figure("longest wait, loads", lambda one: one.longest, ".1f"),
    Figure("no answer", lambda one: one.unanswered, ".0f"),
    Figure("left", lambda one: one.left, ".0f"),
)


def overview(results: Results, worlds: Sequence[World], policies: Sequence[str], base: str) -> str:
    """Policies by worlds: the geometric mean of the 95th percentiles, and the ratio to the base paired by seed."""
    rows = [["policy", *(world.name for world in worlds)], ["---"] * (len(worlds) + 1)]
    for policy in policies:
        cells = [_cell(results, world.name, policy, base) for world in worlds]
        rows.append([POLICIES[policy].title, *cells])
    return _lines(rows)


def details(results: Results, world: World, policies: Sequence[str]) -> str:
    """All figures of a world: means over the seeds, of waits the geometric ones."""
    callers = [name for name, _ in world.callers] if len(world.callers) > 1 else []
    titles = [*(figure.title for figure in FIGURES), *(f"p95 of {caller}, s" for caller in callers)]
    rows = [["policy", *titles], ["---"] * (len(titles) + 1)]
    for policy in policies:
        cells = [_mean(results.values(world.name, policy, figure.of), figure) for figure in FIGURES]
        cells += [_caller(results, world.name, policy, caller) for caller in callers]
        rows.append([POLICIES[policy].title, *cells])
    return _lines(rows)


def _caller(results: Results, world: str, policy: str, caller: str) -> str:
    return number(geometric(results.values(world, policy, lambda one: one.p95_of.get(caller, 0.0))).value)


def _cell(results: Results, world: str, policy: str, base: str) -> str:
    values = results.values(world, policy, _p95)
    if policy == base:
        return number(geometric(values).value)
    ratio = paired(values, results.values(world, base, _p95))
    return f"{number(geometric(values).value)} (x{_interval(ratio)})"


def _p95(one: Measures) -> float:
    return one.p95


def _interval(mean: Mean) -> str:
    if mean.low == mean.high:
        return number(mean.value)
    return f"{number(mean.value)}, {number(mean.low)}..{number(mean.high)}"


def _mean(values: Sequence[float], figure: Figure) -> str:
    is_wait = figure.title.startswith("p") and figure.title.endswith(", s")
    return format(geometric(values).value if is_wait else statistics.fmean(values), figure.form)


def number(value: float) -> str:
    """Three digits that say something."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _lines(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
