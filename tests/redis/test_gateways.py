"""Two whole gateways that count in one Redis, while it comes and goes."""

import asyncio
import time
from typing import Any

import pytest
import yaml
from tests.flow.scraping import scraped
from tests.flow.waiting import PATIENCE_SECONDS, until
from tests.flow.world import CHAT, Served, World, chat, config
from tests.redis.server import Server

pytestmark = pytest.mark.services

CLIENTS = 8


async def two(world: World, redis: Server, limit: dict[str, Any], timeout: str = "5s") -> tuple[Served, Served]:
    """Gateways over the same quick endpoint."""
    simulator = await world.simulator()
    limits = {"default": limit, "redis": {"url": redis.url, "timeout": timeout}}
    sections: dict[str, Any] = {"limits": limits, "balancing": {"slots": 50}}
    both = await world.gateway(simulator.urls, **sections), await world.gateway(simulator.urls, **sections)
    await until(lambda: all(one.gateway.limiter.is_shared for one in both), "both count in Redis")
    return both


async def statuses(served: Served, until_moment: float) -> list[int]:
    """Of calls that one client makes, one after the other, on one connection: until then, and some are refused."""
    found: list[int] = []
    line = await served.open()
    while time.monotonic() < until_moment or found.count(429) < 5:
        await line.send("POST", CHAT, chat(max_tokens=1))
        found.append((await line.reply()).status)
    line.leave()
    return found


async def test_two_gateways_admit_the_limit_within_five_percent(world: World, redis: Server) -> None:
    """By clients of both that ask as fast as they can."""
    gateways = await two(world, redis, {"rpm": 120})
    began = time.monotonic()
    clients = [statuses(gateways[number % 2], began + 4) for number in range(CLIENTS)]
    found = [status for client in await asyncio.gather(*clients) for status in client]
    seconds = time.monotonic() - began
    assert set(found) == {200, 429}
    expected = 120 + seconds * 2
    print(f"{found.count(200)} admitted of {len(found)} calls in {seconds:.1f} s, {expected:.0f} by the limit")
    assert abs(found.count(200) - expected) <= 0.05 * expected
    assert [(await scraped(one))["limit_fallbacks_total"] for one in gateways] == [0, 0]


async def test_without_redis_each_gateway_counts_alone_and_says_so(world: World, redis: Server) -> None:
    """It goes and comes in mid-run; no call fails or waits for it."""
    first, second = await two(world, redis, {"rpm": 2})
    assert [(await one.chat(max_tokens=1)).status for one in (first, second, first)] == [200, 200, 429]
    redis.stop()
    began = time.monotonic()
    assert [(await one.chat(max_tokens=1)).status for one in (first, first, first, second)] == [200, 200, 429, 200]
    assert time.monotonic() - began < PATIENCE_SECONDS
    assert (await scraped(first))["limit_fallbacks_total"] == 3
    health = (await first.get("/v1/health"))["limits"]
    assert (health["counted_in"], health["gateways"]) == ("memory", 1)
    assert health["complaint"].startswith("Redis is unavailable: ")
    redis.start()
    limiters = [one.gateway.limiter for one in (first, second)]
    await until(lambda: all(limiter.is_shared for limiter in limiters), "both count together again")
    assert [(await one.chat(max_tokens=1)).status for one in (second, first, second)] == [200, 200, 429]


async def test_a_day_budget_outlives_the_gateway(world: World, redis: Server) -> None:
    """What one used is used for the next one too."""
    first, second = await two(world, redis, {"tokens_per_day": 1000})
    assert (await first.chat("word " * 200, max_tokens=1)).status == 200
    usage = first.last.tokens.usage
    assert usage is not None
    used = usage.input_tokens + usage.output_tokens
    limiter = first.gateway.limiter
    await limiter.close()  # what is to be settled is settled before the gateway leaves
    left = (await second.chat(max_tokens=1)).header("x-ratelimit-remaining-tokens")
    assert left is not None
    assert 1000 - used - 50 < int(left) <= 1000 - used


async def test_concurrency_is_released_over_both_gateways(world: World, redis: Server) -> None:
    """Also those of clients that leave."""
    gateways = await two(world, redis, {"concurrent": 3})
    for number in range(12):
        one = gateways[number % 2]
        line = await one.begin(chat(stream=True, max_tokens=400))
        assert (await line.head()).status in (200, 429)
        line.vanish()
    for one in gateways:
        await until(lambda one=one: one.is_idle, "no call runs")  # type: ignore[misc]  # bound by its default

    async def is_free() -> bool:
        return (await gateways[0].chat(max_tokens=1)).status == 200

    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await is_free():
        assert time.monotonic() < deadline


async def test_redis_comes_and_goes_with_the_config(world: World, redis: Server) -> None:
    """What was counted in it is known again when it is named again."""
    simulator = await world.simulator()
    alone = config(simulator.urls, limits={"default": {"rpm": 2}})
    together = config(simulator.urls, limits={"default": {"rpm": 2}, "redis": {"url": redis.url, "timeout": "5s"}})
    served = await world.gateway_with(yaml.safe_dump(together))
    limiter = served.gateway.limiter
    await until(lambda: limiter.is_shared, "it counts in Redis")
    assert [(await served.chat(max_tokens=1)).status for _ in range(3)] == [200, 200, 429]
    await served.reload(alone)
    assert [(await served.chat(max_tokens=1)).status for _ in range(3)] == [200, 200, 429]
    assert (await served.get("/v1/health"))["limits"] == {"counted_in": "memory", "gateways": 1, "complaint": None}
    await served.reload(together)
    await until(lambda: limiter.is_shared, "it counts in Redis again")
    assert (await served.chat(max_tokens=1)).status == 429
    assert (await served.get("/v1/health"))["limits"]["counted_in"] == "redis"
