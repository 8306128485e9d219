"""Which gateways do not do their work, or tell what cannot be: others decide on loads without them for a while."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

from ai_gateway.balancing import loads
from ai_gateway.balancing.pool import Pool
from ai_gateway.balancing.report import Load, Report

AT_WORK_STARVES: Final = 8  # a call may wait so many times `balancing.starve` for a leader that loads other models
PASSED_OVER_SECONDS: Final = 60.0  # how long a leader that does not do its work is passed over


class Surroundings(Protocol):
    """What it reads of the fleet."""

    loads: loads.Loads

    def pools(self) -> Collection[Pool]:
        """All pools."""


class PassedOver:
    """`until` when each is passed over, by uid. Changed by `hear` and then `judge`, with each round of reports."""

    def __init__(self, around: Surroundings, clock: Callable[[], float]) -> None:
        self.until: dict[str, float] = {}
        self._around = around
        self._clock = clock
        self._loaded_at: dict[str, float] = {}  # by uid: when its report told of a load
        self._told_since: dict[tuple[str, str], float] = {}  # by uid and endpoint: of a load there, in every report

    def hear(self, fresh: Mapping[str, Report]) -> list[Load]:
        """The loads that the others tell of and that count.

        Those of one that is passed over count for a while, too: the loads of two that decide must not meet.
        """
        since, now = self._told_since, self._clock()
        told = [(uid, load) for uid, report in fresh.items() for load in report.loads]
        self._told_since = {(uid, load.endpoint): since.get((uid, load.endpoint), now) for uid, load in told}
        self._loaded_at.update((uid, now) for uid, _ in told)
        oldest = now - self._at_work_seconds
        return [load for uid, load in told if uid not in self.until or self._told_since[uid, load.endpoint] >= oldest]

    def judge(self, fresh: Mapping[str, Report], leader: str | None) -> None:
        """Passes over those who keep a call from its load. `leader` is another gateway; None: this one leads."""
        now = self._clock()
        self.until = {uid: until for uid, until in self.until.items() if until > now}
        self._loaded_at = {uid: at for uid, at in self._loaded_at.items() if now - at <= 2 * self._starve_seconds}
        if fresh and self._is_left_alone(leader, now):
            blocking = {uid for uid, report in fresh.items() if uid == leader or report.loads}
            self.until.update(dict.fromkeys(blocking, now + PASSED_OVER_SECONDS))

    @property
    def _starve_seconds(self) -> float:
        return self._around.loads.starve_seconds

    @property
    def _at_work_seconds(self) -> float:
        return AT_WORK_STARVES * self._starve_seconds

    def _is_left_alone(self, leader: str | None, now: float) -> bool:
        """Whether a call has waited very long for a model that is loaded nowhere, whatever others say of loads."""
        for pool in self._around.pools():
            patience = self._patience(pool, leader) if pool.waiting and not pool.able else math.inf
            if any(now - ticket.came_at > patience for ticket in pool.queue.firsts()):
                return True
        return False

    def _patience(self, pool: Pool, leader: str | None) -> float:
        """How long a call may wait for the leader; without end where this gateway loads its model.

        A leader that loads other models meanwhile may have no room for this one yet: it gets more time, and for this
        one at least half of what a load may take. Neither it nor, where this gateway leads, another one may tell of
        loads for ever.
        """
        loads = self._around.loads
        if any(load.pool == pool.model for load in loads.of.values()):
            return math.inf
        if any(load.pool == pool.model for load in loads.reported.values()):
            return max(self._at_work_seconds, pool.settings.load_seconds / 2)
        is_at_work = leader is None or leader in self._loaded_at
        return self._at_work_seconds if is_at_work else 2 * self._starve_seconds
