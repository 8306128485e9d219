"""Takes the rollout of one model a little further: on one endpoint until the new version is proven, then on several."""

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Final

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.load import Backoff
from ai_gateway.balancing.rollout import Rollout
from ai_gateway.reconcile.bringing import Bringing
from ai_gateway.reconcile.next_steps import NextSteps
from ai_gateway.reconcile.places import Place, failing, has_stopped, is_proven, state_of
from ai_gateway.reconcile.plans import Plan
from ai_gateway.reconcile.steps import Blocked, Bring, Copy, Pull, Step, steps_left
from ai_gateway.reconcile.under_way import UnderWay

BLOCKED: Final = "its tag is not on the disk, and `pull` is never"


class Advancing:
    """Begins steps by `begin`, and loads. `backoffs` are by endpoint, key, and what places.failing says.

    `begun` are the endpoints, by key, where the gateway that wrote before was at work: a pull goes on there from where
    it was.
    """

    def __init__(
        self, fleet: Fleet, steps: NextSteps, begin: Callable[[Step], None], clock: Callable[[], float]
    ) -> None:
        self._fleet = fleet
        self._steps = steps
        self._begin = begin
        self._clock = clock
        self._bringing = Bringing(fleet)
        self.under_way = UnderWay()
        self.backoffs: dict[tuple[Endpoint, str, str], Backoff] = {}
        self.begun: dict[str, tuple[str, ...]] = {}
        self.progress: Callable[[Endpoint], tuple[float, float | None] | None] = lambda _endpoint: None

    def advance(self, plan: Plan, places: Sequence[Place]) -> Rollout:
        """Begins what may begin; returns how far it is."""
        key = plan.shaped.key
        left = [place for place in places if not (place.next is None or isinstance(place.next, Blocked))]
        self._bringing.give_up(key, left)
        if left:
            self._go_on(plan, places, left)
        waiting = [place for place in places if not place.is_done]  # a refresh that fails leaves what is in place
        reasons = [backoff.reason for _, backoff in sorted(self._failed(plan, waiting), key=_failed_at)]
        reasons = [BLOCKED for place in waiting if isinstance(place.next, Blocked)] + reasons
        pulls = [step.endpoint for step in self.under_way.values() if isinstance(step, Pull) and step.key == key]
        share, seconds_left = min(filter(None, map(self.progress, pulls)), key=itemgetter(0), default=(None, None))
        return Rollout(
            state=state_of(places, key, len(reasons)) if waiting else "done",
            done=len(places) - len(waiting),
            total=len(places),
            progress=share,
            seconds_left=seconds_left,
            reason=reasons[-1] if reasons else None,
            failed=len(reasons),
            at=tuple(dict.fromkeys(one.address.authority for one in self._active(key))),
            is_waited_for=bool(waiting) and self._bringing.is_waited_for(key),
        )

    def _go_on(self, plan: Plan, places: Sequence[Place], left: list[Place]) -> None:
        key, now = plan.shaped.key, self._clock()
        there = {place.endpoint for place in left}
        active = len({endpoint for endpoint in self._active(key) if endpoint in there})
        backoffs = dict(self._failed(plan, left))
        is_stopped = has_stopped(places, key, len(backoffs))
        most = self._steps.settings.pulls if is_proven(places, key) else 1
        left.sort(key=lambda place: self._rank(place, plan, place.endpoint in backoffs))
        for place in left:
            backoff = backoffs.get(place.endpoint)
            if backoff is not None and backoff.until > now:
                continue
            # What is served by a tag gets a name everywhere at once: after further edits nothing else tells of it.
            is_first = isinstance(place.next, Copy) and not place.endpoint.residency.served.made.get(key)
            if is_first or (active < most and (backoff is not None or not is_stopped)):
                # A load that waits, for a reason of its own, counts: else others would begin before this one is proven.
                active += self._take_step(place, places) or isinstance(place.next, Bring)

    def _active(self, key: str) -> Iterator[Endpoint]:
        """Where it goes on now."""
        yield from (step.endpoint for step in self.under_way.values() if step.key == key)
        yield from (load.endpoint for load in self._fleet.loads.of.values() if load.pool == key)

    def _failed(self, plan: Plan, places: Sequence[Place]) -> Iterator[tuple[Endpoint, Backoff]]:
        """The endpoints whose latest step has failed, or the load of the wanted name."""
        if not (self.backoffs or self._fleet.loads.backoffs):
            return
        for place in places:
            endpoint, bring = place.endpoint, place.next
            if isinstance(bring, Bring):
                backoff = self._fleet.loads.backoffs.get((endpoint, endpoint.residency.key_of(bring.name)))
            else:
                backoff = self.backoffs.get((endpoint, plan.shaped.key, failing(bring, plan)))
            if backoff is not None:
                yield endpoint, backoff

    def _rank(self, place: Place, plan: Plan, has_failed: bool) -> tuple[bool, bool, int, bool, int, int]:
        """Where to go on: what has not failed, then what is furthest, then the endpoint with least to do."""
        endpoint, step = place.endpoint, place.next
        has_begun = endpoint.address.authority in self.begun.get(plan.shaped.key, ())
        is_resident = endpoint.is_resident(plan.shaped.key)
        calls = endpoint.total_in_flight + endpoint.total_peers
        return has_failed, not has_begun, steps_left(step, plan.shaped.tag), is_resident, calls, endpoint.number

    def _take_step(self, place: Place, places: Sequence[Place]) -> bool:
        """Takes the next step on an endpoint, unless others there are in the way; True if it has begun."""
        step = place.next
        if isinstance(step, Bring):
            return self._bringing.begin(step, places)
        assert isinstance(step, Step), "nothing else is left"
        if not (self._steps.is_writer(step.endpoint) and self.may_begin(step)):
            return False
        self._begin(step)
        return True

    def may_begin(self, step: Step) -> bool:
        """Whether the steps that are under way leave room for it."""
        if isinstance(step, Pull) and len(self.under_way.pulls) >= self._steps.settings.pulls:
            return False
        return self.under_way.has_room_for(step, self._steps.sharing(step.endpoint))


def _failed_at(found: tuple[Endpoint, Backoff]) -> float:
    return found[1].failed_at
