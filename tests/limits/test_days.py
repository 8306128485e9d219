"""Budgets of a day: the wall clock names the day, whatever it does, and no budget is given twice."""

from tests.limits.worlds import NOON, Clocks, admitted, rule

from ai_gateway.limits.rates import DAY_SECONDS
from ai_gateway.limits.rules import caller_scope

BUDGET = [rule(tokens_per_day=100)]
TODAY = int(NOON // DAY_SECONDS)


def test_a_budget_is_renewed_the_next_day() -> None:
    clocks = Clocks()
    memory = clocks.memory()
    assert admitted(memory, BUDGET, tokens=40, tries=5) == 2
    clocks.go(DAY_SECONDS / 2 - 1)
    assert admitted(memory, BUDGET, tokens=40) == 0
    clocks.go(1)
    assert admitted(memory, BUDGET, tokens=40, tries=5) == 2


def test_the_wait_is_until_midnight() -> None:
    clocks = Clocks()
    memory = clocks.memory()
    admitted(memory, BUDGET, tokens=100)
    verdict = memory.admit(BUDGET, 1)
    assert getattr(verdict, "wait_seconds", None) == DAY_SECONDS / 2


def test_setting_the_clock_back_gives_no_budget_twice() -> None:
    """Neither the day that it goes back to, nor the one that comes again."""
    clocks = Clocks()
    memory = clocks.memory()
    assert admitted(memory, BUDGET, tokens=100) == 1
    clocks.go(DAY_SECONDS)
    assert admitted(memory, BUDGET, tokens=100) == 1
    clocks.wall -= DAY_SECONDS
    assert admitted(memory, BUDGET, tokens=100) == 0
    clocks.go(DAY_SECONDS - 1)
    assert admitted(memory, BUDGET, tokens=100) == 0


def test_a_clock_that_was_years_ahead_is_believed_after_a_day() -> None:
    """Else no budget would be there again for years."""
    clocks = Clocks()
    memory = clocks.memory()
    clocks.wall += 3650 * DAY_SECONDS
    assert admitted(memory, BUDGET, tokens=100) == 1
    clocks.wall -= 3650 * DAY_SECONDS
    assert admitted(memory, BUDGET, tokens=100) == 0
    clocks.go(DAY_SECONDS)
    assert admitted(memory, BUDGET, tokens=100) == 1
    assert clocks.days.instant().today == TODAY + 1


def test_clock_jumps_do_not_affect_limits_per_minute() -> None:
    clocks = Clocks()
    memory, limit = clocks.memory(), [rule(rpm=10)]
    assert admitted(memory, limit, tries=20) == 10
    for jump in (DAY_SECONDS, -5 * DAY_SECONDS, 3600):
        clocks.wall += jump
        assert admitted(memory, limit) == 0
    clocks.go(6)
    assert admitted(memory, limit, tries=5) == 1


def test_tokens_belong_to_the_day_on_which_their_call_began() -> None:
    clocks = Clocks()
    memory = clocks.memory()
    late = memory.admit(BUDGET, 90)
    clocks.go(DAY_SECONDS / 2)
    early = memory.admit(BUDGET, 50)
    late.settle(100)  # type: ignore[union-attr]  # both were admitted
    early.settle(60)  # type: ignore[union-attr]
    assert admitted(memory, BUDGET, tokens=40) == 1
    assert admitted(memory, BUDGET, tokens=1) == 0


def test_tokens_used_before_startup_count() -> None:
    clocks = Clocks()
    memory = clocks.memory()
    memory.seed({caller_scope("keys", "alice"): 70})
    assert admitted(memory, BUDGET, tokens=40) == 0
    assert admitted(memory, BUDGET, tokens=30) == 1
    clocks.go(DAY_SECONDS)
    assert admitted(memory, BUDGET, tokens=100) == 1
