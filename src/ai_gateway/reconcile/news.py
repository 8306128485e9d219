"""What people are told of rollouts: each end once, and none so often that it hides the others."""

from collections import deque
from collections.abc import Callable, Container
from typing import Final

import msgspec

from ai_gateway.balancing.rollout import Rollout
from ai_gateway.reconcile.plans import Plan

MOST: Final = 4  # of one model within the time below; later ones are told when that is over, if they still hold
WITHIN_SECONDS: Final = 600.0


class _Told(msgspec.Struct):
    """Of one model: what was told last, whether it has moved since, and when the latest were told."""

    outcome: tuple[str, str] | None = None
    has_moved: bool = False
    is_waited_for: bool = False
    at: deque[float] = msgspec.field(default_factory=lambda: deque(maxlen=MOST))


class News:
    """Hears of each model in each round; tells what has come to an end, and that calls wait for a load."""

    def __init__(self, clock: Callable[[], float], tell: Callable[[Plan, Rollout], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._told: dict[str, _Told] = {}

    def note(self, plan: Plan, rollout: Rollout) -> None:
        """How far a model is now. One that is in place when it is first looked at is no news."""
        told = self._told.get(plan.shaped.key)
        outcome = plan.shaped.spec, rollout.state
        if told is None:
            told = self._told[plan.shaped.key] = _Told(outcome if rollout.state == "done" else None)
        if rollout.state not in ("done", "failed"):
            told.has_moved = True
            if rollout.is_waited_for and not told.is_waited_for and self._may_tell(told):
                self._tell(plan, rollout)
        elif (outcome != told.outcome or (told.has_moved and rollout.state == "done")) and self._may_tell(told):
            told.outcome, told.has_moved = outcome, False
            self._tell(plan, rollout)
        told.is_waited_for = rollout.is_waited_for

    def _may_tell(self, told: _Told) -> bool:
        now = self._clock()
        if len(told.at) == MOST and now - told.at[0] < WITHIN_SECONDS:
            return False
        told.at.append(now)
        return True

    def keep(self, keys: Container[str]) -> None:
        """Forgets all other models."""
        for key in [key for key in self._told if key not in keys]:
            del self._told[key]
