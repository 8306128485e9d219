"""Decides by which steps the endpoints come to hold what config.yml says, one endpoint first and then the others.

Pure: it reads the fleet and orders steps; who carries them out tells how each ended. What it remembers may be lost with
the gateway: everything else is read from the endpoints, so another gateway goes on where this one stopped.
"""

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from ai_gateway.balancing.decision import has_place, has_room
from ai_gateway.balancing.due import Site
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.load import Backoff, Victim, next_backoff
from ai_gateway.balancing.rollout import Rollout, RolloutState
from ai_gateway.catalog.next_steps import NextSteps, drop
from ai_gateway.catalog.plans import Plan
from ai_gateway.catalog.steps import Bring, Create, Delete, LetGo, Pull, Step
from ai_gateway.catalog.targets import targets
from ai_gateway.config.reconcile import Reconcile

log = logging.getLogger("ai_gateway.reconcile")

AT_LEAST_SECONDS: Final = 2.0  # between two rounds while nothing changes but the time
PLANS_AT_ONCE: Final = 64
STOPS_AFTER: Final = 2  # endpoints that fail where none is done: then no further one is tried


class Place(msgspec.Struct, frozen=True):
    """One endpoint of a rollout, and what comes next there; None: it is done."""

    endpoint: Endpoint
    next: Step | Bring | None

    @property
    def is_done(self) -> bool:
        """Whether it has what the config says, whatever the registry has by now."""
        return self.next is None or (isinstance(self.next, Pull) and self.next.is_refresh)


class Reconciler:
    """Changed by `configure`, `decide` and `ended`. `order` gets each step that begins, `cut` each that is to end.

    `under_way` has one step per endpoint; `backoffs` are by endpoint, key and spec.
    """

    def __init__(self, fleet: Fleet, clock: Callable[[], float]) -> None:
        self._fleet = fleet
        self._clock = clock
        self._next = NextSteps(fleet, clock)
        self.order: Callable[[Step], None] = lambda _step: None
        self.cut: Callable[[Step], None] = lambda _step: None
        self.under_way: dict[Endpoint, Step] = {}
        self.backoffs: dict[tuple[Endpoint, str, str], Backoff] = {}
        self.rollouts: dict[str, Rollout] = {}  # by key, as of the last round
        self.told: Callable[[Plan, Rollout], None] = lambda _plan, _rollout: None  # is over, or has failed
        self.progress: Callable[[Endpoint], tuple[float, float | None] | None] = lambda _endpoint: None
        self._turn: list[str] = []  # keys of the plans that this round has not looked at yet
        self._seen: object = None
        self._again_at = 0.0
        self.everywhere = fleet.peers.everywhere  # models that are to be on all endpoints that match

    def configure(self, plans: Mapping[str, Plan], settings: Reconcile, owner: str) -> None:
        """Takes a config."""
        self.everywhere.intersection_update(plans)
        self._next.configure(plans, settings, owner)

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
    def why_not(self) -> str | None:
        """Why this gateway changes nothing, where the config has models to follow; None: it does, or another one."""
        if not self.plans or self.may_write:
            return None
        if self.settings.mode == "never":
            return "reconcile.mode is never"
        if self._fleet.never_loads:
            return "balancing.loads is never"
        if self._fleet.peers.is_known:
            return None
        return "it does not know the other gateways (see gateways.complaint), and reconcile.mode is auto"

    @property
    def may_write(self) -> bool:
        """Whether this gateway is the one that changes what endpoints hold."""
        if self.settings.mode == "never" or self._fleet.never_loads:
            return False
        return self._fleet.decides or (self.settings.mode == "always" and self._fleet.peers.leads)

    # -- the decision

    def decide(self) -> None:
        """One round: begins what is due, and ends what nobody wants any more."""
        if not self._has_changed():
            return
        self.rollouts = {key: one for key, one in self.rollouts.items() if key in self.plans}
        if not self.may_write:
            self.rollouts.clear()
            for step in list(self.under_way.values()):
                self.cut(step)
            return
        for pull in list(self.under_way.values()):
            if isinstance(pull, Pull) and not self._is_asked(pull):
                self.cut(pull)
        self._forget()
        endpoints = self._endpoints()
        for plan in self._next_plans():
            places = [Place(one, self._next.next(plan, one)) for one in targets(plan, endpoints, self.everywhere)]
            self._advance(plan, places)
            self._tell(plan, self._rollout(plan, places))
        if self.is_over:
            self._tidy(endpoints)

    @property
    def is_over(self) -> bool:
        """Whether a round is over; else `decide` goes on with it."""
        return not self._turn

    def _next_plans(self) -> list[Plan]:
        """Some of those of this round: it must not hold the event loop."""
        now, self._turn = self._turn[:PLANS_AT_ONCE], self._turn[PLANS_AT_ONCE:]
        return [self.plans[key] for key in now if key in self.plans]

    def _tidy(self, endpoints: Sequence[Endpoint]) -> None:
        for endpoint in endpoints:
            if endpoint not in self.under_way:
                for step in itertools.islice(self._next.leftovers(endpoint), 1):
                    if isinstance(step, LetGo) or self._next.is_writer(endpoint, endpoints):
                        self._begin(step)

    def _has_changed(self) -> bool:
        """Whether a round may find something new: also while steps run, and now and then in any case."""
        if self._turn:
            return True
        seen = (self._fleet.epoch, id(self.plans), self.may_write)
        is_new = seen != self._seen or bool(self.under_way) or self._clock() >= self._again_at
        if is_new:
            self._seen, self._again_at, self._turn = seen, self._clock() + AT_LEAST_SECONDS, list(self.plans)
        return is_new

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
        if self.under_way.get(step.endpoint) is step:
            del self.under_way[step.endpoint]
        plan = self.plans.get(step.key)
        place = (step.endpoint, step.key, "" if plan is None else plan.shaped.spec)
        if reason is not None:
            self.backoffs[place] = next_backoff(self.backoffs.get(place), self._clock(), reason)
            return
        self._next.memory.ended(step, self._clock())
        if not isinstance(step, Delete | LetGo):
            self.backoffs.pop(place, None)

    def dropped(self, step: Step) -> None:
        """A step was not due any more, or was cut."""
        if self.under_way.get(step.endpoint) is step:
            del self.under_way[step.endpoint]

    def _endpoints(self) -> list[Endpoint]:
        return [one for one in self._fleet.endpoints.values() if one.is_usable and one.held is not None]

    def _forget(self) -> None:
        """Drops what is remembered of endpoints that are gone."""
        there = set(self._fleet.endpoints.values())
        drop(self.backoffs, there)
        self._next.memory.keep(there)

    def _is_asked(self, pull: Pull) -> bool:
        return any(plan.shaped.tag == pull.tag for plan in self.plans.values() if plan.shaped.key == pull.key)

    def _begin(self, step: Step) -> None:
        self.under_way[step.endpoint] = step
        self.order(step)

    # -- a rollout

    def _advance(self, plan: Plan, places: Sequence[Place]) -> None:
        """Begins the next steps of a rollout: on one endpoint until it is done, then on several."""
        key, now = plan.shaped.key, self._clock()
        done = [place for place in places if place.is_done]
        left = [place for place in places if place.next is not None]
        active = sum(self._is_active(place.endpoint, key) for place in left)
        failing = [place for place in left if self._backoff(place, plan) is not None]
        most = self.settings.pulls if done else 1
        left.sort(key=lambda place: self._rank(place, plan))
        for place in left:
            if active >= most:
                return
            backoff = self._backoff(place, plan)
            if backoff is not None and backoff.until > now:
                continue
            if not done and backoff is None and len(failing) >= STOPS_AFTER:
                continue
            active += self._go_on(place, plan)

    def _tell(self, plan: Plan, now: Rollout) -> None:
        before = self.rollouts.get(plan.shaped.key)
        self.rollouts[plan.shaped.key] = now
        was = None if before is None else before.state
        if now.state != was and ((now.state == "done" and before is not None) or now.state == "failed"):
            self.told(plan, now)

    def _rollout(self, plan: Plan, places: Sequence[Place]) -> Rollout:
        """What is told of it."""
        key = plan.shaped.key
        done = sum(place.is_done for place in places)
        backoffs = [backoff for place in places if (backoff := self._backoff(place, plan)) is not None]
        pulls = [one for one, step in self.under_way.items() if isinstance(step, Pull) and step.key == key]
        share, seconds_left = min(filter(None, map(self.progress, pulls)), default=(None, None))
        left = len(places) - done
        state: RolloutState = "updating" if any(place.endpoint.holds(key) for place in places) else "pulling"
        if not left:
            state = "done"
        elif backoffs and (len(backoffs) == left or (not done and len(backoffs) >= STOPS_AFTER)):
            state = "failed"
        reason = max(backoffs, key=lambda backoff: backoff.failed_at).reason if backoffs else None
        return Rollout(state, done, len(places), share, seconds_left, reason)

    def _is_active(self, endpoint: Endpoint, key: str) -> bool:
        step, load = self.under_way.get(endpoint), self._fleet.loads.of.get(endpoint)
        return (step is not None and step.key == key) or (load is not None and load.pool == key)

    def _backoff(self, place: Place, plan: Plan) -> Backoff | None:
        """That of the latest step, or of a load of the wanted name."""
        endpoint = place.endpoint
        if isinstance(place.next, Bring):
            return self._fleet.loads.backoffs.get((endpoint, endpoint.residency.key_of(place.next.name)))
        return self.backoffs.get((endpoint, plan.shaped.key, plan.shaped.spec))

    def _rank(self, place: Place, plan: Plan) -> tuple[bool, bool, int, int]:
        """Where to go on: what is begun comes first, then what has not failed, then the endpoint with least to do."""
        endpoint = place.endpoint
        has_begun = isinstance(place.next, Bring | Create)
        return (
            self._backoff(place, plan) is not None,
            not has_begun,
            endpoint.total_in_flight + endpoint.total_peers,
            endpoint.number,
        )

    def _go_on(self, place: Place, plan: Plan) -> bool:
        """Takes the next step on an endpoint, if nothing else is under way there; True if it has begun."""
        step, endpoint = place.next, place.endpoint
        if endpoint in self.under_way:
            return False
        if isinstance(step, Bring):
            return self._bring(step)
        assert step is not None
        if not self._next.is_writer(endpoint, self._endpoints()):
            return False
        pulls = sum(isinstance(one, Pull) for one in self.under_way.values())
        if isinstance(step, Pull) and pulls >= self.settings.pulls:
            return False
        self._begin(step)
        return True

    def _bring(self, bring: Bring) -> bool:
        """Loads beside the old one, or else in its place, on one endpoint at a time."""
        fleet, endpoint = self._fleet, bring.endpoint
        residency = endpoint.residency
        is_known = residency.digest_of(bring.name) in fleet.weights  # else it may share the runner that is there
        if not is_known or endpoint in fleet.loads.of or endpoint in fleet.loads.reported:
            return False
        site, victim = Site(endpoint, bring.name, residency.key_of(bring.name)), None
        if not (has_place(endpoint) and has_room(site, fleet.learned)):
            old = residency.find(bring.key)
            if old is None or any(
                load.pool == bring.key and load.victim is not None for load in fleet.loads.of.values()
            ):
                return False
            victim = Victim(old.key, residency.name_of(old))
        fleet.loads.bring(fleet.pool(bring.key), site, victim)
        return True
