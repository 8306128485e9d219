"""Looks after every endpoint: is it up, which models has it, which are loaded. Writes what it sees into the fleet."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import httpx
import msgspec

from ai_gateway.balancing.endpoint import Endpoint, HeldModel
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.config.types import Polling
from ai_gateway.config.units import Seconds
from ai_gateway.failure_log import FailureLog
from ai_gateway.upstream.client import Client
from ai_gateway.upstream.inventory import (
    BadInventory,
    read_contexts,
    read_list,
    read_models,
    read_residents,
    read_version,
)
from ai_gateway.upstream.transport import httpx_client
from ai_gateway.wire.address import Address

log = logging.getLogger("ai_gateway.polling")

JITTER: Final = 0.2
SHORTEST_PAUSE_SECONDS: Final = 0.1
STRIKES: Final = 2  # probes without an answer in time until an endpoint counts as down; a refusal counts at once


# A large fleet is looked at less often: polls must not take the loop from the calls.
MOST_PER_SECOND: Final = 100.0
AT_ONCE: Final = 20  # new endpoints whose first look does not wait
SLICE: Final = 200  # entries of a list that are read without letting others have the loop

TAGS: Final = "/api/tags"
RESIDENTS: Final = "/api/ps"


class Poller:
    """One set of loops per endpoint, started and stopped as discovery adds and removes it."""

    def __init__(self, fleet: Fleet, client: Client, settings: Callable[[], Polling], rng: random.Random) -> None:
        self._fleet = fleet
        self._client = client
        self._settings = settings
        self._random = rng
        self._tasks: dict[Address, asyncio.Task[None]] = {}
        self._watches: dict[Address, _EndpointPoller] = {}
        self._failures = FailureLog(log)

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
            self._client.keep(endpoint.address)
            watch = _EndpointPoller(self._fleet, endpoint, self._settings_now, self._random)
            self._watches[endpoint.address] = watch
            delay_seconds = self._random.uniform(0, late_seconds)
            self._tasks[endpoint.address] = asyncio.create_task(watch.run(self._client, delay_seconds, self._failures))

    def _settings_now(self) -> Polling:
        settings = self._settings()
        least = Seconds(len(self._watches) / MOST_PER_SECOND)
        if settings.interval >= least:
            return settings
        return msgspec.structs.replace(settings, interval=least, models_interval=max(least, settings.models_interval))

    def probe_soon(self, endpoint: Endpoint) -> None:
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


class _EndpointPoller:
    """The loops of one endpoint."""

    def __init__(self, fleet: Fleet, endpoint: Endpoint, settings: Callable[[], Polling], rng: random.Random) -> None:
        self._fleet = fleet
        self._endpoint = endpoint
        self._settings = settings
        self._random = rng
        self._up = asyncio.Event()
        self._strikes = 0
        self._looks_missing = {"models", "residents"}
        self.doubted = asyncio.Event()
        self.outdated = asyncio.Event()
        self.first_look = asyncio.Event()

    async def run(self, client: Client, delay_seconds: float, failures: FailureLog) -> None:
        """Probes, and while the endpoint is up lists its models on disk and in memory, each at its own pace."""
        await asyncio.sleep(delay_seconds)
        while True:
            try:
                await self._look_on(client)
            except Exception as failure:  # one of ours in one look must not end all later ones
                failures.note(failure, "looking at endpoint %s failed; it begins anew", self._endpoint.address)
                self.first_look.set()
                await self._pause(self._settings().interval, asyncio.Event())

    async def _look_on(self, client: Client) -> None:
        async with httpx_client(client, self._endpoint.address) as http, asyncio.TaskGroup() as loops:
            loops.create_task(self._probe_often(http))
            loops.create_task(self._while_up("residents", lambda: self._look_at_residents(http), asyncio.Event()))
            loops.create_task(self._while_up("models", lambda: self._look_at_models(http), self.outdated))

    async def _probe_often(self, http: httpx.AsyncClient) -> None:
        while True:
            reason = await self._probe(http)
            if reason is None:
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
            version = read_version(answer.content) if answer.status_code == 200 else None
        except TimeoutError:
            self._strikes += 1
            reason = f"/api/version did not answer within {self._settings().timeout:g} s"
            return self._down(reason) if self._strikes >= STRIKES else reason
        except httpx.HTTPError as error:
            return self._down(str(error))
        except BadInventory as bad:
            return self._down(str(bad))
        if version is None:
            return self._down(f"/api/version answered {answer.status_code}; is this an Ollama?")
        self._strikes = 0
        if self._fleet.saw_up(self._endpoint, version):
            log.info("endpoint %s is up, Ollama %s", self._endpoint.address, version)
        return None

    def _down(self, reason: str) -> str:
        if self._fleet.saw_down(self._endpoint, reason):
            log.warning("endpoint %s is down: %s", self._endpoint.address, reason)
        return reason

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
        entries = await self._entries(http, RESIDENTS, settings.residents_timeout)
        if entries is None:
            self._endpoint.contexts = {}
            self._fleet.saw_residents(self._endpoint, None)
            return settings.interval
        names: set[str] = set()
        contexts: dict[str, int] = {}
        for part in _slices(entries):
            names |= read_residents(part)
            contexts |= read_contexts(part)
            await asyncio.sleep(0)
        self._endpoint.contexts = contexts
        self._fleet.saw_residents(self._endpoint, frozenset(names))
        self._complain(RESIDENTS, _left_out(RESIDENTS, len(names) < len(entries)))
        return settings.interval

    async def _look_at_models(self, http: httpx.AsyncClient) -> float:
        settings = self._settings()
        entries = await self._entries(http, TAGS, settings.timeout)
        if entries is None:
            return settings.interval
        held: dict[str, HeldModel] = {}
        for part in _slices(entries):
            held |= read_models(part)
            await asyncio.sleep(0)
        self._fleet.saw_models(self._endpoint, held)
        self._complain(TAGS, _left_out(TAGS, len(held) < len(entries)))
        return settings.models_interval

    async def _entries(self, http: httpx.AsyncClient, path: str, seconds: float) -> list[msgspec.Raw] | None:
        """The list at a path, or None where there is none in time: that means unknown, not down."""
        try:
            async with asyncio.timeout(seconds):
                answer = await http.get(path)
            if answer.status_code == 200:
                return read_list(answer.content)
            self._complain(path, f"{path} answered {answer.status_code}")
        except TimeoutError:  # no news for the log: Ollama holds /api/ps back while it unloads a model
            self._fleet.complained(self._endpoint, path, f"{path} did not answer within {seconds:g} s")
        except httpx.HTTPError as error:
            self._complain(path, f"{path}: {error}")
        except BadInventory as bad:
            self._complain(path, f"{path} {bad}")
        return None

    def _complain(self, path: str, reason: str | None) -> None:
        if self._fleet.complained(self._endpoint, path, reason) and reason is not None:
            log.warning("endpoint %s: %s", self._endpoint.address, reason)


def _slices(entries: list[msgspec.Raw]) -> Iterator[list[msgspec.Raw]]:
    return (entries[start : start + SLICE] for start in range(0, len(entries), SLICE))


def _left_out(path: str, is_any: bool) -> str | None:
    return f"{path} lists what is no model's name, or one twice; that is left out" if is_any else None
