"""The warm policy, least in flight and a plain Service over the same pods and calls, in some rounds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from tests.ollama.store import HEAVY

from bench.reality.pods import Outcome, Pods, Way
from bench.reality.trace import draw

CALLS: Final = 60
SECONDS: Final = 15.0
ROUNDS: Final = 3

TITLES: Final[Mapping[Way, str]] = {
    "warm": "the gateway, `warm`",
    "least_in_flight": "the gateway, `least_in_flight`",
    "service": "no gateway: a pod at random for each call",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcomes of each way, in the order of the rounds."""

    outcomes: Mapping[Way, Sequence[Outcome]]

    def p95(self, way: Way) -> float:
        """The median of the rounds."""
        return median(outcome.p95 for outcome in self.outcomes[way])

    def loads(self, way: Way) -> float:
        """The median of the rounds."""
        return median(outcome.loads for outcome in self.outcomes[way])

    def table(self) -> str:
        """Markdown."""
        rows = [
            "| way | p50 | p95 | longest | loads | p95 of warm / this | loads of warm / this |",
            "|---|---|---|---|---|---|---|",
        ]
        for way, outcomes in self.outcomes.items():
            p50, longest = (", ".join(f"{wait:.2f}" for wait in waits) for waits in _p50_and_longest(outcomes))
            p95 = ", ".join(f"{outcome.p95:.2f}" for outcome in outcomes)
            loads = ", ".join(str(outcome.loads) for outcome in outcomes)
            shares = f"{self.p95('warm') / self.p95(way):.2f} | {self.loads('warm') / self.loads(way):.2f}"
            rows.append(f"| {TITLES[way]} | {p50} | {p95} | {longest} | {loads} | {shares} |")
        return "\n".join(rows)


def compare(pods: Pods, tell: Callable[[str], None] = lambda _line: None) -> Comparison:
    """Runs each way once a round; the calls of a round are the same for all."""
    outcomes: dict[Way, list[Outcome]] = {way: [] for way in TITLES}
    for round_number in range(ROUNDS):
        arrivals = draw(round_number, HEAVY, CALLS, SECONDS)
        for way, rounds in outcomes.items():
            rounds.append(pods.run(way, arrivals, round_number))
            tell(f"round {round_number}, {way}: p95 {rounds[-1].p95:.2f} s, {rounds[-1].loads} loads")
    return Comparison(outcomes)


def _p50_and_longest(outcomes: Sequence[Outcome]) -> tuple[list[float], list[float]]:
    return [outcome.p50 for outcome in outcomes], [outcome.waits[-1] for outcome in outcomes]
