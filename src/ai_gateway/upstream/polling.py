"""Looks after every endpoint: is it up, which models has it, which are loaded. Writes what it sees into the fleet."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

import httpx
import msgspec

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.config.types import Polling
from ai_gateway.config.units import Seconds
from ai_gateway.upstream.client import Client
from ai_gateway.upstream.inventory import UNREADABLE, read_contexts, read_models, read_residents
from ai_gateway.upstream.transport import httpx_client
from ai_gateway.wire.address import Address

log = logging.getLogger("ai_gateway.polling")

JITTER: Final = 0.2
SHORTEST_PAUSE_SECONDS: Final = 0.1
STRIKES: Final = 2  # probes without an answer in time until an endpoint counts as down; a refusal counts at once


# A large fleet is looked at less often: polls must not take the loop from the calls.
MOST_PER_SECOND: Final = 100.0
AT_ONCE: Final = 20  # new endpoints whose first look does not wait


class Poller:
    """One set of loops per endpoint, started and stopped as discovery adds and removes it."""

    def __init__(self, fleet: Fleet, client: Client, settings: Callable[[], Polling], chance: random.Random) -> None:
        self._fleet = fleet
        self._client = client
        self._settings = settings
        self._random = chance
        self._tasks: dict[Address, asyncio.Task[None]] = {}
        self._watches: dict[Address, _Watch] = {}

    def follow(self, new: list[Endpoint], gone: list[Endpoint]) -> None:
        """Begins with new endpoints and leaves those that went."""
        for endpoint in gone:
            self._watches.pop(endpoint.address, None)
            task = self._tasks.pop(endpoint.address, None)
            if task is not None:
                task.cancel()
            self._client.forget(endpoint.address)
        late_seconds = len(new) / MOST_PER_SECOND if len(new) > AT_ONCE else 0.0
        for endpoint in new:
            watch = _Watch(self._fleet, endpoint, self._settings_now, self._random)
            self._watches[endpoint.address] = watch
            delay_seconds = self._random.uniform(0, late_seconds)
            self._tasks[endpoint.address] = asyncio.create_task(watch.run(self._client, delay_seconds))

    def _settings_now(self) -> Polling:
        settings = self._settings()
        least = Seconds(len(self._watches) / MOST_PER_SECOND)
        if settings.interval >= least:
            return settings
        return msgspec.structs.replace(settings, interval=least, models_interval=max(least, settings.models_interval))

    def doubt(self, endpoint: Endpoint) -> None:
        """A call failed there, or it lacked a model: look at once, whatever the intervals say."""
        watch = self._watches.get(endpoint.address)
        if watch is not None:
            watch.doubted.set()
            watch.outdated.set()

    async def first_round(self) -> None:
        """Returns when every endpoint known now has been looked at once."""
        for watch in list(self._watches.values()):
            await watch.first_look.wait()

    async def stop(self) -> None:
        """Ends all loops."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


class _Watch:
    """The loops of one endpoint."""

    def __init__(
        self, fleet: Fleet, endpoint: Endpoint, settings: Callable[[], Polling], chance: random.Random
    ) -> None:
        self._fleet = fleet
        self._endpoint = endpoint
        self._settings = settings
        self._random = chance
        self._up = asyncio.Event()
        self._strikes = 0
        self._looks_missing = {"models", "residents"}
        self.doubted = asyncio.Event()
        self.outdated = asyncio.Event()
        self.first_look = asyncio.Event()

    async def run(self, client: Client, delay_seconds: float) -> None:
        """Probes, and while the endpoint is up lists its models on disk and in memory, each at its own pace."""
        await asyncio.sleep(delay_seconds)
        async with httpx_client(client, self._endpoint.address) as http, asyncio.TaskGroup() as loops:
            loops.create_task(self._probe_often(http))
            loops.create_task(self._while_up("residents", lambda: self._look_at_residents(http), asyncio.Event()))
            loops.create_task(self._while_up("models", lambda: self._look_at_models(http), self.outdated))

    async def _probe_often(self, http: httpx.AsyncClient) -> None:
        while True:
            complaint = await self._probe(http)
            if complaint is None:
                self._up.set()
            else:
                self._up.clear()
                self.first_look.set()
            await self._pause(self._settings().interval, self.doubted)

    async def _pause(self, seconds: float, interrupted: asyncio.Event) -> None:
        spread = seconds * self._random.uniform(1 - JITTER, 1 + JITTER)
        await asyncio.sleep(min(SHORTEST_PAUSE_SECONDS, spread))  # a storm of failed calls is no storm of probes
        try:
            async with asyncio.timeout(spread):
                await interrupted.wait()
        except TimeoutError:
            return
        interrupted.clear()

    async def _probe(self, http: httpx.AsyncClient) -> str | None:
        """Asks for /api/version; returns None, or what is wrong."""
        try:
            async with asyncio.timeout(self._settings().timeout):
                answer = await http.get("/api/version")
            version = msgspec.json.decode(answer.content)["version"] if answer.status_code == 200 else None
        except TimeoutError:
            self._strikes += 1
            complaint = f"/api/version did not answer within {self._settings().timeout:g} s"
            return self._down(complaint) if self._strikes >= STRIKES else complaint
        except httpx.HTTPError as error:
            return self._down(str(error))
        except (*UNREADABLE, KeyError, TypeError):
            return self._down("/api/version is not Ollama's")
        if not isinstance(version, str):
            return self._down(f"/api/version answered {answer.status_code}; is this an Ollama?")
        self._strikes = 0
        if self._fleet.saw_up(self._endpoint, version):
            log.info("endpoint %s is up, Ollama %s", self._endpoint.address, version)
        return None

    def _down(self, complaint: str) -> str:
        if self._fleet.saw_down(self._endpoint, complaint):
            log.warning("endpoint %s is down: %s", self._endpoint.address, complaint)
        return complaint

    async def _while_up(self, what: str, look: Callable[[], Awaitable[float]], outdated: asyncio.Event) -> None:
        while True:
            await self._up.wait()
            seconds = await look()
            self._looks_missing.discard(what)
            if not self._looks_missing:
                self.first_look.set()
            await self._pause(seconds, outdated)

    async def _look_at_residents(self, http: httpx.AsyncClient) -> float:
        settings = self._settings()
        content = await _get(http, "/api/ps", settings.residents_timeout)
        self._endpoint.contexts = read_contexts(content)
        self._fleet.saw_residents(self._endpoint, None if content is None else read_residents(content))
        return settings.interval

    async def _look_at_models(self, http: httpx.AsyncClient) -> float:
        settings = self._settings()
        content = await _get(http, "/api/tags", settings.timeout)
        held = None if content is None else read_models(content)
        if held is not None:
            self._fleet.saw_models(self._endpoint, held)
        return settings.models_interval if held is not None else settings.interval


async def _get(http: httpx.AsyncClient, path: str, seconds: float) -> Any:
    """The JSON at a path, or None where there is none in time: that means unknown, not down."""
    try:
        async with asyncio.timeout(seconds):
            answer = await http.get(path)
        return msgspec.json.decode(answer.content) if answer.status_code == 200 else None
    except (httpx.HTTPError, TimeoutError, *UNREADABLE):
        return None
