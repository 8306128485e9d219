"""Of many endpoints each is polled less often, so that polls leave the loop to the calls."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.flow.waiting import PATIENCE_SECONDS
from tests.upstream.scripted import Line, Server, a_client, answer, serving

from ai_gateway.balancing.fleet import Fleet
from ai_gateway.config.balancing import Polling
from ai_gateway.config.units import Seconds
from ai_gateway.upstream.polling import AT_ONCE, JITTER, MOST_PER_SECOND, Poller
from ai_gateway.wire.address import Address

EAGER = Polling(Seconds(0.01), Seconds(0.01), Seconds(PATIENCE_SECONDS), Seconds(PATIENCE_SECONDS))
MANY = 60
SAID = {
    b"/api/version": answer(b'{"version":"0.33.0"}'),
    b"/api/tags": answer(b'{"models":[{"name":"tiny:latest","digest":"1","size":7}]}'),
    b"/api/ps": answer(b'{"models":[]}'),
    b"/api/show": answer(b'{"modelfile":"","details":{}}'),
}


class Ollama:
    """Answers well, and notes when it was probed, in seconds, and how often its models were listed."""

    def __init__(self) -> None:
        self.probed: list[float] = []
        self.listed = 0
        self._more = asyncio.Event()

    async def __call__(self, line: Line) -> None:
        while request := await line.request():
            path = request.split(b" ")[1]
            if path == b"/api/version":
                self.probed.append(time.monotonic())
                self._more.set()
            self.listed += path == b"/api/tags"
            await line.say(SAID[path])

    async def until(self, probes: int) -> None:
        """Returns when so many have come."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.probed) < probes:
                self._more.clear()
                await self._more.wait()


def endpoints(server: Server, first: int, count: int) -> list[Address]:
    """So many endpoints at one port: as pods of their own they have uids of their own."""
    return [Address(server.address.host, server.address.port, uid=f"uid-{first + n}") for n in range(count)]


@asynccontextmanager
async def polling(rng: random.Random) -> AsyncIterator[tuple[Fleet, Poller]]:
    """A fleet that is polled, empty for now."""
    fleet = Fleet(time.monotonic, rng)
    async with a_client() as client:
        poller = Poller(fleet, client, lambda: EAGER, rng)
        try:
            yield fleet, poller
        finally:
            await poller.stop()


class Last(random.Random):
    """The latest of all moments, and for a delay of no length none: a look that is late at all comes after the test."""

    def uniform(self, a: float, b: float) -> float:
        """See Random."""
        return b * 1000 if a == 0 else b


async def test_polls_are_at_most_a_hundred_a_second() -> None:
    """Whatever the intervals say: from the first round to the third lies one stretched interval at least, and models
    are listed no more often than endpoints are probed."""
    ollama = Ollama()
    async with serving(ollama) as server, polling(random.Random(1)) as (fleet, poller):
        poller.follow(*fleet.apply(endpoints(server, 0, MANY)))
        await ollama.until(3 * MANY)
    assert ollama.probed[-1] - ollama.probed[MANY - 1] >= (1 - JITTER) * MANY / MOST_PER_SECOND
    assert ollama.listed <= 2 * len(ollama.probed)


async def test_the_first_polls_of_a_large_batch_are_spread() -> None:
    """Over the time that keeps to a hundred a second; the first round ends when all have come."""
    ollama = Ollama()
    async with serving(ollama) as server, polling(random.Random(1)) as (fleet, poller):
        poller.follow(*fleet.apply(endpoints(server, 0, MANY)))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await poller.first_round()
        assert {endpoint.state for endpoint in fleet.endpoints.values()} == {"up"}
    assert ollama.probed[MANY - 1] - ollama.probed[0] > 0.5 * MANY / MOST_PER_SECOND


async def test_the_first_polls_of_a_small_batch_come_at_once() -> None:
    """A scaled-up deployment is used without delay, also beside many others that wait for their first look."""
    ollama = Ollama()
    async with serving(ollama) as server, polling(Last()) as (fleet, poller):
        many, few = endpoints(server, 0, MANY), endpoints(server, MANY, AT_ONCE)
        poller.follow(*fleet.apply(many))
        poller.follow(*fleet.apply([*many, *few]))
        await ollama.until(AT_ONCE)
        assert {endpoint.state for endpoint in fleet.endpoints.values() if endpoint.address in many} == {"unknown"}
