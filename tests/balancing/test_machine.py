"""After any events of a fleet in any order, slots are counted right, and no call is served twice or forgotten."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.balancing.worlds import MODEL, Waiting, World, addresses, held

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.errors import BackendUnavailable

ADDRESSES = addresses(5)
SLOTS = 2


class Balancing(RuleBasedStateMachine):
    """Calls, polls and discovery in any order, beside a plain account of the leases."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(0, slots=SLOTS, max_waiting=4)
        self.held: list[Endpoint] = []  # one entry per slot that a call holds
        self.waiting: list[Waiting] = []  # in the order of their coming
        self.served: list[Waiting] = []

    @initialize(count=st.integers(1, 4))
    def begin(self, count: int) -> None:
        """Some endpoints that are up and have the model."""
        self._apply(count, 0)
        for endpoint in self.world.endpoints:
            self.world.fleet.saw_up(endpoint, "0.24.0")
            self.world.fleet.saw_models(endpoint, held(MODEL))

    # -- calls

    @rule(data=st.data(), is_sent_again=st.booleans())
    def ask(self, data: st.DataObject, is_sent_again: bool) -> None:
        """A call comes; one that was sent once already avoids where it was."""
        endpoints = self.world.endpoints
        avoid = frozenset([data.draw(st.sampled_from(endpoints))]) if is_sent_again and endpoints else frozenset()
        usable_before = {endpoint for endpoint in endpoints if endpoint.is_usable}
        try:
            choice = self.world.pool.ask(avoid)
        except BackendUnavailable:
            return
        if choice is None:
            waiting = Waiting(avoid)
            self.world.pool.wait(waiting.ticket)
            self.waiting.append(waiting)
            return
        assert choice.endpoint in usable_before - avoid
        self.held.append(choice.endpoint)

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """A call that runs is over."""
        if self.held:
            endpoint = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
            self.world.pool.give_back(endpoint)
            self._settle()

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A client that waits leaves."""
        if self.waiting:
            waiting = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
            self.world.pool.leave(waiting.ticket)
            assert waiting.settled == 0
            self._settle()

    @rule(data=st.data())
    def leave_when_served(self, data: st.DataObject) -> None:
        """A client leaves between its grant and its waking."""
        granted = [one for one in self.served if one.endpoint is not None]
        if granted:
            one = data.draw(st.sampled_from(granted))
            self.served.remove(one)
            self.world.pool.leave(one.ticket)
            self._settle()

    @rule()
    def wake(self) -> None:
        """Calls with a granted slot begin to use it."""
        self.held += [one.endpoint for one in self.served if one.endpoint is not None]
        self.served = []

    # -- what is learnt of endpoints

    @rule(count=st.integers(0, 5), start=st.integers(0, 4))
    def discover(self, count: int, start: int) -> None:
        """A list from discovery."""
        self._apply(count, start)
        self._settle()

    @rule(data=st.data(), what=st.sampled_from(["up", "down", "holds", "lacks", "empty", "resident", "cold"]))
    def see(self, data: st.DataObject, what: str) -> None:
        """A poll, or a 404."""
        if not self.world.endpoints:
            return
        endpoint, fleet = data.draw(st.sampled_from(self.world.endpoints)), self.world.fleet
        acts: dict[str, Any] = {
            "up": lambda: fleet.saw_up(endpoint, "0.24.0"),
            "down": lambda: fleet.saw_down(endpoint, "refused"),
            "holds": lambda: fleet.saw_models(endpoint, held(MODEL)),
            "empty": lambda: fleet.saw_models(endpoint, {}),
            "lacks": lambda: fleet.mark_missing(endpoint, MODEL),
            "resident": lambda: fleet.saw_residents(endpoint, frozenset([MODEL])),
            "cold": lambda: fleet.saw_residents(endpoint, None),
        }
        acts[what]()
        self._settle()

    @rule(data=st.data(), times=st.integers(1, 6), what=st.sampled_from(["failed", "failed_model", "succeeded"]))
    def fare(self, data: st.DataObject, times: int, what: str) -> None:
        """Calls that went well or badly."""
        if not self.world.endpoints:
            return
        endpoint, fleet = data.draw(st.sampled_from(self.world.endpoints)), self.world.fleet
        for _ in range(times):
            if what == "failed":
                fleet.failed(endpoint)
            elif what == "failed_model":
                fleet.failed_model(endpoint, MODEL)
            else:
                fleet.succeeded(endpoint, MODEL)

    @rule(seconds=st.sampled_from([0.1, 4.0, 7.0, 80.0]))
    def time_passes(self, seconds: float) -> None:
        """Ejections end."""
        self.world.clock.now += seconds

    # -- what must always hold

    @invariant()
    def slots_are_counted_right(self) -> None:
        """What is in flight is what calls hold, on every endpoint there is or was."""
        granted = [one.endpoint for one in self.served if one.endpoint is not None]
        holders = self.held + granted
        for endpoint in {*self.world.endpoints, *self.world.fleet.leaving, *holders}:
            assert endpoint.in_flight.get(MODEL, 0) == endpoint.total_in_flight == holders.count(endpoint) >= 0

    @invariant()
    def no_endpoint_has_more_than_its_slots(self) -> None:
        """Neither for retries nor for probes of an ejected model."""
        assert all(endpoint.in_flight.get(MODEL, 0) <= SLOTS for endpoint in self.world.endpoints)

    @invariant()
    def never_more_than_half_are_ejected(self) -> None:
        """Of those there are now."""
        endpoints = self.world.endpoints
        assert sum(endpoint.health.is_ejected for endpoint in endpoints) <= len(endpoints) // 2

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """Some endpoint may serve each waiting call later."""
        self._settle()
        for one in self.waiting:
            assert self.world.pool.endpoints_with(one.ticket.avoid)
        assert self.world.pool.waiting == len(self.waiting)

    @invariant()
    def nobody_waits_beside_a_free_slot(self) -> None:
        """But for the end of an ejection, which the next poll notices."""
        now = self.world.clock.now
        for one in self.waiting:
            for endpoint in self.world.pool.endpoints_with(one.ticket.avoid):
                is_healthy = not endpoint.model_health(MODEL).is_ejected
                assert not (is_healthy and endpoint.takes(MODEL, SLOTS, now)), one.ticket.avoid

    def teardown(self) -> None:
        """Once slots come free, every call that waits is served or refused."""
        for endpoint in self.world.endpoints:
            self.world.clock.now += 80
            self.world.fleet.saw_up(endpoint, "0.24.0")
            self.world.fleet.saw_models(endpoint, held(MODEL))
        for _ in range(100):
            self._settle()
            self.wake()
            if not self.held:
                break
            self.world.pool.give_back(self.held.pop())
        assert self.world.pool.waiting == 0

    def _apply(self, count: int, start: int) -> None:
        listed = [ADDRESSES[(start + number) % len(ADDRESSES)] for number in range(count)]
        self.world.fleet.apply(listed)

    def _settle(self) -> None:
        """Settled tickets leave the account of waiting calls, in the order of their arrival."""
        settled = [one for one in self.waiting if one.settled]
        for one in settled:
            assert one.settled == 1
            assert (one.ticket.choice is None) != (one.ticket.error is None)
            if one.endpoint is not None:
                assert one.endpoint.is_usable
                assert one.endpoint not in one.ticket.avoid
        equals = [one.endpoint is not None for one in self.waiting if not (one.ticket.avoid or one.ticket.error)]
        assert equals == sorted(equals, reverse=True)  # first come, first served
        self.waiting = [one for one in self.waiting if not one.settled]
        self.served += settled


SETTINGS = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_after_any_events_slots_are_counted_right_and_no_call_is_forgotten() -> None:
    """Calls, polls, failures and discovery in any order; the machine above says what must hold."""
    run_state_machine_as_test(Balancing, settings=SETTINGS)
