"""The metrics of models that follow the config: how far each is, this gateway's steps, and what may leave disks."""

from collections.abc import Iterator
from typing import Final, get_args

from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.residency import Residency
from ai_gateway.balancing.rollout import Rollout
from ai_gateway.catalog.active import CurrentConfig
from ai_gateway.reconcile.steps import KINDS, Step, StepOutcome
from ai_gateway.telemetry import names
from ai_gateway.telemetry.sample import Sample
from ai_gateway.telemetry.series import OTHER, counters
from ai_gateway.wire.made_names import namespace_of, read_made

OUTCOMES: Final[tuple[StepOutcome, ...]] = get_args(StepOutcome)


class RolloutMetrics:
    """Counts the steps of this gateway. Changed by `note` and `note_pulled`; `samples` has the numbers."""

    def __init__(self, fleet: Fleet, current: CurrentConfig) -> None:
        self._fleet = fleet
        self._current = current
        self._steps = counters()
        self._pulled = counters()
        for kind in KINDS.values():
            for outcome in OUTCOMES:
                self._steps.at(kind, outcome)  # else nobody sees the first one: it would begin at 1

    def note(self, step: Step, outcome: StepOutcome) -> None:
        """Counts a step that has ended."""
        self._steps.at(KINDS[type(step)], outcome).value += 1

    def note_pulled(self, key: str, received: int) -> None:
        """Counts bytes that have come for a model."""
        plan = self._current.now.catalog.plans.by_key.get(key)
        self._pulled.at(OTHER if plan is None else plan.shaped.id).value += received

    def samples(self) -> Iterator[Sample]:
        """All numbers now: of rollouts what this gateway knows, from its own decisions or from a report."""
        yield from (Sample(names.ROLLOUT_STEPS, counter.value, labels) for labels, counter in self._steps.items())
        yield from (Sample(names.PULLED, counter.value, labels) for labels, counter in self._pulled.items())
        for key, plan in self._current.now.catalog.plans.by_key.items():
            rollout = self._fleet.rollout_of(key)
            if rollout is not None:
                yield from _of_rollout(plan.shaped.id, rollout)


def _of_rollout(model: str, rollout: Rollout) -> Iterator[Sample]:
    yield Sample(names.ROLLOUT, 1, (model, rollout.state))
    left = max(0, rollout.total - rollout.done - rollout.failed)
    for state, count in (("done", rollout.done), ("left", left), ("failed", rollout.failed)):
        yield Sample(names.ROLLOUT_ENDPOINTS, count, (model, state))
    if rollout.progress is not None:
        yield Sample(names.ROLLOUT_PROGRESS, rollout.progress, (model,))


def unnamed_bytes(residency: Residency, owner: str) -> int:
    """What the disk would get back if the names went that this owner made and that no config names.

    Names that share a file count once, and not at all where any other name has it, whoever made that.
    """
    held, prefix = residency.held or {}, namespace_of(owner)
    ours = {name for name in held if name.startswith(prefix) and read_made(name) is not None}
    gone = ours.difference(residency.served.kept(residency.digest_of))
    if not gone:
        return 0
    shared = {residency.key_of(name) for name in held if name not in gone}
    sizes: dict[str, int] = {}
    for name in gone:
        key = residency.key_of(name)
        if key not in shared:
            sizes[key] = max(sizes.get(key, 0), held[name].size)
    return sum(sizes.values())
