"""What every store of counts must do, in memory and in Redis alike."""

import math
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from tests.limits.worlds import rule
from tests.redis.conftest import Open

from ai_gateway.limits.admission import Grant, LimitExceeded
from ai_gateway.limits.days import Days
from ai_gateway.limits.memory import Memory
from ai_gateway.limits.rules import LimitRule

pytestmark = pytest.mark.services

Verdict = Grant | LimitExceeded
Admit = Callable[[Sequence[LimitRule], int], Coroutine[Any, Any, Verdict]]


@pytest.fixture(params=["memory", "redis"])
async def admit(request: pytest.FixtureRequest, opened: Open) -> Admit:
    """Each of them."""
    if request.param == "memory":
        memory = Memory(Days(time.time, time.monotonic))

        async def in_memory(rules: Sequence[LimitRule], tokens: int) -> Verdict:
            return memory.admit(rules, tokens)

        return in_memory
    shared = await opened()

    async def in_redis(rules: Sequence[LimitRule], tokens: int) -> Verdict:
        verdict = await shared.admit(rules, tokens, 60.0)
        assert verdict is not None, "it is not away"
        return verdict

    return in_redis


async def granted(admit: Admit, rules: Sequence[LimitRule], tokens: int = 0) -> Grant:
    """A call that is admitted."""
    verdict = await admit(rules, tokens)
    assert not isinstance(verdict, LimitExceeded), verdict
    return verdict


async def refused(admit: Admit, rules: Sequence[LimitRule], tokens: int = 0) -> LimitExceeded:
    """A call that is not."""
    verdict = await admit(rules, tokens)
    assert isinstance(verdict, LimitExceeded)
    return verdict


async def free_again(admit: Admit, rules: Sequence[LimitRule], tokens: int = 0) -> Grant:
    """A call that is admitted soon: what others gave back may be on its way."""
    deadline = time.monotonic() + 10
    while isinstance(verdict := await admit(rules, tokens), LimitExceeded):
        assert time.monotonic() < deadline, verdict
    return verdict


async def test_requests(admit: Admit) -> None:
    limit = [rule(rpm=3)]
    for left in (2, 1, 0):
        counts = (await granted(admit, limit)).counts
        assert round((counts.accounts[0].requests_until - counts.instant.now) / 20) == 3 - left
    refusal = await refused(admit, limit)
    assert refusal.kind == "rpm"
    assert 19 < refusal.wait_seconds <= 20


async def test_tokens_are_reserved_and_settled(admit: Admit) -> None:
    limit = [rule(tpm=600)]
    first = await granted(admit, limit, 500)
    assert (await refused(admit, limit, 500)).kind == "tpm"
    first.settle(100)
    await free_again(admit, limit, 500)
    assert 0 < (await refused(admit, limit, 10)).wait_seconds <= 1


async def test_more_tokens_than_reserved_are_a_debt(admit: Admit) -> None:
    limit = [rule(tpm=600)]
    (await granted(admit, limit, 100)).settle(1200)
    while not isinstance(verdict := await admit(limit, 1), LimitExceeded):  # until what was used is on the books
        verdict.settle(0)
    assert 59 < verdict.wait_seconds < 61


async def test_a_call_beyond_the_whole_limit_takes_all_of_it(admit: Admit) -> None:
    limit = [rule(tpm=600, tokens_per_day=700)]
    (await granted(admit, limit, 10_000)).settle(0)
    await free_again(admit, limit, 10_000)


async def test_calls_at_one_time(admit: Admit) -> None:
    limit = [rule(concurrent=2)]
    first, _ = await granted(admit, limit), await granted(admit, limit)
    assert (await refused(admit, limit)).kind == "concurrent"
    first.settle(0)
    first.settle(0)
    await free_again(admit, limit)
    await refused(admit, limit)


async def test_days(admit: Admit) -> None:
    limit = [rule(tokens_per_day=1000)]
    first = await granted(admit, limit, 900)
    refusal = await refused(admit, limit, 200)
    assert refusal.kind == "tokens_per_day"
    assert math.isclose(refusal.wait_seconds, 86400 - time.time() % 86400, abs_tol=30)
    first.settle(300)
    assert (await free_again(admit, limit, 700)).counts.accounts[0].day_tokens == 1000


async def test_all_terms_must_admit_and_a_refusal_costs_nothing(admit: Admit) -> None:
    wide, narrow = rule("team", rpm=3, concurrent=3), rule("alice", rpm=1)
    (await granted(admit, [wide, narrow])).settle(0)
    for _ in range(5):
        assert (await refused(admit, [wide, narrow])).rule is narrow
    for _ in range(2):
        (await free_again(admit, [wide])).settle(0)
