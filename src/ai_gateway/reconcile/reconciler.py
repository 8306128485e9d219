"""Decides by which steps the endpoints come to hold what config.yml says, one endpoint first and then the others.

Pure: it reads the fleet and orders steps; who carries them out tells how each ended. What it remembers may be lost with
the gateway: everything else is read from the endpoints, so another gateway goes on where this one stopped.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.load import Backoff, next_backoff
from ai_gateway.balancing.rollout import Rollout
from ai_gateway.config.reconcile import Reconcile
from ai_gateway.reconcile.advancing import Advancing
from ai_gateway.reconcile.news import News
from ai_gateway.reconcile.next_steps import NextSteps, drop
from ai_gateway.reconcile.places import Place, failing, nowhere
from ai_gateway.reconcile.plans import Plan, Plans
from ai_gateway.reconcile.shared_volume import SharedVolume
from ai_gateway.reconcile.steps import Delete, LetGo, Pull, Step
from ai_gateway.reconcile.targets import Targets
from ai_gateway.reconcile.under_way import UnderWay
from ai_gateway.reconcile.writing import may_write, why_not

AT_LEAST_SECONDS: Final = 2.0  # between two rounds while nothing changes but the time
PLACES_AT_ONCE: Final = 100  # of models and endpoints: they take some 1 ms, then other tasks may run
PLACE_SECONDS: Final = 0.0002  # from one round to the next for each: some 20 times what it takes to look at it


class Reconciler:
    """Changed by `configure`, `decide` and `ended`. `order` gets each step that begins, `cut` each that is to end.

    `told` hears of each rollout that is done, has failed, or lets calls wait. `rollouts` are by key, as of the last
    round; `open` has those that are not done.
    """

    def __init__(
        self,
        fleet: Fleet,
        clock: Callable[[], float],
        told: Callable[[Plan, Rollout], None] = lambda _plan, _rollout: None,
    ) -> None:
        self._fleet = fleet
        self._news = News(clock, told)
        self._targets = Targets(fleet, clock)
        self.shared_volume = SharedVolume()
        self._clock = clock
        self._next = NextSteps(fleet, clock)
        self._advancing = Advancing(fleet, self._next, self._begin, clock)
        self.order: Callable[[Step], None] = lambda _step: None
        self.cut: Callable[[Step], None] = lambda _step: None
        self.rollouts: dict[str, Rollout] = {}
        self.open: dict[str, Rollout] = {}
        self._round: Iterator[None] | None = None
        self._seen: object = None
        self._again_at = self._not_before = 0.0
        fleet.peers.own_rollouts, fleet.peers.open_rollouts = lambda: self.rollouts, lambda: self.open

    def configure(self, plans: Plans, settings: Reconcile, owner: str) -> None:
        """Takes a config."""
        self._next.configure(plans, settings, owner)
        self._round, self._not_before = None, 0.0
        self._targets.keep(self.plans)
        self._news.keep(self.plans)
        for key in [key for key in self.rollouts if key not in self.plans]:
            del self.rollouts[key]
            self.open.pop(key, None)

    @property
    def plans(self) -> Mapping[str, Plan]:
        """The models of the config, by key."""
        return self._next.plans

    @property
    def settings(self) -> Reconcile:
        """`reconcile` of the config."""
        return self._next.settings

    @property
    def owner(self) -> str:
        """Whose names it makes."""
        return self._next.owner

    @property
    def under_way(self) -> UnderWay:
        """The steps that are being carried out."""
        return self._advancing.under_way

    @property
    def backoffs(self) -> dict[tuple[Endpoint, str, str], Backoff]:
        """Of steps that have failed, by endpoint, key, and what places.failing says."""
        return self._advancing.backoffs

    def report_progress(self, progress: Callable[[Endpoint], tuple[float, float | None] | None]) -> None:
        """Who carries out the pulls tells of the one on an endpoint: its share, and the seconds that are left."""
        self._advancing.progress = progress

    @property
    def why_not(self) -> str | None:
        """Why this gateway changes nothing, where the config has models to follow; None: it does, or another one."""
        return why_not(self._fleet, self.settings) if self.plans else None

    @property
    def may_write(self) -> bool:
        """Whether this gateway is the one that changes what endpoints hold."""
        return may_write(self._fleet, self.settings)

    # -- the decision

    def decide(self) -> None:
        """A piece of a round: begins what is due, and ends what nobody wants any more."""
        if not self.may_write:
            self._follow()
            return
        if self._round is None:
            if not self._has_changed():
                return
            self._round = self._steps_of_a_round()
        if next(self._round, self) is self:
            self._round = None

    def is_in_place(self, plan: Plan) -> bool:
        """Whether each endpoint that is to have a model has it as the config says, as this gateway sees them."""
        there = self._targets.of(plan, self._endpoints(), remembers=False) if self._targets.are_seen() else []
        return bool(there) and all(Place(one, self._next.next(plan, one)).is_done for one in there)

    @property
    def is_over(self) -> bool:
        """Whether a round is over; else `decide` goes on with it."""
        return self._round is None

    def _has_changed(self) -> bool:
        """Whether a round may find something new: also while steps run, and now and then in any case."""
        now, seen = self._clock(), (self._fleet.epoch, id(self.plans))
        is_new = seen != self._seen or bool(self.under_way) or now >= self._again_at
        if not is_new or now < self._not_before:
            return False
        self._seen, self._again_at = seen, now + AT_LEAST_SECONDS
        return True

    def _steps_of_a_round(self) -> Iterator[None]:
        """All models, then what may leave the endpoints. It pauses now and then; what it goes by may change then, but
        each step looks again before it is carried out."""
        self._forget()
        if not self._targets.are_seen():
            self._seen = None  # the next round looks again
            return
        endpoints = self._endpoints()
        count = 0
        for plan in self.plans.values():
            places = []
            for endpoint in self._targets.of(plan, endpoints):
                places.append(Place(endpoint, self._next.next(plan, endpoint)))
                count += 1
                if count % PLACES_AT_ONCE == 0:
                    yield
            self._tell(plan, self._advancing.advance(plan, places) if places else nowhere(plan, endpoints))
        self.shared_volume.look(endpoints, self.under_way, self._clock())
        for endpoint in endpoints:
            self._tidy(endpoint)
            count += 1 + len(endpoint.residency.served.made)
            if count >= PLACES_AT_ONCE:
                count = 0
                yield
        total = len(endpoints) * len(self.plans)
        self._not_before = self._clock() + (PLACE_SECONDS * total if total > PLACES_AT_ONCE else 0.0)

    def _endpoints(self) -> list[Endpoint]:
        return [one for one in self._fleet.endpoints.values() if one.is_usable and one.held is not None]

    def _follow(self) -> None:
        """Another gateway writes, if any: this one may have to go on where that stops."""
        self._round = self._seen = None
        self.rollouts.clear()
        self.open.clear()
        for step in self.under_way.values():
            self.cut(step)
        told = self._fleet.peers.led_rollouts()
        if told:
            self._advancing.begun = {key: rollout.at for key, rollout in told.items()}

    def _forget(self) -> None:
        """Drops what is remembered of endpoints that are gone, and pulls that nobody wants any more."""
        there = set(self._fleet.endpoints.values())
        drop(self.backoffs, there)
        self._next.memory.keep(there)
        self.shared_volume.keep(there)
        for step in self.under_way.values():
            plan = self.plans.get(step.key)
            if isinstance(step, Pull) and (plan is None or plan.shaped.tag != step.tag or plan.pull == "never"):
                if self._advancing.progress(step.endpoint) is not None:
                    self._next.memory.cut(step, self._clock())
                self.cut(step)

    def _tidy(self, endpoint: Endpoint) -> None:
        for step in self._next.leftovers(endpoint):
            backoff = self.backoffs.get(self._place(step))
            if backoff is not None and backoff.until > self._clock():
                continue
            if self._advancing.may_begin(step) and (isinstance(step, LetGo) or self._next.is_writer(endpoint)):
                self._begin(step)
                return

    def _begin(self, step: Step) -> None:
        self.under_way.begin(step)
        self.order(step)

    def _tell(self, plan: Plan, now: Rollout | None) -> None:
        key = plan.shaped.key
        self.rollouts.pop(key, None)
        self.open.pop(key, None)
        if now is None:
            return
        self.rollouts[key] = now
        if now.state != "done":
            self.open[key] = now
        self._news.note(plan, now)

    # -- who carries out steps

    def is_due(self, step: Step) -> bool:
        """Whether a step is still the next one, after its endpoint was looked at again."""
        if not self.may_write or step.endpoint.is_draining:
            return False
        if isinstance(step, Delete | LetGo):
            return step in self._next.leftovers(step.endpoint)
        plan = self.plans.get(step.key)
        return plan is not None and self._next.next(plan, step.endpoint) == step

    def ended(self, step: Step, reason: str | None = None) -> None:
        """A step was carried out; with a reason it has failed."""
        self.dropped(step)
        place = self._place(step)
        if reason is not None:
            self.backoffs[place] = next_backoff(self.backoffs.get(place), self._clock(), reason)
            return
        self._next.memory.ended(step, self.plans.get(step.key), self._clock())
        if not self.settings.shared_store:
            self.shared_volume.made(step, self._fleet.endpoints.values(), self._clock())
        self.backoffs.pop(place, None)

    def _place(self, step: Step) -> tuple[Endpoint, str, str]:
        return step.endpoint, step.key, failing(step, self.plans.get(step.key))

    def dropped(self, step: Step) -> None:
        """A step was not due any more, or was cut."""
        self.under_way.end(step)
        self._seen = None  # the next round finds something new
