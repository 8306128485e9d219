"""However turns are asked for, no stretch of time has more of them than a burst and what it earns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_gateway.cluster.token_bucket import TokenBucket

BURST, PER_SECOND = 5, 2.0
SLACK = 1e-6  # of sums of floats


@given(st.lists(st.floats(0.0, 10.0), max_size=60))
def test_no_stretch_of_time_has_more_than_a_burst_and_what_it_earns(steps: list[float]) -> None:
    """Each asks, is told to wait, and acts when its turn has come."""
    bucket, now, turns = TokenBucket(BURST, PER_SECOND), 100.0, []
    for step in steps:
        now += step
        turns.append(now + bucket.take(now))
    for first, begin in enumerate(turns):
        for last, end in enumerate(turns[first:], first):
            assert last - first + 1 <= BURST + (end - begin) * PER_SECOND + SLACK


def test_a_debt_is_paid_by_time_before_a_turn_is_free() -> None:
    """Those who were told to wait have taken the turns that come first."""
    bucket = TokenBucket(1, 1.0)
    assert [bucket.take(100.0) for _ in range(3)] == [0.0, 1.0, 2.0]
    assert bucket.take(102.0) == 1.0
    assert bucket.take(104.0) == 0.0


def test_a_pace_gives_a_burst_and_then_one_a_second() -> None:
    """However many ask, and a pause earns a new burst."""
    bucket = TokenBucket(50, 1.0)
    assert [bucket.take(100.0) for _ in range(50)] == [0.0] * 50
    assert [bucket.take(100.0) for _ in range(3)] == [1.0, 2.0, 3.0]
    assert [bucket.take(1000.0) for _ in range(50)] == [0.0] * 50


@pytest.mark.parametrize("now", [100.5, 100.0])
def test_a_turn_is_earned_by_time_alone(now: float) -> None:
    bucket = TokenBucket(1, 2.0)
    assert bucket.take(100.0) == 0.0
    assert bucket.take(now) == (0.0 if now > 100 else 0.5)
