"""Redis as it is in real life: shared, away, slow, guarded, and outliving the gateways that count in it."""

import asyncio
import time
from pathlib import Path

import pytest
import trustme
from tests.flow.waiting import PATIENCE_SECONDS, until
from tests.limits.worlds import rule
from tests.redis.conftest import Open
from tests.redis.server import CALM, Server, running

from ai_gateway.config.limits import Redis
from ai_gateway.config.units import FilePath, Seconds
from ai_gateway.limits import shared as module
from ai_gateway.limits.admission import LimitExceeded
from ai_gateway.limits.rules import LimitRule
from ai_gateway.limits.shared import Shared

pytestmark = pytest.mark.services

ONE = [rule(concurrent=1)]
ONE_SECOND = Seconds(1)


async def is_admitted(shared: Shared, rules: list[LimitRule], lease_seconds: float = 60.0) -> bool:
    """Whether Redis admits a call; the call never ends."""
    verdict = await shared.admit(rules, 10, lease_seconds)
    assert verdict is not None, "Redis is away"
    return not isinstance(verdict, LimitExceeded)


async def test_gateways_count_together(opened: Open) -> None:
    first, second, other = await opened(), await opened(), await opened(prefix="other")
    limit = [rule(rpm=2)]
    assert [await is_admitted(one, limit) for one in (first, second, first, second, other)] == [
        *(True, True, False, False, True),
    ]


async def test_calls_of_a_dead_gateway_are_released_when_their_leases_end(opened: Open) -> None:
    dead, alive = await opened(), await opened()
    limit = [rule(concurrent=2)]
    assert await is_admitted(alive, limit)  # and goes on to run
    assert await is_admitted(dead, limit, lease_seconds=2)
    began = time.monotonic()
    assert not await is_admitted(alive, limit)
    while not await is_admitted(alive, limit):
        assert time.monotonic() - began < PATIENCE_SECONDS
    assert time.monotonic() - began > 0.5


async def test_redis_keys_expire(opened: Open, redis: Server) -> None:
    shared = await opened()
    assert await is_admitted(shared, [rule(rpm=60, concurrent=3)], lease_seconds=30)
    assert await is_admitted(shared, [rule("daily", tokens_per_day=100)])
    client = shared._client
    assert client is not None
    ages = {str(key, "ascii"): await client.ttl(key) for key in await client.keys("*") if isinstance(key, bytes)}
    given = {
        "ai-gateway:{limits}:caller:keys:alice": 61,
        "ai-gateway:{limits}:caller:keys:alice:calls": 30,
        "ai-gateway:{limits}:caller:keys:daily": 172_800,
    }
    assert set(ages) == set(given)
    assert all(given[key] - 20 < ages[key] <= given[key] for key in given), ages


async def test_a_clock_of_redis_that_is_set_back_changes_nothing(opened: Open) -> None:
    """As if the last call had been counted an hour from now, on a clock that has been mended since."""
    shared = await opened()
    limit = [rule(rpm=2)]
    assert await is_admitted(shared, limit)
    client = shared._client
    assert client is not None
    key, ahead = "ai-gateway:{limits}:caller:keys:alice", time.time() + 3600
    await client.hset(key, mapping={"n": f"{ahead:.6f}", "r": f"{ahead + 30:.6f}"})
    assert await is_admitted(shared, limit)
    refusal = await shared.admit(limit, 0, 60)
    assert isinstance(refusal, LimitExceeded)
    assert refusal.wait_seconds <= 30


async def test_a_stopped_redis_is_unavailable_until_it_answers(opened: Open, redis: Server) -> None:
    shared = await opened()
    assert await is_admitted(shared, ONE)
    redis.stop()
    assert await shared.admit(ONE, 0, 60) is None
    assert shared.is_unavailable
    redis.start()
    await until(lambda: not shared.is_unavailable, "it is found again")
    assert await is_admitted(shared, ONE)  # a new Redis knows nothing of the call that runs


async def test_a_paused_redis_delays_one_call_and_no_other(
    opened: Open, redis: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it makes of that call when it goes on is taken back, so nothing is held."""
    monkeypatch.setattr(module, "SHORTEST_BACKOFF_SECONDS", 3600.0)  # it goes on before it is looked for
    shared = await opened(timeout=ONE_SECOND)
    first = None
    while first is None:  # its connection and scripts are there: a loaded machine may need several tries
        first = await shared.admit(ONE, 10, 60)
    assert not isinstance(first, LimitExceeded)
    first.settle(10)
    await until(lambda: not shared._tasks, "it is settled")
    redis.pause()
    began = time.monotonic()
    assert await shared.admit(ONE, 10, 60) is None
    assert 0.9 < time.monotonic() - began < PATIENCE_SECONDS
    began = time.monotonic()
    assert [await shared.admit(ONE, 10, 60) for _ in range(100)] == [None] * 100
    assert time.monotonic() - began < PATIENCE_SECONDS
    redis.go_on()
    other = await opened()
    while not await is_admitted(other, ONE):
        assert time.monotonic() - began < 2 * PATIENCE_SECONDS


async def test_a_client_that_leaves_during_the_check_keeps_nothing_taken(opened: Open, redis: Server) -> None:
    shared, other = await opened(), await opened()
    assert await is_admitted(shared, [rule("warm", rpm=9)])
    assert await is_admitted(other, [rule("warm", rpm=9)])
    redis.pause()
    asking = asyncio.create_task(shared.admit(ONE, 10, 60))
    await until(lambda: shared._tasks, "it asks")
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    redis.go_on()
    await until(lambda: not shared._tasks, "it is taken back")
    assert await is_admitted(other, ONE)


async def test_a_password_is_read_from_its_file_with_each_connect(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    with running(tmp_path, "--requirepass", "right") as guarded:
        shared = Shared(guarded.settings(password_file=str(secret)))
        shared.start()
        await until(lambda: shared.reason, "it is refused")
        assert await shared.admit(ONE, 0, 60) is None
        secret.write_text("right\n")
        await until(lambda: not shared.is_unavailable, "the new password is taken")
        assert await is_admitted(shared, ONE)
        await shared.close()


async def test_redis_behind_tls(tmp_path: Path) -> None:
    """Its certificate is checked against the CA that the config names."""
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    stranger.cert_pem.write_to_path(tmp_path / "stranger.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    files = {"cert": "cert.pem", "key": "key.pem", "ca-cert": "ca.pem"}
    words = [word for name, file in files.items() for word in (f"--tls-{name}-file", str(tmp_path / file))]
    with running(tmp_path, "--tls-auth-clients", "no", *words, tls=True) as server:
        for name, trusts in (("ca.pem", True), ("stranger.pem", False)):
            ca_file = FilePath(tmp_path / name)
            settings = Redis(f"rediss://127.0.0.1:{server.port}", ca_file=ca_file, timeout=CALM)
            shared = Shared(settings)
            shared.start()
            await until(lambda shared=shared: shared.reason or not shared.is_unavailable, "it is found or refused")  # type: ignore[misc]  # bound by its default
            assert (await shared.admit(ONE, 0, 60) is not None) is trusts, shared.reason
            await shared.close()


async def test_a_thousand_calls_at_once_are_counted_exactly(opened: Open) -> None:
    """Over a bounded number of connections."""
    first, second = await opened(), await opened()
    limit = [rule(rpm=600, tpm=10**6)]
    began = time.monotonic()
    verdicts = await asyncio.gather(*(one.admit(limit, 10, 60) for _ in range(500) for one in (first, second)))
    granted = [verdict for verdict in verdicts if not isinstance(verdict, LimitExceeded)]
    assert None not in verdicts
    assert 600 <= len(granted) <= 601 + 10 * (time.monotonic() - began)  # what was drained meanwhile
