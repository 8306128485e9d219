"""After a storm nothing is left: no slot, no queue place, no retry, no byte, no task, no descriptor."""

import asyncio
import json
import os
import random

from tests.flow.line import Line
from tests.flow.waiting import until
from tests.flow.world import CHAT, Served, World, chat

from ai_gateway.simulator import Simulator
from ai_gateway.simulator.faults import Fault

REQUESTS = 300
AT_ONCE = 25
FAULTS = (
    Fault(kind="drop"),
    Fault(kind="busy"),
    Fault(kind="status", status=500),
    Fault(kind="status", status=404),
    Fault(kind="cut"),
    Fault(kind="truncate"),
    Fault(kind="eof"),
    Fault(kind="end"),
    Fault(kind="stall"),
    Fault(kind="hang"),
    Fault(kind="garbage", body="html"),
    Fault(kind="garbage", body="empty"),
    Fault(kind="redirect"),
    Fault(kind="split"),
)
LIMIT_BYTES = 4000


def descriptors() -> int:
    """How many files and sockets this process has open."""
    return len(os.listdir("/proc/self/fd"))


async def one(served: Served, rng: random.Random) -> None:
    """One request of any kind; half of its clients leave at some moment, by any way."""
    line = await Line.open(served.port)
    body = chat("x" * rng.choice((10, 3000)), stream=rng.random() < 0.6, max_tokens=rng.choice((1, 20)))
    if rng.random() < 0.1:
        body = rng.choice(
            (
                b"{",
                json.dumps({"model": "nope", "messages": [{"role": "user", "content": ""}]}).encode(),
                b"x" * (LIMIT_BYTES + 1),
            )
        )
    try:
        await line.send("POST", CHAT, body)
        if rng.random() < 0.5:
            async with asyncio.timeout(rng.uniform(0, 0.1)):
                await line.reply()
        else:
            await line.reply()
    except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        rng.choice((line.leave, line.vanish))()


async def storm(served: Served, simulator: Simulator, rng: random.Random) -> None:
    """Requests, some at a time, while faults come and go and an endpoint dies and returns."""
    places = asyncio.Semaphore(AT_ONCE)

    async def in_place() -> None:
        async with places:
            endpoint = rng.choice(simulator.endpoints)
            if rng.random() < 0.5:
                endpoint.faults.clear()
                endpoint.faults.add(rng.choice(FAULTS))
            if rng.random() < 0.05:
                endpoint.restart()
            await one(served, rng)

    await asyncio.gather(*(in_place() for _ in range(REQUESTS)))


async def test_a_storm_of_requests_leaves_nothing_behind(world: World) -> None:
    """300 requests with random faults and departures; afterwards everything is as before, and the full memory free."""
    simulator = await world.simulator(count=3, tokens_per_second=300.0, slots=2)
    served = await world.gateway(
        simulator.urls,
        timeouts={"first_byte": "300ms", "idle": "300ms", "total": "500ms", "queue": "300ms", "heartbeat": "50ms"},
        body={"max_bytes": LIMIT_BYTES, "buffered_bytes": LIMIT_BYTES * AT_ONCE},
        balancing={"slots": 2},
    )
    assert (await served.chat(max_tokens=1)).status == 200
    tasks, files = len(asyncio.all_tasks()), descriptors()
    await storm(served, simulator, random.Random(7))
    for endpoint in simulator.endpoints:
        endpoint.faults.clear()
    await until(lambda: served.is_idle, "every slot, place and retry is given back")
    await until(lambda: len([e for e in served.exchanges if e.method == "POST"]) == REQUESTS + 1, "all are recorded")
    assert not served.gateway.running_requests.scopes
    assert {exchange.outcome.kind for exchange in served.exchanges} >= {
        "ok",
        "client_left",
        "upstream_broke",
        "refused",
    }
    assert "failed" not in {exchange.outcome.kind for exchange in served.exchanges}
    assert all(exchange.times.closed_at is not None for exchange in served.exchanges)
    await until(lambda: len(asyncio.all_tasks()) <= tasks + 6 * len(simulator.endpoints), "no task is left")
    await until(lambda: descriptors() <= files + 64, "no descriptor is left but idle connections")
    await until(lambda: all(e.state == "up" for e in served.gateway.fleet.endpoints.values()), "all are up", 20)
    full = chat("x" * (LIMIT_BYTES - len(chat(""))))
    lines = [await served.begin(full) for _ in range(AT_ONCE)]
    assert {(await line.reply()).status for line in lines} <= {200, 503, 504}  # a load may still hang
    assert not any(e.outcome.error_code == "buffers_full" for e in served.exchanges[-AT_ONCE:])


async def test_a_gateway_that_ends_leaves_no_task_and_no_descriptor(world: World) -> None:
    """With calls in every phase when it begins to leave."""
    simulator = await world.simulator(count=2, tokens_per_second=20.0)
    await live_and_leave(world, simulator)
    tasks, files = len(asyncio.all_tasks()), descriptors()
    await live_and_leave(world, simulator)
    await until(lambda: len(asyncio.all_tasks()) <= tasks, "no task is left")
    await until(lambda: descriptors() <= files, "no descriptor is left")


async def live_and_leave(world: World, simulator: Simulator) -> None:
    """A gateway's life, from its start to its end in the midst of work."""
    served = await world.gateway(simulator.urls)
    for number in range(8):
        await served.begin(chat(stream=bool(number % 2), max_tokens=500))
    await until(lambda: served.in_flight == 2 and served.waiting == 6)
    served.shutdown.request()
    served.shutdown.request()
    await until(lambda: len([e for e in served.exchanges if e.method == "POST"]) == 8)
    for line in served.lines:
        line.vanish()
    await until(lambda: served.is_idle)
    await until(lambda: all(endpoint.open_connections == 0 for endpoint in simulator.endpoints))
