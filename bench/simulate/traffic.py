"""What arrives in a world, drawn once per seed: sessions with their turns, the models, and how long loads take.

Every policy gets the same trace. Only when a later turn arrives depends on the policy: its client thinks first, after
the answer before has ended.
"""

import hashlib
import math
import random
from dataclasses import dataclass
from typing import Final

from bench.simulate.contract import Model
from bench.simulate.worlds import World

BURSTINESS: Final = 2.0  # the coefficient of variation of the time between sessions
TURNS: Final = 4.0  # mean, geometric
THINK: Final = (15.0, 0.8)  # lognormal: median in seconds, sigma
FIRST_PROMPT: Final = (1020.0, 0.5)  # tokens
FURTHER_PROMPT: Final = (60.0, 1.0)
ANSWER: Final = (129.0, 0.99)
EMBEDDED: Final = (300.0, 0.7)
PATIENCE_SIGMA: Final = 0.7
GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Turn:
    """One call of a session. `think_seconds` pass after the answer before; `luck` in [0, 1) chooses the gateway."""

    think_seconds: float
    new_tokens: int
    answer_tokens: int
    luck: float
    patience_seconds: float | None


@dataclass(frozen=True, slots=True)
class Session:
    """A conversation: its first call arrives at `begins_at`, and each prompt has all that was said before."""

    number: int
    begins_at: float
    model: Model
    caller: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """All that happens to a world, whatever the policy."""

    world: World
    seed: int
    models: tuple[Model, ...]
    sessions: tuple[Session, ...]

    def load_seconds(self, pod: int, model: Model, count: int) -> float:
        """How long a load takes; `count` says how often this pod has loaded this model before."""
        rng = random.Random(f"{self.seed}/load/{pod}/{model.name}/{count}")
        return lognormal(rng, self.world.load_seconds, self.world.load_sigma)


def draw(world: World, seed: int) -> Trace:
    """The trace of a world and a seed. A seed gives worlds of the same rates the same calls."""
    chat = tuple(_model(seed, f"model-{number}", None) for number in range(world.models))
    sessions = _conversations(world, chat, random.Random(f"{seed}/sessions"))
    if not world.embeddings_per_second:
        return Trace(world, seed, chat, tuple(sessions))
    embedding = _model(seed, "embedding", 1)
    sessions += _embeddings(world, embedding, len(sessions), random.Random(f"{seed}/embeddings"))
    return Trace(world, seed, (*chat, embedding), tuple(sessions))


def lognormal(rng: random.Random, median: float, sigma: float) -> float:
    """A lognormal value by its median."""
    return rng.lognormvariate(math.log(median), sigma)


def _model(seed: int, name: str, own_slots: int | None) -> Model:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()
    return Model(name, digest, 5 * GIB, own_slots)


def _conversations(world: World, models: tuple[Model, ...], rng: random.Random) -> list[Session]:
    weights = [1.0 / rank for rank in range(1, len(models) + 1)]
    names = [name for name, _ in world.callers]
    shares = [share for _, share in world.callers]
    sessions: list[Session] = []
    for begins_at in _beginnings(world, world.calls_per_second / TURNS, rng):
        model = rng.choices(models, weights)[0]
        caller = rng.choices(names, shares)[0]
        sessions.append(Session(len(sessions), begins_at, model, caller, _turns(world, rng)))
    return sessions


def _beginnings(world: World, rate: float, rng: random.Random) -> list[float]:
    """A Gamma renewal process; in a burst the time between sessions is shorter."""
    shape = 1.0 / BURSTINESS**2
    times: list[float] = []
    time = 0.0
    while True:
        gap = rng.gammavariate(shape, 1.0 / (rate * shape))
        begin, end, factor = world.burst or (math.inf, math.inf, 1.0)
        time += gap / factor if begin <= time < end else gap
        if time >= world.seconds:
            return times
        times.append(time)


def _turns(world: World, rng: random.Random) -> tuple[Turn, ...]:
    turns: list[Turn] = []
    while not turns or rng.random() >= 1.0 / TURNS:
        is_first = not turns
        think = 0.0 if is_first else lognormal(rng, *THINK)
        new = _tokens(rng, *(FIRST_PROMPT if is_first else FURTHER_PROMPT))
        turns.append(Turn(think, new, _tokens(rng, *ANSWER), rng.random(), _patience(world, rng)))
    return tuple(turns)


def _patience(world: World, rng: random.Random) -> float | None:
    is_impatient, seconds = rng.random() < world.impatient, lognormal(rng, world.patience_seconds, PATIENCE_SIGMA)
    return seconds if is_impatient else None


def _embeddings(world: World, model: Model, first: int, rng: random.Random) -> list[Session]:
    caller = world.callers[0][0]
    return [
        Session(first + number, begins_at, model, caller, (Turn(0.0, _tokens(rng, *EMBEDDED), 0, rng.random(), None),))
        for number, begins_at in enumerate(_beginnings(world, world.embeddings_per_second, rng))
    ]


def _tokens(rng: random.Random, median: float, sigma: float) -> int:
    return max(1, round(lognormal(rng, median, sigma)))
