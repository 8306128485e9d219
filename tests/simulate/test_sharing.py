"""What runs on a pod shares its speed."""

import math

from bench.simulate.sharing import Sharing


def test_a_call_that_is_alone_takes_its_own_time() -> None:
    sharing = Sharing[str]()
    sharing.enter(5.0, ((2.0, "first"), (10.0, "last")))
    assert sharing.next_time() == 7.0
    assert sharing.reached(7.0) == ["first"]
    assert sharing.next_time() == 15.0


def test_a_second_call_slows_both_by_a_fifth_from_its_arrival_on() -> None:
    sharing = Sharing[str]()
    sharing.enter(0.0, ((10.0, "a"),))
    sharing.enter(4.0, ((3.0, "b"),))
    assert math.isclose(sharing.next_time(), 4.0 + 3.0 * 1.2)
    assert sharing.reached(4.0 + 3.0 * 1.2) == ["b"]
    sharing.leave(7.6)
    assert math.isclose(sharing.next_time(), 7.6 + 3.0)  # of its 10 s of work a has done 4 + 3


def test_four_calls_each_run_at_five_eighths() -> None:
    sharing = Sharing[int]()
    for number in range(4):
        sharing.enter(0.0, ((1.0, number),))
    assert math.isclose(sharing.rate, 1 / 1.6)
    assert sharing.reached(1.6) == [0, 1, 2, 3]


def test_a_pod_three_times_slower_takes_three_times_as_long() -> None:
    sharing = Sharing[str](speed=1 / 3)
    sharing.enter(0.0, ((2.0, "a"),))
    assert math.isclose(sharing.next_time(), 6.0)


def test_nothing_is_reached_when_nothing_runs() -> None:
    assert Sharing[str]().next_time() == math.inf
    assert Sharing[str]().reached(100.0) == []
