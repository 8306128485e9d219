"""The endpoints of one rollout, and what is told of it."""

from collections.abc import Sequence
from typing import Final

import msgspec

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.rollout import Rollout, RolloutState
from ai_gateway.reconcile.plans import Plan
from ai_gateway.reconcile.steps import Delete, LetGo, Next, Pull

STOPS_AFTER: Final = 2  # endpoints that fail where none is done: then no further one is tried


class Place(msgspec.Struct, frozen=True):
    """One endpoint of a rollout, and what comes next there."""

    endpoint: Endpoint
    next: Next

    @property
    def is_done(self) -> bool:
        """Whether it has what the config says, whatever the registry has by now."""
        return self.next is None or (isinstance(self.next, Pull) and self.next.is_refresh)


def failing(step: Next, plan: Plan | None) -> str:
    """What the failures of a step are kept by, beside its endpoint and its model: they hold back the same one alone."""
    if plan is None or isinstance(step, Delete | LetGo):
        return "leaves"
    is_refresh = isinstance(step, Pull) and step.is_refresh
    return f"{plan.shaped.spec} again" if is_refresh else plan.shaped.spec


def is_proven(places: Sequence[Place], key: str) -> bool:
    """Whether the new version is in place somewhere, and loaded there if any version is loaded anywhere."""
    done = [place for place in places if place.is_done]
    is_loaded = any(place.endpoint.is_resident(key) for place in places)
    return any(place.endpoint.is_resident(key) for place in done) if is_loaded else bool(done)


def has_stopped(places: Sequence[Place], key: str, backoffs: int) -> bool:
    """Whether so many failures leave the others untried."""
    return backoffs >= STOPS_AFTER and not is_proven(places, key)


def state_of(places: Sequence[Place], key: str, backoffs: int) -> RolloutState:
    """One word for a rollout; `backoffs` is the number of its places that have failed."""
    left = sum(not place.is_done for place in places)
    if not left:
        return "done"
    if backoffs >= left or has_stopped(places, key, backoffs):
        return "failed"
    return "updating" if any(place.endpoint.holds(key) for place in places) else "pulling"


def nowhere(plan: Plan, endpoints: Sequence[Endpoint]) -> Rollout | None:
    """What is told of a model that no endpoint is to have: nothing where that is for the lack of endpoints."""
    if not (endpoints and plan.labels):
        return None
    labels = ", ".join(f"{name}={value}" for name, value in plan.labels.items())
    return Rollout("failed", reason=f"no pod has the labels of the model: {labels}")
