"""Endpoints are polled: up or down, which models they have and which are loaded; nothing stops the polling."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from tests.flow.waiting import PATIENCE_SECONDS
from tests.upstream.scripted import Line, Script, Server, a_client, answer, free_address, serving, until

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.residency import KEEP_SECONDS
from ai_gateway.balancing.resident import Resident
from ai_gateway.config.balancing import Polling
from ai_gateway.config.units import Seconds
from ai_gateway.upstream.client import Client
from ai_gateway.upstream.polling import SHORTEST_PAUSE_SECONDS, Poller
from ai_gateway.wire.address import Address

FAST = Polling(Seconds(0.02), Seconds(0.02), Seconds(1), Seconds(1))  # soon done with what never answers
# For endpoints that answer, which may take a busy machine long.
PATIENT = Polling(Seconds(0.02), Seconds(0.02), Seconds(PATIENCE_SECONDS), Seconds(PATIENCE_SECONDS))
IMPATIENT_OF_LISTS = Polling(Seconds(0.02), Seconds(0.02), Seconds(PATIENCE_SECONDS), Seconds(1))

VERSION = b'{"version":"0.33.0"}'
TAGS = b'{"models":[{"name":"tiny:latest","digest":"1","size":7,"modified_at":"2026-11-23T08:28:15Z"}]}'
RESIDENTS = b'{"models":[{"name":"tiny:latest","digest":"1"}]}'
BLOB = "db3b985e86319e9c474b43bbd60ab5bd7c5c0714765e7166874ad92f17136032"
SHOWN = json.dumps(
    {
        "modelfile": f"# FROM tiny:latest\n\nFROM /root/.ollama/models/blobs/sha256-{BLOB}\n",
        "parameters": "num_ctx                        512",
        "details": {"format": "gguf"},
    }
).encode()


class Ollama:
    """Answers by path; an answer of None is silence. `answers` may be changed at any time."""

    def __init__(self) -> None:
        self.answers: dict[bytes, bytes | None] = {
            b"/api/version": answer(VERSION),
            b"/api/tags": answer(TAGS),
            b"/api/ps": answer(RESIDENTS),
            b"/api/show": answer(SHOWN),
        }

    async def __call__(self, line: Line) -> None:
        while request := await line.request():
            said = self.answers[request.split(b" ")[1]]
            if said is None:
                await line.hung_up()
                return
            await line.say(said)


class Looked:
    """A fleet of one endpoint that is polled. Its clock goes `ahead` of the loop's by so many seconds."""

    def __init__(self, settings: Polling, address: Address, client: Client) -> None:
        self.ahead = 0.0
        loop = asyncio.get_running_loop()
        self.fleet = Fleet(lambda: loop.time() + self.ahead, random.Random(1))
        self.poller = Poller(self.fleet, client, lambda: settings, random.Random(1))
        new, gone = self.fleet.apply([address])
        self.poller.follow(new, gone)
        self.endpoint = new[0]

    async def until(self, holds: Callable[[Endpoint], object]) -> None:
        """Returns when polls have found that."""
        await until(lambda: holds(self.endpoint))


@asynccontextmanager
async def polling(address: Address, settings: Polling = FAST) -> AsyncIterator[Looked]:
    """Polls at this address."""
    async with a_client() as client:
        world = Looked(settings, address, client)
        try:
            yield world
        finally:
            await world.poller.stop()


@asynccontextmanager
async def polled(script: Script, settings: Polling = FAST) -> AsyncIterator[tuple[Looked, Server]]:
    """Polls a server that plays this script."""
    async with serving(script) as server, polling(server.address, settings) as world:
        yield world, server


async def test_the_first_round_finds_everything() -> None:
    """Version, models on disk, models loaded."""
    async with polled(Ollama(), PATIENT) as (world, _):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await world.poller.first_round()
        endpoint = world.endpoint
        assert (endpoint.state, endpoint.version) == ("up", "0.33.0")
        assert endpoint.holds("tiny:latest")
        assert endpoint.is_resident("tiny:latest")


async def test_the_first_round_is_over_when_an_endpoint_is_down() -> None:
    """A gateway gets ready without it."""
    async with polling(await free_address()) as world:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await world.poller.first_round()
        assert world.endpoint.state == "down"
        assert "cannot connect" in (world.endpoint.reason or "")


async def test_changes_are_found_by_the_next_polls() -> None:
    """A model is pulled, another unloaded, Ollama updated."""
    ollama = Ollama()
    async with polled(ollama) as (world, _):
        await world.until(lambda endpoint: endpoint.resident and endpoint.held)
        ollama.answers[b"/api/tags"] = answer(b'{"models":[{"name":"new"}]}')
        ollama.answers[b"/api/ps"] = answer(b'{"models":[]}')
        ollama.answers[b"/api/version"] = answer(b'{"version":"0.32.15"}')
        await world.until(lambda endpoint: endpoint.holds("new:latest"))
        await world.until(lambda endpoint: endpoint.resident == frozenset())
        await world.until(lambda endpoint: endpoint.version == "0.32.15")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (answer(b"{}"), "not Ollama's"),
        (answer(b"[]"), "not Ollama's"),
        (answer(b"<html>"), "not Ollama's"),
        (answer(b""), "not Ollama's"),
        (answer(b'{"version":"\xff"}'), "not Ollama's"),
        (answer(b"[" * 100_000), "not Ollama's"),
        (answer(b'{"version":7}'), "is this an Ollama?"),
        (answer(VERSION, b"500 No"), "answered 500"),
        (answer(b"", b"302 Found", b"location: /x\r\n"), "answered 302"),
        (b"garbage\r\n\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{", "did not answer within 1 s"),
    ],
)
async def test_an_address_that_another_service_took_over_is_down_until_ollama_answers(said: bytes, reason: str) -> None:
    """Polling goes on after any answer."""
    ollama = Ollama()
    ollama.answers[b"/api/version"] = said
    async with polled(ollama) as (world, _):
        await world.until(lambda endpoint: endpoint.state == "down")
        assert reason in (world.endpoint.reason or "")
        ollama.answers[b"/api/version"] = answer(VERSION)
        await world.until(lambda endpoint: endpoint.state == "up")


async def test_an_endpoint_that_falls_silent_is_down_after_two_probes() -> None:
    """A stopped process still takes connections; one slow answer says nothing yet."""
    ollama = Ollama()
    async with polled(ollama) as (world, server):
        await world.until(lambda endpoint: endpoint.state == "up")
        ollama.answers[b"/api/version"] = None
        before = server.paths().count("/api/version")
        await world.until(lambda endpoint: endpoint.state == "down")
        assert server.paths().count("/api/version") >= before + 2
        assert world.endpoint.reason == "/api/version did not answer within 1 s"
        ollama.answers[b"/api/version"] = answer(VERSION)
        await world.until(lambda endpoint: endpoint.state == "up")


async def test_of_an_endpoint_that_is_silent_from_the_start_nothing_is_awaited_after_one_probe() -> None:
    """Calls go there all the same, until it counts as down."""
    ollama = Ollama()
    ollama.answers[b"/api/version"] = None
    async with polled(ollama) as (world, _):
        assert world.endpoint.residency.is_due
        await world.until(lambda endpoint: not endpoint.residency.is_due)
        assert world.endpoint.state == "unknown"


async def test_a_late_poll_of_loaded_models_keeps_the_last_view_for_ten_seconds() -> None:
    """Ollama holds /api/ps back while it unloads a model. Then the view is unknown; the endpoint is up all along."""
    ollama = Ollama()
    async with polled(ollama, IMPATIENT_OF_LISTS) as (world, server):
        await world.until(lambda endpoint: endpoint.resident)
        ollama.answers[b"/api/ps"] = None
        late = server.paths().count("/api/ps") + 2
        await until(lambda: server.paths().count("/api/ps") >= late)
        assert world.endpoint.is_resident("tiny:latest")
        world.ahead += KEEP_SECONDS
        await world.until(lambda endpoint: endpoint.resident is None)
        assert world.endpoint.state == "up"
        assert world.endpoint.holds("tiny:latest")
        ollama.answers[b"/api/ps"] = answer(RESIDENTS)
        await world.until(lambda endpoint: endpoint.is_resident("tiny:latest"))


async def test_a_view_of_loaded_models_knows_when_it_was_asked_for() -> None:
    """What the gateway does later is not in it, however late the answer comes."""
    async with polled(Ollama(), PATIENT) as (world, _):
        world.ahead += 1000
        began = world.fleet.now()
        await world.until(lambda endpoint: (endpoint.residency.asked_at or 0.0) >= began)
        loaded = (world.endpoint.residency.loaded or {}).values()
        assert [one.entry for one in loaded] == [Resident("tiny:latest", "1")]
        assert (world.endpoint.residency.asked_at or 0.0) <= world.fleet.now()


async def test_loaded_models_are_polled_soon_for_who_waits_for_an_unload() -> None:
    """With any interval, and the other polls wait for theirs."""
    ollama = Ollama()
    slow = Polling(Seconds(3600), Seconds(3600), Seconds(PATIENCE_SECONDS), Seconds(PATIENCE_SECONDS))
    async with polled(ollama, slow) as (world, server):
        await world.until(lambda endpoint: endpoint.resident)
        ollama.answers[b"/api/ps"] = answer(b'{"models":[]}')
        world.poller.poll_residents_soon(world.endpoint)
        await world.until(lambda endpoint: endpoint.resident == frozenset())
        assert server.paths().count("/api/version") == 1


async def test_loaded_models_are_not_polled_more_often_than_every_tenth_of_a_second() -> None:
    """However often somebody asks for it."""
    slow = Polling(Seconds(3600), Seconds(3600), Seconds(PATIENCE_SECONDS), Seconds(PATIENCE_SECONDS))
    async with polled(Ollama(), slow) as (world, server):
        await world.until(lambda endpoint: endpoint.resident)
        began = time.monotonic()

        def has_been_polled_thrice() -> bool:
            world.poller.poll_residents_soon(world.endpoint)
            return server.paths().count("/api/ps") >= 4

        await until(has_been_polled_thrice)
        assert time.monotonic() - began >= 2 * SHORTEST_PAUSE_SECONDS


@pytest.mark.parametrize(
    "said", [b"", b"[]", b"{", b'{"models":"\xff"}', b"[" * 100_000, b'{"models":[7,{"name":null}]}']
)
async def test_a_list_that_cannot_be_read_leaves_the_last_one_in_force(said: bytes) -> None:
    """And the next good one is believed again."""
    ollama = Ollama()
    async with polled(ollama, PATIENT) as (world, server):
        await world.until(lambda endpoint: endpoint.holds("tiny:latest"))
        ollama.answers[b"/api/tags"] = answer(said)
        ollama.answers[b"/api/ps"] = answer(said)
        asked = server.paths().count("/api/tags") + 2
        await world.until(lambda endpoint: server.paths().count("/api/tags") >= asked)
        assert world.endpoint.state == "up"
        ollama.answers[b"/api/tags"] = answer(b'{"models":[{"name":"new"}]}')
        ollama.answers[b"/api/ps"] = answer(b'{"models":[{"name":"new"}]}')
        await world.until(lambda endpoint: endpoint.holds("new:latest") and endpoint.is_resident("new:latest"))


async def test_probe_soon_polls_at_once() -> None:
    """With any interval."""
    ollama = Ollama()
    slow = Polling(Seconds(3600), Seconds(3600), Seconds(1), Seconds(1))
    async with polled(ollama, slow) as (world, _):
        await world.until(lambda endpoint: endpoint.state == "up")
        ollama.answers[b"/api/version"] = answer(b"", b"500 No")
        world.poller.probe_soon(world.endpoint)
        await world.until(lambda endpoint: endpoint.state == "down")


async def test_an_endpoint_that_is_gone_is_not_polled_any_more() -> None:
    """Its idle connections are closed."""
    async with polled(Ollama()) as (world, server):
        await world.until(lambda endpoint: endpoint.state == "up")
        world.poller.follow(*world.fleet.apply([]))
        world.poller.probe_soon(world.endpoint)
        await until(lambda: not server.tasks)


async def test_a_new_interval_applies_from_the_next_poll_on() -> None:
    """Settings are read each time."""
    current = [Polling(Seconds(0.02), Seconds(0.02), Seconds(1), Seconds(1))]
    fleet = Fleet(asyncio.get_running_loop().time, random.Random(1))
    async with serving(Ollama()) as server, a_client() as client:
        poller = Poller(fleet, client, lambda: current[0], random.Random(1))
        poller.follow(*fleet.apply([server.address]))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await poller.first_round()
            current[0] = Polling(Seconds(3600), Seconds(3600), Seconds(1), Seconds(1))
            seen = -1
            while seen != len(server.seen):  # until a whole old interval passed without a look
                seen = len(server.seen)
                await asyncio.sleep(0.05)
        await poller.stop()
