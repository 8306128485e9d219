"""The simulation's world C with all times divided, so that real processes live through it in two minutes.

Answers have as many fewer tokens, so that they come in few chunks; a token still takes as long as it did. Loads take
equally long, and calls of a pod do not slow each other, as with the product's simulated endpoints.
"""

from dataclasses import replace
from typing import Final

from bench.simulate.traffic import Session, Trace, Turn, draw
from bench.simulate.worlds import WORLDS, World

DIVISOR: Final = 5.0
SECONDS: Final = 600.0  # of the undivided world
WARM_UP_SECONDS: Final = 120.0


def divided_world() -> World:
    """World C, shorter and faster."""
    world = WORLDS["C"]
    return replace(
        world,
        name="C divided",
        calls_per_second=world.calls_per_second * DIVISOR,
        load_seconds=world.load_seconds / DIVISOR,
        load_sigma=0.0,
        prefill_tokens_per_second=world.prefill_tokens_per_second * DIVISOR,
        seconds=SECONDS / DIVISOR,
        warm_up_seconds=WARM_UP_SECONDS / DIVISOR,
        crowding=0.0,
    )


def divided(seed: int) -> Trace:
    """The calls of world C at the divided moments."""
    trace = draw(replace(WORLDS["C"], seconds=SECONDS), seed)
    return replace(trace, world=divided_world(), sessions=tuple(map(_session, trace.sessions)))


def _session(session: Session) -> Session:
    return replace(session, begins_at=session.begins_at / DIVISOR, turns=tuple(map(_turn, session.turns)))


def _turn(turn: Turn) -> Turn:
    tokens = max(1, round(turn.answer_tokens / DIVISOR))
    return replace(turn, think_seconds=turn.think_seconds / DIVISOR, answer_tokens=tokens)
