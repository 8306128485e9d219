"""The endpoints that can serve one model, and the queue of calls that wait for a slot there.

A pool is plain state, and nothing in it waits: a call gets a Choice, or a Ticket that is settled later, or an error.
"""

from collections.abc import Callable, Collection
from typing import Final

from ai_gateway.balancing import refusals
from ai_gateway.balancing.choice import Choice
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fair_queue import FairQueue
from ai_gateway.balancing.learned import Rate
from ai_gateway.balancing.policy import Policy, less_busy_of_two
from ai_gateway.balancing.pool_surroundings import Surroundings
from ai_gateway.balancing.seats import NOWHERE, Seats
from ai_gateway.balancing.settings import PoolSettings
from ai_gateway.balancing.stopwatch import Phase, Stopwatch
from ai_gateway.balancing.ticket import ANYONE, Claim, Ticket
from ai_gateway.errors import BackendUnavailable, GatewayError, ModelLoading

USUAL_SECONDS: Final = 2.0  # until a place in the queue comes free, as long as nothing is learned


class Pool:
    """One model's queue over the fleet's endpoints. Changed by calls (ask, leave, give_back) and by the fleet."""

    def __init__(self, model: str, settings: PoolSettings, around: Surroundings, clock: Callable[[], float]) -> None:
        self.model = model
        self.settings = settings  # replaced by the fleet
        self.used_at = clock()  # when it was made or last used
        self.queue = FairQueue()
        self.arrivals = Rate()
        self.in_flight = 0
        self.peer_waiting = self.peer_in_flight = 0  # of the other gateways, as they report
        self.peer_oldest_seconds = self.peer_rate = 0.0
        self._around = around
        self._clock = clock
        self._seats = Seats(model, around, clock)
        self._stopwatch = Stopwatch(self.used_at, "absent")

    def __repr__(self) -> str:
        return f"<Pool {self.model}, {self.waiting} waiting>"

    @property
    def title(self) -> str:
        """The model's name for people."""
        return self.settings.title or self.model

    @property
    def waiting(self) -> int:
        """How many calls wait for a slot."""
        return len(self.queue)

    @property
    def policy(self) -> Policy:
        """Who chooses."""
        return self._around.policy(self.settings.policy)

    def ask(self, avoid: frozenset[Endpoint] = NOWHERE, claim: Claim = ANYONE) -> Choice | None:
        """Takes a slot at once, on an endpoint not in `avoid`; None: the call must `wait`.

        Raises NoEndpoint, ModelMissing, QueueFull, QueueShare or QueueTimeout if waiting is useless.
        """
        self.used_at = now = self._clock()
        if not avoid:
            self.arrivals.note(now)
        # If only calls wait that are sent again, they wait for other slots than this one may use.
        if avoid or not self.queue.has_first_attempts:
            choice = self._take(claim, avoid)
            if choice is not None:
                return choice
        if avoid or not self.settings.absence_seconds:
            self._refuse_the_hopeless(avoid)
        if not avoid:
            self._refuse_the_late(claim)
            if len(self.queue) >= self.settings.max_waiting:
                self._make_room(claim)
        return None

    def wait(self, ticket: Ticket) -> None:
        """Queues a call that got no slot from `ask`. One that is sent again goes to the front."""
        ticket.came_at = self._clock()
        ticket.warm_at, ticket.cold_at = self.clocks()
        if ticket.avoid:
            ticket.stopwatch = Stopwatch(ticket.came_at, self._phase_for(ticket))
        self.queue.push(ticket)
        self._around.wants(self)

    def leave(self, ticket: Ticket) -> None:
        """Takes a call out of the queue, or returns a granted slot that it did not use."""
        if ticket.choice is not None:
            self.queue.charge(ticket.claim.caller, -ticket.claim.tokens)
            self.give_back(ticket.choice.endpoint, ticket.choice.name)
        elif self.queue.remove(ticket):
            self._around.wants(self)

    def give_back(self, endpoint: Endpoint, name: str = "") -> None:
        """Frees a slot, that of a choice's name; the call that is next gets it."""
        self.in_flight -= 1
        name = name or self.model
        endpoint.give_slot_back(name)
        endpoint.ended_at[name] = self._clock()
        self._around.freed(endpoint, self)

    def bind_waiting(self) -> None:
        """Gives free slots to waiting calls, in order; refuses calls that no endpoint can serve any more."""
        for again in self.queue.again():
            self._bind(again)
        while (ticket := self.queue.first(self._clock())) is not None:
            if not self._bind(ticket):
                break  # all calls after it need the same slots
        if self.settings.absence_seconds and self.waiting and not self.endpoints_with():
            for late in tuple(self.queue):  # while nobody is served, the turn of some might never come
                self._bind(late)

    def _bind(self, ticket: Ticket) -> bool:
        try:
            ticket.choice = self._take(ticket.claim, ticket.avoid)
            if ticket.choice is None:
                if ticket.avoid or self._clock() - ticket.came_at >= self.settings.absence_seconds:
                    self._refuse_the_hopeless(ticket.avoid)
                return False
        except BackendUnavailable as error:
            ticket.error = error
        self._settle(ticket)
        return True

    def bind_to(self, ticket: Ticket, choice: Choice) -> None:
        """Gives a call that waits a slot that others would not."""
        ticket.choice = self._granted(choice, ticket.claim)
        self._settle(ticket)

    @property
    def rate(self) -> float:
        """How many calls come a second, at all gateways."""
        return self.arrivals.per_second(self._clock()) + self.peer_rate

    def refuse_all(self, copies: Collection[Endpoint], error: Callable[[], GatewayError]) -> None:
        """Ends the wait of all calls that none of `copies` may serve."""
        for ticket in tuple(self.queue):
            if all(endpoint in ticket.avoid for endpoint in copies):
                ticket.error = error()
                self._settle(ticket)

    def _settle(self, ticket: Ticket) -> None:
        self.queue.remove(ticket)
        self._around.wants(self)
        ticket.settle()

    # -- endpoints

    def endpoints_with(self, avoid: frozenset[Endpoint] = NOWHERE) -> list[Endpoint]:
        """Usable endpoints that hold the model; if none surely does, those that may hold it."""
        return self._seats.holders(avoid)

    def slots_of(self, endpoint: Endpoint) -> int:
        """How many calls of the model may run on an endpoint, of all gateways together."""
        return endpoint.slots(self.model, self.settings.slots, self.settings.own_slots)

    @property
    def able(self) -> list[Endpoint]:
        """The endpoints that calls may be bound to now, with or without a free slot."""
        self._refresh()
        return self._seats.able

    @property
    def warm(self) -> list[Endpoint]:
        """Those of them that are known to have the model loaded."""
        return [endpoint for endpoint in self.able if not self._seats.is_open]

    @property
    def total_slots(self) -> int:
        """The slots of all `able` endpoints."""
        return sum(self._seats.slots) if self.able else 0

    def _refresh(self) -> None:
        if not self._seats.is_stale:
            return
        self._seats.refresh(self.policy.binds_late, lambda one: self._around.own_slots(self.slots_of(one)))
        now = self._clock()
        self._stopwatch.turn(now, self._seats.phase)
        for ticket in self.queue.again():
            if ticket.stopwatch is not None:
                ticket.stopwatch.turn(now, self._phase_for(ticket))

    def _take(self, claim: Claim, avoid: frozenset[Endpoint]) -> Choice | None:
        self._refresh()
        free = self._seats.free()
        if avoid:
            free = [endpoint for endpoint in free if endpoint not in avoid]
        if not free:
            return None
        if self._seats.is_open:
            return self._granted(less_busy_of_two(free, self._around.rng, "no_view", self.model), claim)
        return self._granted(self.policy.pick(free, self._seats.able, self.model, claim), claim)

    def _granted(self, choice: Choice, claim: Claim) -> Choice:
        name = choice.endpoint.residency.name_for(self.model)
        if name is not self.model:
            choice = choice._replace(name=name)
        choice.endpoint.take_slot(name)
        self.in_flight += 1
        if claim.tokens:
            self.queue.charge(claim.caller, claim.tokens)
        return choice

    # -- time

    @property
    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock()

    def note_call(self, seconds: float) -> None:
        """Learns how long a call holds its slot."""
        self._around.learned.call_seconds.note(self.model, seconds)

    def clocks(self) -> tuple[float, float]:
        """For how long, of the pool's life, the model was resident somewhere, and only on disks. Seconds."""
        self._refresh()
        return self._stopwatch.read(self._clock())

    def waited(self, ticket: Ticket) -> tuple[float, float]:
        """How long a call has waited while its model was resident where it may go, and while it was not. Seconds."""
        if ticket.stopwatch is not None:
            self._refresh()
            return ticket.stopwatch.read(self._clock())
        warm, cold = self.clocks()
        return warm - ticket.warm_at, cold - ticket.cold_at

    def _phase_for(self, ticket: Ticket) -> Phase:
        return "warm" if self.is_warm_for(ticket) else "cold"

    def is_warm_for(self, ticket: Ticket) -> bool:
        """Whether its model is resident where it may go."""
        return any(endpoint not in ticket.avoid for endpoint in self.able)

    @property
    def cold_wait_seconds(self) -> float:
        """How long its first call has been waiting, while the model is resident nowhere; 0.0 if none does."""
        if not self.waiting or self.able:
            return 0.0
        return self._clock() - min(ticket.came_at for ticket in self.queue.firsts())

    def predicted_seconds(self, place: int) -> float | None:
        """How long the call at a place in the queue (from 1) will wait for a slot; None if that is not learned."""
        seconds, slots = self._around.learned.call_seconds.get(self.model), self.total_slots
        return None if seconds is None or not slots else place * seconds / slots

    # -- refusals

    def still_loading(self, waited_seconds: float) -> ModelLoading:
        """The error of a call that waited so long, and the model was not loaded."""
        return refusals.still_loading(self.title, waited_seconds, self._around.load_seconds_left(self))

    def _refuse_the_hopeless(self, avoid: frozenset[Endpoint]) -> None:
        if any(endpoint not in avoid for endpoint in self.able) or self.endpoints_with(avoid):
            return
        named = refusals.Named(self.model, self.title)
        raise refusals.unserved(named, self._around.everyone(), avoid, self._around.rollout_of(self.model))

    def _refuse_the_late(self, claim: Claim) -> None:
        """Refuses who would wait longer than its patience, so that it can go elsewhere at once."""
        if claim.patience_seconds is None:
            return
        seconds = self.predicted_seconds(self.queue.place_of_new(claim))
        if seconds is not None and seconds > claim.patience_seconds:
            raise refusals.late(self.title, seconds, claim.patience_seconds)

    def _make_room(self, claim: Claim) -> None:
        """Lets in who holds less than its share of a full queue, in place of who holds most. Raises for the others."""
        caller, most = claim.caller, self.settings.max_waiting
        ticket = self.queue.gives_way(caller, most)
        if ticket is None:
            is_over = self.queue.share(caller, most) <= self.queue.holds(caller) < most
            raise self._share(caller) if is_over else refusals.full(self.title, self.waiting, self._retry_after())
        ticket.error = self._share(ticket.claim.caller)
        self._settle(ticket)

    def _share(self, caller: str) -> GatewayError:
        return refusals.share(self.title, self.waiting, self.queue.holds(caller), self._retry_after())

    def _retry_after(self) -> float:
        return max(1.0, self.predicted_seconds(1) or USUAL_SECONDS)
