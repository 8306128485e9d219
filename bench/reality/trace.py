"""Which calls arrive when: sessions of some calls, each of one model. All that is compared gets the same."""

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

BURSTINESS: Final = 2.0  # the coefficient of variation of the time between sessions
TURNS: Final = 4  # calls of a session
THINK: Final = (1.0, 0.8)  # lognormal: median in seconds, sigma
WORDS: Final = ("hello", "world", "river", "stone", "garden", "light")
PROMPT_WORDS: Final = 4


@dataclass(frozen=True, slots=True)
class Arrival:
    """A call: `at` seconds from the start."""

    at: float
    model: str
    text: str


def draw(seed: int, models: Sequence[str], calls: int, seconds: float) -> list[Arrival]:
    """So many calls in so many seconds. Each model has its share of the sessions, the first one the most (Zipf)."""
    rng = random.Random(seed)
    sessions = [model for model, share in _shares(models, calls // TURNS).items() for _ in range(share)]
    rng.shuffle(sessions)
    shape = 1.0 / BURSTINESS**2
    gaps = [rng.gammavariate(shape, seconds / len(sessions) / shape) for _ in sessions]
    begins = itertools.accumulate(gaps[1:], initial=0.0)
    arrivals = [call for model, at in zip(sessions, begins, strict=True) for call in _session(rng, model, at)]
    arrivals.sort(key=lambda arrival: arrival.at)
    stretch = seconds / arrivals[-1].at
    return [Arrival(one.at * stretch, one.model, one.text) for one in arrivals]


def _shares(models: Sequence[str], sessions: int) -> dict[str, int]:
    weights = {model: 1.0 / rank for rank, model in enumerate(models, 1)}
    shares = {model: max(1, round(sessions * weight / sum(weights.values()))) for model, weight in weights.items()}
    shares[models[0]] += sessions - sum(shares.values())
    return shares


def _session(rng: random.Random, model: str, begins_at: float) -> Iterator[Arrival]:
    at = begins_at
    for turn in range(TURNS):
        at += rng.lognormvariate(math.log(THINK[0]), THINK[1]) if turn else 0.0
        yield Arrival(at, model, " ".join(rng.choices(WORDS, k=PROMPT_WORDS)))
