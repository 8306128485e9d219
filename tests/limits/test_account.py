"""The arithmetic of limits: exact rates, debts that are paid off, and nothing that drifts."""

import math

from hypothesis import given
from hypothesis import strategies as st
from tests.limits.worlds import Clocks, admitted, rule

from ai_gateway.exchange import Allowance
from ai_gateway.limits.account import Account, Charge, charge, settle, shortage
from ai_gateway.limits.admission import LimitExceeded
from ai_gateway.limits.rates import MINUTE_SECONDS, rates


def test_a_burst_is_the_limit_and_then_the_rate_is_exact() -> None:
    """Sixty a minute: sixty at once, and from then on one a second."""
    clocks = Clocks()
    memory, limit = clocks.memory(), [rule(rpm=60)]
    assert admitted(memory, limit, tries=100) == 60
    clocks.go(0.999)
    assert admitted(memory, limit) == 0
    clocks.go(0.001)
    assert admitted(memory, limit, tries=2) == 1
    clocks.go(30)
    assert admitted(memory, limit, tries=100) == 30


def test_the_reported_wait_is_the_needed_wait() -> None:
    clocks = Clocks()
    memory, limit = clocks.memory(), [rule(rpm=7)]
    assert admitted(memory, limit, tries=9) == 7
    exceeded = memory.admit(limit, 0)
    assert isinstance(exceeded, LimitExceeded)
    assert math.isclose(exceeded.wait_seconds, 60 / 7)
    clocks.go(exceeded.wait_seconds - 0.001)
    assert admitted(memory, limit) == 0
    clocks.go(0.001)
    assert admitted(memory, limit, tries=5) == 1


@given(
    limit=st.integers(1, 5000),
    gaps=st.lists(st.floats(0, 3), min_size=1, max_size=300),
)
def test_never_more_than_the_burst_and_the_rate(limit: int, gaps: list[float]) -> None:
    """Whenever calls come: what is admitted stays below the line, and a patient client loses nothing."""
    account, allowed, now, count = Account(), rates(Allowance(rpm=limit), 1), 0.0, 0
    clocks = Clocks()
    for gap in gaps:
        now += gap
        clocks.now = now
        while shortage(allowed, account, 0, clocks.days.instant()) is None:
            charge(allowed, account, 0, clocks.days.instant())
            count += 1
            assert count <= limit + now * limit / MINUTE_SECONDS + 0.01
    assert count >= min(limit, 1)


def test_a_limit_is_met_within_one_percent_over_ten_minutes() -> None:
    """By calls that come all the time, three times as many as may."""
    clocks = Clocks()
    memory, limit = clocks.memory(), [rule(rpm=600)]
    admitted(memory, limit, tries=1000)
    count = 0
    for _ in range(6000):
        clocks.go(0.1)
        count += admitted(memory, limit, tries=3)
    assert abs(count - 6000) <= 60


step = st.tuples(st.floats(0, 20), st.integers(0, 400), st.integers(0, 600), st.integers(0, 30))


@given(limit=st.integers(100, 1000), steps=st.lists(step, min_size=1, max_size=200))
def test_tokens_never_drift(limit: int, steps: list[tuple[float, int, int, int]]) -> None:
    """What was really used stays below the line, but for one reservation of each call that ran longer than thought.

    Calls overlap in any order; each reserves what it thinks and settles what it used.
    """
    clocks = Clocks()
    memory, rules = clocks.memory(), [rule(tpm=limit)]
    running: list[tuple[int, object, int, int]] = []
    used = overshoot = 0
    began = clocks.now
    for number, (gap, reserved, real, lasts) in enumerate(steps):
        clocks.go(gap)
        for _, held, tokens, thought in [one for one in running if one[0] <= number]:
            held.settle(tokens)  # type: ignore[attr-defined]  # of a Held
            used += tokens
            overshoot += max(0, tokens - min(thought, limit))
        running = [one for one in running if one[0] > number]
        verdict = memory.admit(rules, reserved)
        if not isinstance(verdict, LimitExceeded):
            running.append((number + lasts, verdict, real, reserved))
        line = limit + (clocks.now - began) * limit / MINUTE_SECONDS
        assert used <= line + overshoot + 0.01


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 5000)), min_size=1, max_size=50))
def test_a_busy_account_holds_exactly_what_was_used(calls: list[tuple[int, int]]) -> None:
    """Debts and refunds to the last token, in whatever order calls end."""
    clocks = Clocks()
    instant = clocks.days.instant()
    account, allowed = Account(), rates(Allowance(tpm=1000, tokens_per_day=10**9), 1)
    account.tokens_until = instant.now + 1e5  # so deep in debt that nothing drains to its floor
    holds: list[tuple[Charge, int]] = [(charge(allowed, account, thought, instant), real) for thought, real in calls]
    for hold, real in reversed(holds):
        settle(hold, real, instant.now)
    total = sum(real for _, real in calls)
    assert math.isclose(account.tokens_until, instant.now + 1e5 + total * 0.06, abs_tol=1e-4)
    assert account.used(instant.today) == total
    assert account.running == 0


def test_a_call_settles_once() -> None:
    clocks = Clocks()
    memory = clocks.memory()
    verdict = memory.admit([rule(concurrent=2, tokens_per_day=100)], 10)
    assert not isinstance(verdict, LimitExceeded)
    verdict.settle(7)
    verdict.settle(7)
    (account,) = verdict.counts.accounts
    assert (account.running, account.day_tokens) == (0, 7)


def test_a_refused_call_costs_nothing() -> None:
    """Neither of the limits that would have admitted it."""
    clocks = Clocks()
    memory = clocks.memory()
    wide, narrow = rule("team", rpm=10), rule("alice", rpm=1)
    assert admitted(memory, [wide, narrow], tries=9) == 1
    assert admitted(memory, [wide], tries=20) == 9


def test_the_longest_wait_is_reported() -> None:
    """After that wait, no other limit refuses the call."""
    clocks = Clocks()
    memory = clocks.memory()
    both = [rule("alice", rpm=60, tpm=1000), rule("team", tpm=500)]
    assert admitted(memory, both, tokens=500) == 1
    exceeded = memory.admit(both, 500)
    assert isinstance(exceeded, LimitExceeded)
    assert (exceeded.kind, exceeded.rule.name) == ("tpm", "team")
    assert math.isclose(exceeded.wait_seconds, 60)


def test_gateways_share_a_limit_and_none_has_less_than_one() -> None:
    share = rates(Allowance(rpm=10, tpm=10_000, concurrent=2, tokens_per_day=1000), 4)
    assert share.share == Allowance(rpm=2, tpm=2500, concurrent=1, tokens_per_day=250)
    assert math.isclose(share.request_seconds, 24)  # a rate of 2.5, not of 2
    assert rates(Allowance(rpm=1, tpm=1, concurrent=1, tokens_per_day=1), 9).share == Allowance(1, 1, 1, 1)
