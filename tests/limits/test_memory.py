"""How many accounts are kept: idle ones go, floods stay within bounds, and no call loses its own."""

import time

from tests.limits.worlds import Clocks, admitted, rule

from ai_gateway.limits.admission import LimitExceeded
from ai_gateway.limits.memory import SWEEP_SECONDS


def test_idle_accounts_are_swept() -> None:
    clocks = Clocks()
    memory = clocks.memory()
    for number in range(3000):
        admitted(memory, [rule(f"c{number}", rpm=60)])
    assert len(memory) == 3000
    clocks.go(60)
    for _ in range(5):
        clocks.go(SWEEP_SECONDS / 100)
        admitted(memory, [rule("late", rpm=60)])
    assert len(memory) <= 2


def test_accounts_in_use_are_not_swept() -> None:
    """A call that runs, a minute that is not over, and a budget of today."""
    clocks = Clocks()
    memory = clocks.memory()
    running = memory.admit([rule("running", concurrent=1)], 0)
    admitted(memory, [rule("spent", tokens_per_day=10)], tokens=10)
    admitted(memory, [rule("debtor", tpm=10)], tokens=10)
    clocks.go(59)
    assert admitted(memory, [rule("late", rpm=1)]) == 1
    assert admitted(memory, [rule("running", concurrent=1)]) == 0
    assert admitted(memory, [rule("spent", tokens_per_day=10)], tokens=1) == 0
    assert admitted(memory, [rule("debtor", tpm=10)], tokens=10) == 0
    running.settle(0)  # type: ignore[union-attr]  # it was admitted
    assert admitted(memory, [rule("running", concurrent=1)]) == 1


def test_a_flood_of_callers_stays_within_bounds_and_is_quick() -> None:
    """A hundred thousand that come once each: it keeps half of them: the last ones, and those with running calls."""
    clocks = Clocks()
    memory = clocks.memory()
    running = memory.admit([rule("busy", concurrent=1)], 0)
    began = time.thread_time()
    for number in range(100_000):
        clocks.now += 0.0001
        admitted(memory, [rule(f"c{number}", rpm=1)])
    assert time.thread_time() - began < 20  # with a sweep of all for each it would be an hour
    assert len(memory) == 50_000
    assert isinstance(memory.admit([rule("c99999", rpm=1)], 0), LimitExceeded)
    assert isinstance(memory.admit([rule("busy", concurrent=1)], 0), LimitExceeded)
    running.settle(0)  # type: ignore[union-attr]  # it was admitted
    assert admitted(memory, [rule("busy", concurrent=1)]) == 1


def test_idle_accounts_are_dropped_first() -> None:
    clocks = Clocks()
    memory = clocks.memory(most=20)
    admitted(memory, [rule("debtor", rpm=1)])
    for number in range(19):
        admitted(memory, [rule(f"idle{number}", concurrent=1)])
    for number in range(15):
        admitted(memory, [rule(f"new{number}", rpm=1)])
    assert len(memory) == 20
    assert admitted(memory, [rule("debtor", rpm=1)]) == 0
