"""What gateways make of each other's reports: slots are what others leave, one decides on loads, nobody is shut out."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.balancing.worlds import Clock, addresses, held

from ai_gateway.balancing.choice import Choice
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.policy import POLICIES, Name
from ai_gateway.balancing.pool import Pool
from ai_gateway.balancing.report import Load, Report, decode, encode
from ai_gateway.balancing.reporting import Presence
from ai_gateway.balancing.resident import HeldModel, Resident
from ai_gateway.balancing.settings import FleetSettings, PoolSettings
from ai_gateway.balancing.ticket import Claim, Ticket

MODEL, OTHER = "llama3:latest", "coder:latest"
SLOTS = 4


class Gateway:
    """One gateway of several over the same endpoints, which have MODEL loaded and hold OTHER as well."""

    def __init__(self, own: str = "a", endpoints: int = 1, clock: Clock | None = None) -> None:
        self.own = own
        self.clock = clock or Clock()
        settings = FleetSettings(others=PoolSettings(SLOTS, None, 100))
        self.fleet = Fleet(self.clock, random.Random(1), settings)
        self.fleet.apply(addresses(endpoints))
        for endpoint in self.endpoints:
            self.fleet.saw_up(endpoint, "0.33.0")
            self.fleet.saw_models(endpoint, held(MODEL, OTHER))
            self.fleet.saw_residents(endpoint, (Resident(MODEL, f"sha256:{MODEL}", size=1),), self.clock.now)

    @property
    def endpoints(self) -> list[Endpoint]:
        """In the order of discovery."""
        return list(self.fleet.endpoints.values())

    @property
    def pool(self) -> Pool:
        """Of MODEL."""
        return self.fleet.pool(MODEL)

    def hear(self, *reports: Report, silent: tuple[str, ...] = (), terminating: tuple[str, ...] = ()) -> None:
        """A round of reports; `silent` gateways are ready and send none."""
        uids = frozenset(report.uid for report in reports)
        present = Presence(
            own=self.own,
            is_known=True,
            count=len(uids) + len(silent) + 1,
            ready=(uids | {self.own, *silent}) - set(terminating),
            terminating=frozenset(terminating),
            fresh=uids,
        )
        self.fleet.peers.take_reports({report.uid: (report, self.clock.now) for report in reports}, present)

    def obey(self) -> None:
        """Carries out all loads at once, as an endpoint would that takes no time for them."""
        loads = self.fleet.loads
        for _ in range(4):
            for load in list(loads.of.values()):
                listed = {one.entry.name for one in (load.endpoint.residency.loaded or {}).values()}
                if load.phase == "unloading" and load.victim is not None:
                    loads.unloaded(load)
                    listed.discard(load.victim.name)
                elif load.phase == "loading":
                    loads.loaded(load)
                    listed.add(load.model)
                residents = tuple(Resident(name, f"sha256:{name}", size=1) for name in sorted(listed))
                self.fleet.saw_residents(load.endpoint, residents, self.clock.now)

    def taken(self) -> int:
        """How many calls get a slot at once."""
        taken = 0
        while taken <= SLOTS * len(self.endpoints) and self.pool.ask() is not None:
            taken += 1
        return taken

    def wait(self, model: str = MODEL, caller: str = "") -> Ticket:
        """A call that waits."""
        pool, claim = self.fleet.pool(model), Claim(caller, tokens=100)
        assert pool.ask(claim=claim) is None
        ticket = Ticket(frozenset(), lambda: None, claim)
        pool.wait(ticket)
        return ticket


def report(uid: str, calls: int = 0, **more: object) -> Report:
    """A report of a gateway that runs so many calls of MODEL on the first endpoint, as it comes over the wire."""
    made = Report(uid=uid, may_lead=True, in_flight={"pod-0:11434": {MODEL: calls}})
    return decode(encode(replace(made, **more)))


def test_slots_are_what_others_leave() -> None:
    """Three calls of another gateway leave one of four slots."""
    gateway = Gateway()
    gateway.hear(report("b", 3))
    assert gateway.taken() == 1


def test_a_slot_that_another_gateway_gives_back_is_used_with_its_next_report() -> None:
    """A call that waits gets it then."""
    gateway = Gateway()
    gateway.hear(report("b", SLOTS))
    ticket = gateway.wait()
    assert ticket.choice is None
    gateway.hear(report("b", SLOTS - 1))
    assert ticket.choice is not None


def test_without_any_report_each_keeps_to_its_share_and_one_more() -> None:
    """Of four slots one of two gateways takes three."""
    gateway = Gateway()
    gateway.hear(silent=("b",))
    assert gateway.taken() == 3


def test_a_silent_gateway_is_thought_to_use_its_share() -> None:
    """One of three does not report: a third of four slots is left to it, rounded down."""
    gateway = Gateway()
    gateway.hear(report("b", 1), silent=("c",))
    assert gateway.taken() == 2


def test_absurd_counts_unknown_endpoints_and_models_change_nothing_else() -> None:
    """Counts are clamped to the slots, and what is not here is dropped."""
    gateway = Gateway(endpoints=2)
    strange = {"pod-0:11434": {MODEL: 10**9, "no:model": 5}, "nowhere:1": {MODEL: 4}}
    gateway.hear(report("b", in_flight=strange, waiting={"no:model": (9, 9.0)}))
    assert [endpoint.total_peers for endpoint in gateway.endpoints] == [SLOTS, 0]
    assert gateway.taken() == SLOTS
    assert {pool.model for pool in gateway.fleet.pools()} == {MODEL}


def test_a_gateway_tells_of_no_more_calls_that_wait_than_may_wait() -> None:
    """Nor of one that waits for longer than a load may take: it would have been refused."""
    gateway = Gateway()
    gateway.hear(report("b", waiting={MODEL: (10**6, 10.0**6)}), report("c", waiting={MODEL: (1, 2.0)}))
    assert (gateway.pool.peer_waiting, gateway.pool.peer_oldest_seconds) == (101, 300.0)


def test_the_first_by_uid_that_is_fit_leads() -> None:
    """Not one that may not load, is terminating, or is silent."""
    gateway = Gateway("m")
    peers = gateway.fleet.peers
    gateway.hear(report("z"))
    assert peers.leads
    gateway.hear(report("b"))
    assert (peers.leads, peers.leader) == (False, "b")
    gateway.hear(report("b", may_lead=False), report("c"), silent=("a",), terminating=("c",))
    assert peers.leads


def test_only_the_leader_loads_and_it_loads_for_calls_of_others() -> None:
    """A model that only another gateway is asked for is loaded by the leader."""
    leader, other = Gateway("a", 2), Gateway("b", 2)
    other.hear(report("a"))
    other.wait(OTHER)
    other.fleet.tick()
    assert not other.fleet.loads.of
    leader.hear(replace(other.fleet.peers.make_report(), uid="b"))
    leader.fleet.decide()
    assert [load.model for load in leader.fleet.loads.of.values()] == [OTHER]


def test_where_another_gateway_reserves_nothing_is_sent() -> None:
    """The runner that must go gets no more calls; when the load is over or given up it may again."""
    gateway = Gateway()
    load = Load("pod-0:11434", f"sha256:{MODEL}", OTHER, "reserved", 1.0)
    gateway.hear(report("0", loads=(load,)))
    assert gateway.taken() == 0
    gateway.hear(report("0"))
    assert gateway.taken() == SLOTS


def test_a_load_that_another_gateway_announced_is_not_begun_again() -> None:
    """Also by a gateway that takes itself for the leader."""
    gateway = Gateway("a")
    gateway.wait(OTHER)
    gateway.hear(report("b", loads=(Load("pod-0:11434", "x", OTHER, "loading", 1.0),)))
    gateway.fleet.decide()
    assert gateway.fleet.peers.leads
    assert not gateway.fleet.loads.of


def test_when_the_load_of_another_gateway_ends_the_endpoint_is_looked_at() -> None:
    """So calls that wait here go on before the next poll."""
    gateway = Gateway("b")
    looks: list[Endpoint] = []
    gateway.fleet.peers.look = looks.append
    gateway.hear(report("a", loads=(Load("pod-0:11434", "x", OTHER, "loading", 1.0),)))
    gateway.hear(report("a"))
    assert looks == gateway.endpoints


def test_a_leader_that_loads_nothing_is_passed_over() -> None:
    """After twice `balancing.starve`; the next one by uid does its work."""
    gateway = Gateway("m")
    gateway.hear(report("a"))
    gateway.wait(OTHER)
    gateway.clock.now += 2 * gateway.fleet.loads.starve_seconds - 1
    gateway.hear(report("a"))
    assert gateway.fleet.peers.leader == "a"
    gateway.clock.now += 2
    gateway.hear(report("a"))
    assert gateway.fleet.peers.leads
    gateway.fleet.decide()
    assert gateway.fleet.loads.of


def loads_soon(gateway: Gateway, told: Report) -> bool:
    """Whether it leads and loads two seconds later; in the second round the loads of others count no more."""
    gateway.clock.now += 2
    gateway.hear(told)
    gateway.hear(told)
    gateway.fleet.decide()
    return gateway.fleet.peers.leads and bool(gateway.fleet.loads.of)


@pytest.mark.parametrize(("model", "seconds"), [("another:latest", 160.0), (OTHER, 300.0)])
def test_a_leader_that_tells_of_loads_for_ever_is_passed_over(model: str, seconds: float) -> None:
    """After eight times `balancing.starve`; for a load of this very model after half of `timeouts.load`, if longer."""
    gateway = Gateway("m", endpoints=2)
    settings = FleetSettings(others=PoolSettings(SLOTS, None, 100, load_seconds=600.0))
    list(gateway.fleet.configure(settings))
    told = report("a", loads=(Load("pod-0:11434", "runner", model, "loading", 1.0),))
    gateway.hear(told)
    gateway.wait(OTHER)
    gateway.clock.now += seconds - 1
    gateway.hear(told)
    assert gateway.fleet.peers.leader == "a"
    assert loads_soon(gateway, told)


def test_not_even_a_gateway_that_does_not_lead_may_tell_of_loads_for_ever() -> None:
    """Where this gateway leads, it has as much time as a leader that loads other models."""
    gateway = Gateway("a", 2)
    told = report("z", loads=tuple(Load(f"pod-{number}:11434", "x", MODEL, "loading", 1.0) for number in range(2)))
    gateway.hear(told)
    gateway.wait(OTHER)
    gateway.clock.now += 159
    gateway.hear(told)
    gateway.fleet.decide()
    assert not gateway.fleet.loads.of
    assert loads_soon(gateway, told)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_gateway_that_claims_all_slots_shuts_nobody_out(policy: Name) -> None:
    """A call that has waited `balancing.starve` is sent where this gateway runs none."""
    gateway = Gateway()
    list(gateway.fleet.configure(FleetSettings(others=PoolSettings(SLOTS, None, 100, policy))))
    gateway.hear(report("b", 10**6))
    ticket = gateway.wait()
    gateway.clock.now += gateway.fleet.loads.starve_seconds
    gateway.fleet.tick()
    assert ticket.choice is not None
    assert ticket.choice.reason == "waited"


def test_a_caller_that_others_served_waits_longer() -> None:
    """Tokens that another gateway has served count in the order, and callers are not named in reports."""
    here, there = Gateway("a"), Gateway("b")
    for gateway in (here, there):
        gateway.hear(report("z", SLOTS))  # no slot is free
    first, second = here.wait(caller="greedy"), here.wait(caller="modest")
    there.wait(caller="greedy")
    told = replace(there.fleet.peers.make_report(), uid="b")
    here.hear(told, report("z", SLOTS))
    there.pool.queue.charge("greedy", 5000)
    told = decode(encode(replace(there.fleet.peers.make_report(), uid="b")))
    assert "greedy" not in str(told.tokens)
    here.hear(told, report("z", SLOTS))
    here.hear(told, report("z", SLOTS - 1))
    assert (first.choice, second.choice is None) == (None, False)


def test_a_gateway_without_a_valid_config_never_leads() -> None:
    """`may_lead` is asked anew each round."""
    gateway = Gateway("a")
    gateway.fleet.peers.may_lead = lambda: False
    gateway.hear(report("b"))
    assert gateway.fleet.peers.leader == "b"
    assert not gateway.fleet.peers.make_report().may_lead


def test_where_the_other_gateways_are_not_known_it_does_not_load_by_itself() -> None:
    """`balancing.loads: auto` is `never` then, and calls go to the least busy endpoint after `balancing.starve`."""
    gateway = Gateway("")
    gateway.fleet.peers.take_reports({}, Presence(own="", is_known=False, count=1))
    ticket = gateway.wait(OTHER)
    gateway.fleet.tick()
    assert not gateway.fleet.loads.of
    gateway.clock.now += gateway.fleet.loads.starve_seconds
    gateway.fleet.tick()
    assert ticket.choice == Choice(gateway.endpoints[0], "waited", False)


AUTHORITIES = st.sampled_from(["pod-0:11434", "pod-1:11434", "nowhere:1"])
MODELS = st.sampled_from([MODEL, OTHER, "no:model"])
REPORTS = st.builds(
    Report,
    uid=st.sampled_from(["a", "c", "d"]),
    leads=st.booleans(),
    may_lead=st.booleans(),
    in_flight=st.dictionaries(AUTHORITIES, st.dictionaries(MODELS, st.integers(0, 10**9))),
    waiting=st.dictionaries(MODELS, st.tuples(st.integers(0, 10**9), st.floats(0, 1e9))),
    rates=st.dictionaries(MODELS, st.floats(0, 1e9)),
    tokens=st.dictionaries(st.text(), st.integers(0, 2**53)),
    key=st.text(max_size=40),
    loads=st.builds(
        lambda *loads: loads,
        st.builds(
            Load, AUTHORITIES, st.sampled_from([f"sha256:{MODEL}", "x"]), MODELS,
            st.sampled_from(["reserved", "unloading", "loading"]), st.floats(0, 1e6),
        ),
    ),
)  # fmt: skip


@given(rounds=st.lists(st.lists(REPORTS, max_size=3, unique_by=lambda one: one.uid), min_size=1, max_size=6))
def test_whatever_reports_say_calls_go_on(rounds: list[list[Report]]) -> None:
    """Late, lost and contradicting reports: counts stay right, and every call gets a slot once they end."""
    gateway = Gateway("b", 2)
    ticket = None
    for number, reports in enumerate(rounds):
        gateway.hear(*reports)
        if number == 0:
            choice = gateway.pool.ask()
            ticket = gateway.wait() if choice is None else None
        gateway.clock.now += 1
        gateway.fleet.tick()
        for endpoint in gateway.endpoints:
            assert 0 <= endpoint.total_peers == sum(endpoint.peers.values())
            assert all(count <= 3 * SLOTS for count in endpoint.peers.values())
            assert endpoint.total_in_flight == sum(endpoint.in_flight.values())
    for _ in range(100):
        gateway.clock.now += 1
        gateway.hear()
        gateway.fleet.tick()
        gateway.obey()
    assert ticket is None or ticket.choice is not None


def test_what_others_held_is_free_when_they_are_gone() -> None:
    """No later event would wake the call that waits."""
    gateway = Gateway()
    gateway.hear(report("b", SLOTS))
    ticket = gateway.wait()
    gateway.hear()
    assert ticket.choice is not None


def test_a_leader_that_loads_other_models_is_given_more_time() -> None:
    """It may have no room for this one yet; but not for ever."""
    gateway = Gateway("m", 2)
    busy = report("a", loads=(Load("pod-0:11434", "x", MODEL, "loading", 1.0),))
    gateway.hear(busy)
    gateway.wait(OTHER)
    starve = gateway.fleet.loads.starve_seconds
    for _ in range(7):
        gateway.clock.now += starve
        gateway.hear(busy)
    assert gateway.fleet.peers.leader == "a"
    gateway.clock.now += 2 * starve
    gateway.hear(busy)
    assert gateway.fleet.peers.leads


def test_a_retry_time_knows_the_loads_of_others() -> None:
    """The one that decides tells how old its load is."""
    gateway = Gateway("b")
    gateway.fleet.learned.load_seconds.note(f"sha256:{OTHER}", 100.0)
    gateway.hear(report("a", loads=(Load("pod-0:11434", "x", OTHER, "loading", 40.0),)))
    assert gateway.fleet.load_seconds_left(gateway.fleet.pool(OTHER)) == 60.0


def test_a_call_that_passes_reports_keeps_to_the_slots_of_this_gateway() -> None:
    """Another name of the same file may have them all."""
    gateway = Gateway()
    (endpoint,) = gateway.endpoints
    shared = {name: HeldModel(name, f"sha256:{MODEL}", 1, 0) for name in (MODEL, OTHER)}
    gateway.fleet.saw_models(endpoint, shared)
    assert gateway.taken() == SLOTS
    gateway.hear(report("b", 1))
    ticket = gateway.wait(OTHER)
    gateway.clock.now += 2 * gateway.fleet.loads.starve_seconds
    gateway.fleet.tick()
    assert ticket.choice is None


def test_it_is_busy_while_calls_run_or_wait_here_or_elsewhere() -> None:
    """Then reports are asked for more often."""
    gateway = Gateway(endpoints=1)
    seen = [gateway.fleet.peers.is_busy]
    choice = gateway.pool.ask()
    assert choice is not None
    seen.append(gateway.fleet.peers.is_busy)
    gateway.pool.give_back(choice.endpoint)
    for told in (report("b"), report("b", 1), report("b"), report("b", waiting={MODEL: (1, 0.5)}), report("b")):
        gateway.hear(told)
        seen.append(gateway.fleet.peers.is_busy)
    assert seen == [False, True, False, True, False, True, False]


def test_a_late_poll_keeps_the_last_view_while_another_gateway_loads() -> None:
    """Ollama may tell nothing meanwhile; without a view, calls would go there, and be loads that nobody decided."""
    gateway = Gateway("b")
    (endpoint,) = gateway.endpoints
    loading = report("a", loads=(Load("pod-0:11434", f"sha256:{OTHER}", OTHER, "loading", 1.0),))
    gateway.hear(loading)
    ticket = gateway.wait(OTHER)
    for _ in range(30):
        gateway.clock.now += 1
        gateway.fleet.saw_residents(endpoint, None)
        gateway.hear(loading)
    assert ticket.choice is None
    assert endpoint.is_resident(MODEL)


def test_a_gateway_that_leaves_decides_for_its_calls_if_nobody_else_can() -> None:
    """It takes calls until its port closes, and no other gateway knows of them."""
    gateway = Gateway("a")
    gateway.hear()
    gateway.fleet.is_leaving = True
    gateway.hear(report("b"))
    gateway.wait(OTHER)
    assert not gateway.fleet.decides
    gateway.hear()
    assert not gateway.fleet.peers.leads
    gateway.fleet.decide()
    assert gateway.fleet.loads.of


def test_two_that_pass_each_other_over_still_heed_their_loads() -> None:
    """Else each would send calls to what the other one empties, and neither would ever load."""
    gateway = Gateway("m", 2)
    gateway.hear(report("a"))
    gateway.wait(OTHER)
    gateway.clock.now += 2 * gateway.fleet.loads.starve_seconds + 1
    gateway.hear(report("a"))
    assert gateway.fleet.peers.leads
    first, second = gateway.endpoints
    gateway.hear(report("a", loads=(Load("pod-0:11434", f"sha256:{MODEL}", OTHER, "reserved", 1.0),)))
    assert gateway.fleet.peers.leads
    assert first.is_reserved(MODEL)
    assert not second.is_reserved(MODEL)
