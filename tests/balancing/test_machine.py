"""After any events of a fleet in any order, slots are counted right, and no call is served twice or forgotten."""

import random
from collections import Counter
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.balancing.fake_ollama import HELD, MODELS, ROOMS, WEIGHTS, Ollama, key
from tests.balancing.machine_calls import SETTINGS, SLOTS, Call, check
from tests.balancing.worlds import Clock, addresses

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.load import Load
from ai_gateway.balancing.pod import Pod
from ai_gateway.balancing.settings import FleetSettings, PoolSettings
from ai_gateway.balancing.ticket import Claim
from ai_gateway.errors import GatewayError

ADDRESSES = addresses(5)
CALLERS = ("one", "two", "three")

models = st.sampled_from(MODELS)


class Balancing(RuleBasedStateMachine):
    """Calls, polls, loads and discovery in any order, beside a plain account of the leases."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        others = PoolSettings(SLOTS, None, 5)
        pools = {"b:latest": PoolSettings(SLOTS, None, 5, resident=1)}
        self.fleet = Fleet(self.clock, random.Random(1), FleetSettings(pools=pools, others=others))
        self.fleet.loads.order = self._order
        self.fleet.wake = self._wake
        self.is_awake = False
        self.orders: list[Load] = []
        self.ollamas: dict[Endpoint, Ollama] = {}
        self.held: list[tuple[str, Endpoint]] = []  # one entry per slot that a call holds
        self.waiting: list[Call] = []
        self.served: list[Call] = []

    def _wake(self) -> None:
        self.is_awake = True

    @property
    def endpoints(self) -> list[Endpoint]:
        """Those that discovery lists."""
        return list(self.fleet.endpoints.values())

    def _order(self, load: Load) -> None:
        self.orders = [one for one in self.orders if not one.is_over and one is not load]
        assert load.endpoint not in {one.endpoint for one in self.orders}
        assert load.endpoint.is_usable
        if load.phase == "loading":
            assert not load.endpoint.is_resident(load.model)
        self.orders.append(load)

    @initialize(loaded=st.lists(models, min_size=1, max_size=4))
    def begin(self, loaded: list[str]) -> None:
        """Some endpoints that are up and have the models, one of them in memory."""
        self._apply(len(loaded), 0)
        for endpoint, model in zip(self.endpoints, loaded, strict=True):
            self.ollamas[endpoint].load(model)
            self.fleet.saw_up(endpoint, "0.33.0")
            self._poll(endpoint)

    # -- calls

    @rule(data=st.data(), model=models, count=st.integers(1, 4))
    def ask(self, data: st.DataObject, model: str, count: int) -> None:
        """Calls come; one that was sent once already avoids where it was."""
        for _ in range(count):
            self._ask(data, model, data.draw(st.sampled_from(CALLERS)), data.draw(st.integers(0, 3)))

    def _ask(self, data: st.DataObject, model: str, caller: str, kind: int) -> None:
        avoid: frozenset[Endpoint] = frozenset()
        if kind == 0 and self.endpoints:
            avoid = frozenset([data.draw(st.sampled_from(self.endpoints))])
        claim = Claim(caller, is_batch=kind == 1, tokens=data.draw(st.integers(0, 100)))
        pool = self.fleet.pool(model)
        try:
            choice = pool.ask(avoid, claim)
        except GatewayError:
            return
        if choice is not None:
            check(choice.endpoint, model, avoid)
            self.held.append((model, choice.endpoint))
            return
        call = Call(self.fleet, model, avoid, claim)
        self.waiting.append(call)
        pool.wait(call.ticket)

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """A call that runs is over."""
        if self.held:
            model, endpoint = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
            self.fleet.pool(model).give_back(endpoint)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A client that waits, or was granted a slot and has not woken yet, leaves."""
        self._settle()
        for calls in (self.waiting, self.served):
            if calls:
                call = calls.pop(data.draw(st.integers(0, len(calls) - 1)))
                if call.ticket.error is None:
                    self.fleet.pool(call.model).leave(call.ticket)

    @rule()
    def wake(self) -> None:
        """Calls with a granted slot begin to use it."""
        self._settle()
        self.held += [(one.model, one.endpoint) for one in self.served if one.endpoint is not None]
        self.served = []

    # -- loads

    @rule(data=st.data(), goes_well=st.booleans())
    def carry_out(self, data: st.DataObject, goes_well: bool) -> None:
        """Ollama answers a load or an unload."""
        orders = [load for load in self.orders if not load.is_over]
        if orders:
            self._carry_out(data.draw(st.sampled_from(orders)), None if goes_well else "out of memory")

    def _carry_out(self, load: Load, reason: str | None) -> None:
        if reason is None:
            self.ollamas[load.endpoint].carry_out(load)
        if load.phase == "loading":
            self.orders.remove(load)
            self.fleet.loads.loaded(load, reason)
        else:
            self.fleet.loads.unloaded(load, reason)
        self.orders = [one for one in self.orders if not one.is_over]

    @rule(data=st.data(), model=models, is_load=st.booleans())
    def meddle(self, data: st.DataObject, model: str, is_load: bool) -> None:
        """Somebody else loads or unloads a model."""
        if self.endpoints:
            ollama = self.ollamas[data.draw(st.sampled_from(self.endpoints))]
            ollama.load(model) if is_load else ollama.unload(key(model))

    # -- what is learned of endpoints

    @rule(count=st.integers(0, 5), start=st.integers(0, 4))
    def discover(self, count: int, start: int) -> None:
        """A list from discovery."""
        self._apply(count, start)

    @rule(data=st.data(), what=st.sampled_from(["up", "down", "holds", "lacks", "poll", "late"]))
    def see(self, data: st.DataObject, what: str) -> None:
        """A poll, or a 404."""
        if not self.endpoints:
            return
        endpoint, fleet = data.draw(st.sampled_from(self.endpoints)), self.fleet
        acts: dict[str, Any] = {
            "up": lambda: fleet.saw_up(endpoint, "0.33.0"),
            "down": lambda: fleet.saw_down(endpoint, "refused"),
            "holds": lambda: fleet.saw_models(endpoint, HELD),
            "lacks": lambda: fleet.mark_missing(endpoint, data.draw(models)),
            "poll": lambda: self._poll(endpoint),
            "late": lambda: fleet.saw_residents(endpoint, None, self.clock.now),
        }
        acts[what]()

    @rule(
        data=st.data(),
        model=models,
        times=st.integers(1, 6),
        what=st.sampled_from(["failed", "failed_model", "succeeded"]),
    )
    def fare(self, data: st.DataObject, model: str, times: int, what: str) -> None:
        """Calls that went well or badly."""
        if not self.endpoints:
            return
        endpoint, fleet = data.draw(st.sampled_from(self.endpoints)), self.fleet
        for _ in range(times):
            if what == "failed":
                fleet.failed(endpoint)
            elif what == "failed_model":
                fleet.failed_model(endpoint, model)
            else:
                fleet.succeeded(endpoint, model)

    @rule(seconds=st.sampled_from([0.1, 4.0, 12.0, 25.0, 25.0, 130.0]))
    def time_passes(self, seconds: float) -> None:
        """Ejections and back-offs end, models become idle, calls starve."""
        self.clock.now += seconds
        self.fleet.tick()

    # -- what must always hold

    @invariant()
    def decisions_follow_events(self) -> None:
        """As the driver sees to it."""
        if self.is_awake:
            self.is_awake = False
            self.fleet.decide()

    @invariant()
    def slots_are_counted_right(self) -> None:
        """What is in flight is what calls hold, on every endpoint there is or was."""
        self._settle()
        granted = [(one.model, one.endpoint) for one in self.served if one.endpoint is not None]
        counts = Counter([*self.held, *granted])
        for endpoint in {*self.endpoints, *self.fleet.leaving, *(endpoint for _, endpoint in counts)}:
            expected = {model: counts[model, endpoint] for model in MODELS if counts[model, endpoint]}
            assert endpoint.in_flight == expected
            assert endpoint.total_in_flight == sum(expected.values())
        for model in MODELS:
            assert self.fleet.pool(model).in_flight == sum(counts[one] for one in counts if one[0] == model)

    @invariant()
    def no_model_has_more_than_its_slots(self) -> None:
        """For retries and probes of an ejected model too; `check` counts all names of a runner."""
        assert all(count <= SLOTS for endpoint in self.endpoints for count in endpoint.in_flight.values())

    @invariant()
    def loads_and_reservations_belong_together(self) -> None:
        """One at a time per endpoint, on endpoints that are usable."""
        for endpoint, load in self.fleet.loads.of.items():
            assert load.endpoint is endpoint
            assert endpoint.is_usable
            assert not load.is_over
            assert (endpoint.residency.loading is not None) == (load.phase == "loading")
        for endpoint in self.endpoints:
            if endpoint.reserved is not None:
                assert self.fleet.loads.of[endpoint].phase != "loading"

    @invariant()
    def never_more_than_half_are_ejected(self) -> None:
        """Of those there are now."""
        assert sum(endpoint.health.is_ejected for endpoint in self.endpoints) <= len(self.endpoints) // 2

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """Some endpoint may serve each waiting call later, but for an ejection that has just begun."""
        self._settle()
        waiting = Counter(one.model for one in self.waiting)
        for model in MODELS:
            assert self.fleet.pool(model).waiting == waiting[model]

    @invariant()
    def nobody_waits_beside_a_free_slot(self) -> None:
        """But for the end of an ejection, which the next poll notices."""
        self._settle()
        for one in self.waiting:
            for endpoint in self.fleet.pool(one.model).able:
                if endpoint not in one.ticket.avoid and not endpoint.model_health(one.model).is_ejected:
                    assert not endpoint.takes(one.model, SLOTS, self.clock.now)

    def teardown(self) -> None:
        """Once things get well, every call that waits is served or refused."""
        for _ in range(400):
            self.clock.now += 1
            for endpoint in self.endpoints:
                self.fleet.saw_up(endpoint, "0.33.0")
                self.fleet.saw_models(endpoint, HELD)
                self._poll(endpoint)
            self.fleet.tick()
            for load in list(self.orders):
                if not load.is_over and not (load.phase == "unloading" and load.answered_at):
                    self._carry_out(load, None)
            self.wake()
            while self.held:
                model, endpoint = self.held.pop()
                self.fleet.pool(model).give_back(endpoint)
            self._settle()
            if not self.waiting and not self.served:
                break
        assert [one.model for one in self.waiting] == []

    def _apply(self, count: int, start: int) -> None:
        listed = [ADDRESSES[(start + number) % len(ADDRESSES)] for number in range(count)]
        pods = {address: Pod("p", "ai", max_loaded_models=ROOMS) for address in listed}
        new, _ = self.fleet.apply(listed, pods)
        for endpoint in new:
            self.ollamas[endpoint] = Ollama()
            self.fleet._weights.by_digest.update(WEIGHTS)  # until then two names of a file have slots of their own
            self.fleet.saw_models(endpoint, HELD)

    def _poll(self, endpoint: Endpoint) -> None:
        self.fleet.saw_residents(endpoint, self.ollamas[endpoint].residents(), self.clock.now)

    def _settle(self) -> None:
        """Settled tickets leave the account of waiting calls."""
        settled = [one for one in self.waiting if one.settled]
        assert all(one.settled == 1 for one in settled)
        self.waiting = [one for one in self.waiting if not one.settled]
        self.served += [one for one in settled if one.endpoint is not None]


def test_after_any_events_slots_are_counted_right_and_no_call_is_forgotten() -> None:
    """Calls, polls, loads, failures and discovery in any order; the machine above says what must hold."""
    run_state_machine_as_test(Balancing, settings=SETTINGS)
