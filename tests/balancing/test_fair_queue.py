"""Who goes first in a queue, and that nobody's count grows for nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.balancing.worlds import World

from ai_gateway.balancing import fair_queue
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fair_queue import BATCH_SECONDS, FairQueue
from ai_gateway.balancing.ticket import Claim, Ticket


class Calls:
    """A queue, and the calls in it by their names."""

    def __init__(self) -> None:
        self.queue = FairQueue()
        self.now = 0.0
        self.names: dict[Ticket, str] = {}

    def come(self, caller: str, is_batch: bool = False, avoid: frozenset[Endpoint] = frozenset()) -> Ticket:
        """A call of 10 tokens comes, one second after the last."""
        self.now += 1
        ticket = Ticket(avoid, lambda: None, Claim(caller, is_batch, tokens=10))
        ticket.came_at = self.now
        self.names[ticket] = f"{caller}{sum(name.startswith(caller) for name in self.names.values()) + 1}"
        self.queue.push(ticket)
        return ticket

    def go(self) -> str:
        """The next call is served."""
        ticket = self.queue.first(self.now)
        assert ticket is not None
        assert self.queue.remove(ticket)
        self.queue.charge(ticket.claim.caller, ticket.claim.tokens)
        return self.names[ticket]

    def go_all(self) -> list[str]:
        """The order of all."""
        return [self.go() for _ in range(len(self.queue))]


def test_one_caller_is_served_in_order() -> None:
    """First come, first served."""
    calls = Calls()
    for _ in range(3):
        calls.come("a")
    assert calls.go_all() == ["a1", "a2", "a3"]
    assert calls.queue.first(calls.now) is None


def test_the_caller_with_the_fewest_tokens_goes_first() -> None:
    """Ten calls of one do not hold up the one call of another."""
    calls = Calls()
    for _ in range(4):
        calls.come("a")
    calls.come("b")
    calls.come("b")
    assert calls.go_all() == ["a1", "b1", "a2", "b2", "a3", "a4"]


def test_tokens_count_and_not_calls() -> None:
    """Who asks for long answers has fewer of them."""
    calls = Calls()
    for caller in "ababab":
        calls.come(caller)
    calls.queue.charge("a", 25)
    assert calls.go_all() == ["b1", "b2", "b3", "a1", "a2", "a3"]


def test_a_count_that_changes_while_calls_wait_changes_their_place() -> None:
    """An estimate is settled by what an answer really took, up or down."""
    calls = Calls()
    calls.queue.charge("a", 100)
    calls.queue.charge("b", 50)
    for caller in "aabb":
        calls.come(caller)
    calls.queue.charge("a", -80)
    assert [calls.go(), calls.go()] == ["a1", "a2"]
    calls.queue.charge("b", -200)
    assert calls.queue.served["b"] == 0.0


def test_a_newcomer_saves_up_no_right() -> None:
    """It starts where the others are: else a caller that was away would have the fleet to itself."""
    calls = Calls()
    for _ in range(30):
        calls.come("a")
    for _ in range(20):
        calls.go()
    for _ in range(5):
        calls.come("b")
    order = [calls.go() for _ in range(8)]
    assert abs(sum(name.startswith("b") for name in order) - 4) <= 1


def test_a_caller_that_comes_back_has_not_lost_its_count() -> None:
    """Leaving and coming again is no way to the front."""
    calls = Calls()
    calls.come("a")
    calls.come("b")
    calls.queue.charge("a", 500)
    calls.queue.remove(next(iter(ticket for ticket in calls.queue if ticket.claim.caller == "a")))
    calls.come("a")
    calls.come("b")
    assert calls.go_all() == ["b1", "b2", "a2"]


def test_between_backlogged_callers_the_gap_is_one_call() -> None:
    """Whatever their numbers of calls are."""
    calls = Calls()
    for number in range(60):
        calls.come("b" if number % 6 == 0 else "a")
    for _ in range(18):
        calls.go()
        assert abs(calls.queue.served["a"] - calls.queue.served["b"]) <= 10


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 100)), min_size=30, max_size=200))
def test_the_gap_between_backlogged_callers_is_bounded(sizes: list[tuple[str, int]]) -> None:
    """By the largest call, as long as both have calls that wait: whatever they ask for, and in whatever order."""
    queue = FairQueue()
    for number, (caller, tokens) in enumerate(sizes):
        ticket = Ticket(frozenset(), lambda: None, Claim(caller, tokens=tokens))
        ticket.came_at = float(number)
        queue.push(ticket)
    got = dict.fromkeys(queue.callers(), 0)
    while len(queue.callers()) == len(got):
        served = queue.first(1000.0)
        assert served is not None
        queue.remove(served)
        queue.charge(served.claim.caller, served.claim.tokens)
        got[served.claim.caller] += served.claim.tokens
        assert max(got.values()) - min(got.values()) <= 100


def test_interactive_calls_go_before_batch_calls() -> None:
    """Until these have waited for half a minute: then they count the same."""
    calls = Calls()
    calls.come("x", is_batch=True)
    calls.come("x", is_batch=True)
    calls.come("a")
    assert calls.go() == "a1"
    calls.come("a")
    calls.now += BATCH_SECONDS
    calls.come("b")
    assert calls.go_all() == ["x1", "b1", "x2", "a2"]


def test_batch_calls_alone_wait_for_nobody() -> None:
    """A free slot is used."""
    calls = Calls()
    calls.come("x", is_batch=True)
    assert calls.go_all() == ["x1"]


def test_calls_that_are_sent_again_stand_in_front() -> None:
    """The newest first; they are none of the first attempts."""
    calls = Calls()
    (endpoint,) = World(1).endpoints
    calls.come("a")
    again = [calls.come("b", avoid=frozenset([endpoint])) for _ in range(2)]
    assert list(calls.queue.again()) == again[::-1]
    assert [calls.queue.position(ticket) for ticket in again] == [2, 1]
    assert calls.names[calls.queue.first(calls.now) or again[0]] == "a1"
    assert len(calls.queue) == 3
    assert set(calls.queue.firsts()) == set(calls.queue)
    assert all(calls.queue.remove(ticket) for ticket in again)
    assert not calls.queue.remove(again[0])


def test_a_position_tells_how_many_go_first() -> None:
    """If all callers are served alike; interactive ones stand before batch calls."""
    calls = Calls()
    tickets = [calls.come(caller) for caller in "aaab"]
    late = calls.come("b", is_batch=True)
    assert [calls.queue.position(ticket) for ticket in tickets] == [2, 3, 4, 2]
    assert calls.queue.position(late) == 5
    assert calls.queue.place_of_new(Claim("c")) == 3
    assert calls.queue.place_of_new(Claim("a")) == 5
    assert calls.queue.place_of_new(Claim("c", is_batch=True)) == 6


def test_a_call_that_leaves_from_the_middle_leaves_the_order() -> None:
    """Its caller's other calls keep their places."""
    calls = Calls()
    tickets = [calls.come("a") for _ in range(3)]
    calls.come("b")
    calls.queue.remove(tickets[0])
    calls.queue.remove(tickets[2])
    assert not calls.queue.remove(tickets[0])
    assert calls.go_all() == ["a2", "b1"]
    assert calls.queue.callers() == set()


def test_callers_that_do_not_wait_are_forgotten_when_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that wait are not, and neither calls that wait nor those that never did can fill the memory."""
    monkeypatch.setattr(fair_queue, "MOST_CALLERS", 100)
    calls = Calls()
    calls.come("waiting")
    calls.queue.charge("waiting", 7)
    for number in range(1000):
        calls.queue.charge(f"caller-{number}", 5)
    assert len(calls.queue.served) <= 101
    assert calls.queue.served["waiting"] == 7
    for number in range(1000):
        calls.queue.remove(calls.come(f"other-{number}"))
    assert len(calls.queue.served) <= 101


def test_many_changes_of_counts_do_not_fill_the_heap() -> None:
    """Old places are swept out."""
    calls = Calls()
    calls.come("a")
    calls.come("b")
    for _ in range(10_000):
        calls.queue.charge("a", 1)
    assert len(calls.queue._interactive._heap) < 100
    assert calls.go() == "b1"
