"""Worlds that are small enough to be followed by hand. Loads take exactly 10 s, a token of an answer 25 ms."""

from dataclasses import replace

from bench.simulate.contract import Model
from bench.simulate.traffic import Session, Trace, Turn
from bench.simulate.worlds import World

GIB = 1 << 30
ONE = World(
    name="tiny", models=1, calls_per_second=0.0, pods=1, load_seconds=10.0, load_sigma=0.0, warm_up_seconds=0.0,
    seconds=1000.0,
)  # fmt: skip
A, B = Model("a", "digest-a", GIB), Model("b", "digest-b", GIB)


def turn(new_tokens: int, answer_tokens: int, think_seconds: float = 0.0, patience: float | None = None) -> Turn:
    return Turn(think_seconds, new_tokens, answer_tokens, 0.0, patience)


def trace(*sessions: tuple[float, Model, tuple[Turn, ...]], world: World = ONE, **changes: object) -> Trace:
    """A trace of sessions: when each begins, its model, its turns."""
    models = tuple(dict.fromkeys(model for _, model, _ in sessions))
    made = tuple(Session(number, begin, model, "one", turns) for number, (begin, model, turns) in enumerate(sessions))
    return Trace(replace(world, **changes), 0, models, made)  # type: ignore[arg-type]
