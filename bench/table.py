"""Figures, goals, and the markdown table of a run: medians, with the least and the greatest of the rounds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.rounds import DIRECT, Results
from bench.scenarios import Scenario


@dataclass(frozen=True, slots=True)
class Goal:
    limit: float
    of: Literal["ratio at most", "at most", "at least"]

    def is_reached(self, value: float, ratio: float | None) -> bool:
        if self.of == "ratio at most":
            return ratio is not None and ratio <= self.limit
        return value <= self.limit if self.of == "at most" else value >= self.limit

    def __str__(self) -> str:
        sign = {"ratio at most": "ratio <=", "at most": "<=", "at least": ">="}[self.of]
        return f"{sign} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    scenario: str
    key: str
    title: str
    digits: int
    goal: Goal | None = None


FIGURES = (
    Figure("one", "added_p50_ms", "added p50, ms", 3, Goal(0.6, "at most")),
    Figure("one", "cpu_us", "CPU per request, us", 1),
    Figure("one", "per_second", "requests/s", 0),
    Figure("many", "cpu_us", "CPU per request, us", 1, Goal(5, "ratio at most")),
    Figure("many", "per_second", "requests/s", 0),
    Figure("many", "p99_ms", "p99, ms", 2),
    Figure("paced", "cpu_us", "CPU per chunk, us", 1, Goal(2, "ratio at most")),
    Figure("paced", "p99_ms", "p99 of a chunk, ms", 2),
    Figure("few", "cpu_us", "CPU per chunk, us", 1),
    Figure("few", "p99_ms", "p99 of a chunk, ms", 2),
    Figure("knee", "delivered_percent", "chunks delivered, %", 1, Goal(98, "at least")),
    Figure("knee", "cpu_us", "CPU per chunk, us", 1),
    Figure("knee", "p99_ms", "p99 of a chunk, ms", 2),
    Figure("open", "p50_ms", "p50, ms", 2),
    Figure("open", "p99_ms", "p99, ms", 2),
    Figure("open", "cpu_us", "CPU per request, us", 1),
    Figure("fresh", "ready_ms", "start to ready, ms", 0, Goal(1000, "at most")),
    Figure("fresh", "idle_mb", "RSS at rest, MB", 1, Goal(40, "at most")),
    Figure("fresh", "stream_kb", "RSS per open stream, KB", 1, Goal(20, "at most")),
)


def table(results: Results, scenarios: Sequence[Scenario], target: str, base: str, with_goals: bool) -> str:
    head = ["scenario", "figure", target, base, DIRECT, f"{target} / {base}"]
    rows = [head + (["goal", "reached"] if with_goals else [])]
    rows.append(["---"] * len(rows[0]))
    titles = {scenario.name: scenario.title for scenario in scenarios}
    for figure in FIGURES:
        if figure.scenario in titles:
            cells = [titles[figure.scenario], figure.title, *_cells(results, figure, target, base)]
            rows.append(cells + (_verdict(results, figure, target, base) if with_goals else []))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _cells(results: Results, figure: Figure, target: str, base: str) -> list[str]:
    direct = "" if figure.key == "added_p50_ms" else _range(_values(results, figure, DIRECT), figure.digits)
    ratios = results.ratios(figure.scenario, figure.key, target, base)
    return [
        _range(_values(results, figure, target), figure.digits),
        _range(_values(results, figure, base), figure.digits),
        direct,
        _range(ratios, _ratio_digits(ratios)),
    ]


def _values(results: Results, figure: Figure, target: str) -> list[float]:
    return results.values(figure.scenario, target, figure.key)


def _range(values: list[float], digits: int) -> str:
    if not values:
        return ""
    median = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return median
    return f"{median} ({min(values):.{digits}f}..{max(values):.{digits}f})"


def _ratio_digits(ratios: list[float]) -> int:
    """Three digits that say something, from 0.00432 to 1414."""
    median = statistics.median(ratios) if ratios else 1.0
    return 0 if median >= 100 else 2 if median >= 0.1 else 5


def _verdict(results: Results, figure: Figure, target: str, base: str) -> list[str]:
    if figure.goal is None:
        return ["", ""]
    values = _values(results, figure, target)
    if not values:
        return [str(figure.goal), "no: not measured"]
    if results.broken(figure.scenario, target):
        return [str(figure.goal), "no: see the remarks"]
    ratios = results.ratios(figure.scenario, figure.key, target, base)
    value = statistics.median(values)
    reached = figure.goal.is_reached(value, statistics.median(ratios) if ratios else None)
    return [str(figure.goal), "yes" if reached else "no"]


def remarks(results: Results) -> str:
    """What a reader has to know before believing the table."""
    lines = []
    for (scenario, target), samples in results.samples.items():
        for key, words in (
            ("failed", "wrong or broken answers"),
            ("unfinished", "answers came too late"),
        ):
            count = sum(sample[key] for sample in samples)
            if count:
                lines.append(f"- {scenario}, {target}: {count:.0f} {words}.")
        busy = statistics.median(sample["harness_busy_percent"] for sample in samples)
        if target != DIRECT and busy > 90:
            lines.append(f"- {scenario}, {target}: the load core was {busy:.0f} % busy and may limit throughput.")
    return "\n".join(lines or ["- Every answer was right and whole."]) + "\n"
