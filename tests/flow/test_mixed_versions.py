"""In a rollout: a gateway of this release beside an older one, which reports nothing and uses the same endpoints."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from tests.flow.kubernetes_api import KubernetesApi
from tests.flow.line import Line, Reply
from tests.flow.test_reports import beside, gateways, join
from tests.flow.test_two_gateways import loads
from tests.flow.waiting import until
from tests.flow.world import CHAT, Served, World, chat
from tests.upstream.scripted import Line as Script
from tests.upstream.scripted import answer, serving

from ai_gateway.exchange import Attempt
from ai_gateway.simulator import Simulator

MODEL = "llama3:latest"
SLOTS = 4
ALLOWED = 3  # of two gateways one has two slots of four as its share, and may use one more
OLDER, NEWER, NEWEST = "a", "b", "c"  # uids: in their order gateways decide on loads
NOT_FOUND = json.dumps(
    {
        "error": {
            "message": "Nothing is served at /report; served on this admin port are GET /livez, /readyz, /metrics and "
            "POST /drain. The API has its own port.",
            "type": "invalid_request",
            "param": None,
            "code": "not_found",
        }
    }
).encode()
PACE: Mapping[str, Any] = {"slots": SLOTS, "tokens_per_second": 20.0, "answer_tokens": 4000}
LONG = chat(model=MODEL, stream=True)  # takes longer than any test
SHORT = chat(model=MODEL, max_tokens=2)


async def admin_port(line: Script) -> None:
    """That of a release without reports."""
    while await line.request():
        await line.say(answer(NOT_FOUND, b"404 Not Found", b"content-type: application/json\r\n"))


class Older:
    """The calls of the older gateway: straight to the endpoints, one connection for each."""

    def __init__(self, simulator: Simulator, stack: AsyncExitStack) -> None:
        self._ports = [int(address.rpartition(":")[2]) for address in simulator.addresses]
        self._stack = stack
        self.ended = 0

    async def hold(self, count: int) -> None:
        """So many calls on each endpoint that do not end."""
        for port in self._ports * count:
            line = await self._line(port)
            await line.send("POST", CHAT, LONG)
            await line.head()
            await line.event()

    async def work(self, count: int) -> None:
        """So many calls on each endpoint; when one ends the next one begins."""
        for port in self._ports * count:
            task = asyncio.create_task(self._work(await self._line(port)))
            self._stack.push_async_callback(asyncio.wait, [task])
            self._stack.callback(task.cancel)

    async def _work(self, line: Line) -> None:
        while True:
            await line.send("POST", CHAT, SHORT)
            assert (await line.reply()).status == 200
            self.ended += 1

    async def _line(self, port: int) -> Line:
        line = await Line.open(port)
        self._stack.callback(line.vanish)
        return line


@asynccontextmanager
async def older_gateway(api: KubernetesApi, simulator: Simulator) -> AsyncIterator[Older]:
    """It is ready, and listed."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(admin_port))
        join(api, OLDER, server.address.port)
        yield Older(simulator, stack)


async def newer_gateway(world: World, api: KubernetesApi, simulator: Simulator, uid: str = NEWER) -> Served:
    """It finds itself listed beside the older one, and has asked that for its report."""
    balancing = {"slots": SLOTS}
    served = await beside(world, api, uid, simulator.urls, balancing=balancing, timeouts={"queue": "2m"})
    join(api, uid, served.admin_port)
    peers, failures = served.gateway.fleet.peers, served.gateway.reports.failures
    await until(lambda: peers.is_known and failures["refused"], "it knows the older one")
    return served


async def asked(served: Served, times: int = 1) -> None:
    """The gateway asks the older one so often from now on, and gets no report."""
    failures = served.gateway.reports.failures
    before = failures["refused"]
    await until(lambda: failures["refused"] >= before + times, "the older one is asked")


async def warm(served: Served) -> None:
    """Every endpoint has the model loaded."""
    for endpoint in served.gateway.fleet.endpoints.values():
        line = await Line.open(endpoint.address.port)
        await line.send("POST", "/api/embed", json.dumps({"model": MODEL}).encode())
        assert (await line.reply()).status == 200
        line.leave()
    await served.loaded()


def used(served: Served) -> list[int]:
    """How many slots the gateway uses on each endpoint."""
    return [endpoint.total_in_flight for endpoint in served.gateway.fleet.endpoints.values()]


def most_at_once(attempts: Sequence[Attempt]) -> int:
    """How many attempts ran at the same time."""
    changes = [(attempt.started_at, 1) for attempt in attempts]
    changes += [(attempt.ended_at or 0.0, -1) for attempt in attempts]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


async def test_the_newer_gateway_decides_on_loads_though_the_older_one_is_first(world: World) -> None:
    """It is not alone, and nobody else decides: who is silent leads nobody."""
    api, simulator = await world.api_server(), await world.simulator(1, **PACE)
    async with older_gateway(api, simulator):
        served = await newer_gateway(world, api, simulator)
        present, fleet = served.gateway.reports.presence(), served.gateway.fleet
        assert (present.count, present.is_alone, fleet.peers.is_unheard) == (2, False, True)
        assert (await served.chat(max_tokens=1)).status == 200
        await asked(served)
        assert (fleet.decides, fleet.peers.leader) == (True, NEWER)
        assert (sum(loads(simulator).values()), fleet.loads.total_begun) == (1, 1)


async def test_health_and_one_line_of_the_log_name_the_older_gateway(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Silent, with a hint why; the log does not repeat it."""
    caplog.set_level(logging.WARNING, "ai_gateway.gateways")

    def lines() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "ai_gateway.gateways"]

    api, simulator = await world.api_server(), await world.simulator()
    async with older_gateway(api, simulator):
        served = await newer_gateway(world, api, simulator)
        await until(lines, "the log names it")
        await asked(served, 2)
        (other,) = (await gateways(served))["others"]
        hint = "answers 404 (is it of an older release?)"
        assert (other["uid"], other["state"], other["complaint"]) == (OLDER, "silent", hint)
        assert lines() == [f"the gateway at {other['address']} {hint} (logged once)"]


async def test_the_newer_gateway_keeps_to_its_share_and_one_more_until_the_older_one_is_gone(world: World) -> None:
    """Calls beyond that wait; when the Service drops the older one they have all slots."""
    api, simulator = await world.api_server(), await world.simulator(2, **PACE)
    async with older_gateway(api, simulator):
        served = await newer_gateway(world, api, simulator)
        await warm(served)
        for _ in range(2 * SLOTS):
            await served.begin(LONG)
        await until(lambda: sum(used(served)) + served.waiting == 2 * SLOTS, "all have come")
        await asked(served)
        assert (used(served), served.waiting) == ([ALLOWED, ALLOWED], 2)
    api.delete("endpointslices", f"gateway-{OLDER}")
    await until(lambda: not served.waiting, "none waits")
    assert used(served) == [SLOTS, SLOTS]
    assert served.gateway.reports.presence().is_alone


async def test_every_call_is_answered_while_the_older_gateway_keeps_slots_busy(world: World) -> None:
    """It holds its share all the time, and as many of its calls come and go: no slot is ever free for long."""
    api, simulator = await world.api_server(), await world.simulator(2, **PACE)
    async with older_gateway(api, simulator) as older:
        served = await newer_gateway(world, api, simulator)
        await warm(served)
        await older.hold(SLOTS // 2)
        await older.work(SLOTS // 2)
        replies = await asyncio.gather(*(answered(served, number) for number in range(24)))
        assert [reply.status for reply in replies] == [200] * 24
        assert all(b"[DONE]" in reply.body for reply in replies[::2])
        assert older.ended
        await served.recorded(24)
    attempts = [attempt for exchange in served.exchanges for attempt in exchange.attempts]
    by_endpoint = [[one for one in attempts if one.endpoint == address] for address in simulator.addresses]
    assert list(map(most_at_once, by_endpoint)) == [ALLOWED, ALLOWED]


async def answered(served: Served, number: int) -> Reply:
    """The answer to a short call: a stream, or a whole one."""
    return await served.chat(str(number), stream=number % 2 == 0, max_tokens=2)


async def test_two_newer_gateways_are_led_by_one_of_them_and_leave_the_older_one_its_share(world: World) -> None:
    """Later in the rollout: of three gateways the silent one has a third, and the others know each other's calls."""
    api, simulator = await world.api_server(), await world.simulator(2, **PACE)
    async with older_gateway(api, simulator):
        first = await newer_gateway(world, api, simulator)
        second = await newer_gateway(world, api, simulator, NEWEST)
        fleets = first.gateway.fleet, second.gateway.fleet
        await until(lambda: [fleet.peers.leader for fleet in fleets] == [NEWER, NEWER], "they agree who leads")
        await warm(first)
        await second.loaded()
        for _ in range(2 * SLOTS):
            await first.begin(LONG)
        endpoints = fleets[1].endpoints.values()
        await until(lambda: [one.total_peers for one in endpoints] == [ALLOWED, ALLOWED], "the second one knows")
        await second.begin(LONG)
        await until(lambda: second.waiting, "its call waits")
        assert (used(first), used(second)) == ([ALLOWED, ALLOWED], [0, 0])
        assert [fleet.decides for fleet in fleets] == [True, False]
