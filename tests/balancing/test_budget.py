"""Retries are a share of the running calls, so that they do not overload a failing fleet."""

from contextlib import suppress

from ai_gateway.balancing.budget import FLOOR, RetryBudget


def test_a_quiet_gateway_may_always_retry_a_little() -> None:
    """Three at a time, with no calls under way at all."""
    budget = RetryBudget(0.2)
    assert [budget.take() is not None for _ in range(FLOOR + 1)] == [True] * FLOOR + [False]


def test_a_busy_gateway_may_retry_its_share() -> None:
    """A fifth of 100 is twenty."""
    budget = RetryBudget(0.2)
    budget.active = 100
    assert sum(budget.take() is not None for _ in range(50)) == 20


def test_calls_that_are_over_count_no_more() -> None:
    """Also those that fail: else the budget would grow for ever."""
    budget = RetryBudget(0.2)
    with suppress(ValueError), budget:
        assert budget.active == 1
        raise ValueError
    assert budget.active == 0


def test_a_retry_that_is_over_makes_room() -> None:
    """The caller returns what it took."""
    budget = RetryBudget(0.0)
    taken = [retry for _ in range(FLOOR) if (retry := budget.take()) is not None]
    assert budget.take() is None
    with taken[0]:
        taken[0].end()  # its answer has begun: it is given back once
    assert (budget.retries, len(taken)) == (FLOOR - 1, FLOOR)
    assert budget.take() is not None
    assert budget.take() is None
