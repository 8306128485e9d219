"""When a failing endpoint or model is ejected, for how long, and when it is tried again."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from ai_gateway.balancing.endpoint import (
    FIRST_EJECTION_SECONDS,
    JITTER,
    LONGEST_EJECTION_SECONDS,
    THRESHOLD,
    EjectionState,
)


class Middle(random.Random):
    """Chance without surprises."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def test_the_threshold_is_in_a_row() -> None:
    """A success between failures begins the count anew."""
    health = EjectionState(Middle())
    for _ in range(3):
        for _ in range(THRESHOLD - 1):
            assert not health.fail(0, may_eject=True)
        assert not health.succeed()
    assert not health.is_ejected


def test_an_ejection_has_an_end_and_then_a_probation() -> None:
    """Five seconds at first."""
    health = EjectionState(Middle(), threshold=1)
    assert health.fail(100, may_eject=True)
    assert health.is_ejected
    assert not health.is_on_probation(100 + FIRST_EJECTION_SECONDS - 0.01)
    assert health.is_on_probation(100 + FIRST_EJECTION_SECONDS)
    assert health.succeed()
    assert not health.is_ejected


def test_ejections_grow_until_a_success() -> None:
    """5 s, 10 s, 15 s and so on, never above a minute; a success begins them anew."""
    health = EjectionState(Middle(), threshold=1)
    now, lengths = 0.0, []
    for _ in range(15):
        assert health.fail(now, may_eject=True)
        assert health.ejected_until is not None
        lengths.append(health.ejected_until - now)
        now = health.ejected_until
    assert lengths == [min(5.0 * count, LONGEST_EJECTION_SECONDS) for count in range(1, 16)]
    health.succeed()
    health.fail(now, may_eject=True)
    assert health.ejected_until == now + FIRST_EJECTION_SECONDS


def test_failures_during_an_ejection_do_not_prolong_it() -> None:
    """Calls that were under way when it began may still fail."""
    health = EjectionState(Middle(), threshold=1)
    health.fail(0, may_eject=True)
    assert not health.fail(4, may_eject=True)
    assert health.ejected_until == FIRST_EJECTION_SECONDS


def test_nothing_is_ejected_without_permission() -> None:
    """It is as soon as it may, at its next failure."""
    health = EjectionState(Middle())
    for _ in range(9):
        assert not health.fail(0, may_eject=False)
    assert health.fail(0, may_eject=True)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.integers(), st.integers(1, 20))
def test_jitter_moves_an_ejection_by_a_fifth_at_most(seed: int, ejections: int) -> None:
    """So that several gateways do not come back together, and none much too early."""
    health = EjectionState(random.Random(seed), threshold=1)
    now = 0.0
    for count in range(1, ejections + 1):
        health.fail(now, may_eject=True)
        assert health.ejected_until is not None
        middle = min(FIRST_EJECTION_SECONDS * count, LONGEST_EJECTION_SECONDS)
        length = health.ejected_until - now
        assert middle * (1 - JITTER) - 0.001 <= length <= middle * (1 + JITTER) + 0.001
        now = health.ejected_until


def test_jitter_moves_an_ejection() -> None:
    """Two gateways that saw the same failure come back at different times."""
    ends = set()
    for seed in range(5):
        health = EjectionState(random.Random(seed), threshold=1)
        health.fail(0, may_eject=True)
        ends.add(health.ejected_until)
    assert len(ends) == 5
