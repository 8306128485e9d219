"""Polls every endpoint: is it up, which models does it have, which are loaded. Writes the results into the fleet."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Final

import httpx
import msgspec

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.resident import HeldModel, Resident
from ai_gateway.config.balancing import Polling
from ai_gateway.config.units import Seconds
from ai_gateway.failure_log import FailureLog
from ai_gateway.upstream.client import Client
from ai_gateway.upstream.inventory import (
    BadInventory,
    read_list,
    read_models,
    read_residents,
    read_version,
    unix_seconds,
)
from ai_gateway.upstream.outdated import reason_to_update
from ai_gateway.upstream.transport import httpx_client
from ai_gateway.upstream.weights import Asking, EndpointWeights
from ai_gateway.wire.address import Address

log = logging.getLogger("ai_gateway.polling")

JITTER: Final = 0.2
FIRST_POLLS_SECONDS: Final = 5.0
SHORTEST_PAUSE_SECONDS: Final = 0.1
STRIKES: Final = 2  # missed probes after which an endpoint is down; a refused connection counts at once


# A large fleet is polled less often: polls must not take the loop's time from the calls.
MOST_PER_SECOND: Final = 100.0
AT_ONCE: Final = 20  # new endpoints whose first poll does not wait
SLICE: Final = 200  # entries of a list that are read before other tasks get the loop

VERSION: Final = "/api/version"
TAGS: Final = "/api/tags"
RESIDENTS: Final = "/api/ps"


class Poller:
    """Polling loops for each endpoint, started and stopped as discovery adds and removes endpoints."""

    def __init__(self, fleet: Fleet, client: Client, settings: Callable[[], Polling], rng: random.Random) -> None:
        self._fleet = fleet
        self._client = client
        self._settings = settings
        self._random = rng
        self._tasks: dict[Address, asyncio.Task[None]] = {}
        self._pollers: dict[Address, _EndpointPoller] = {}
        self._failures = FailureLog(log)
        self._asking = Asking()
        fleet.list_soon = self.probe_soon

    def follow(self, new: list[Endpoint], gone: list[Endpoint]) -> None:
        """Starts polling new endpoints and stops polling those that are gone."""
        for endpoint in gone:
            self._pollers.pop(endpoint.address, None)
            task = self._tasks.pop(endpoint.address, None)
            if task is not None:
                task.cancel()
            self._client.forget(endpoint.address)
        late_seconds = len(new) / MOST_PER_SECOND if len(new) > AT_ONCE else 0.0
        for endpoint in new:
            self._client.keep(endpoint.address)
            weights = EndpointWeights(self._fleet, endpoint, self._asking)
            poller = _EndpointPoller(self._fleet, endpoint, self._settings_now, self._random, weights)
            self._pollers[endpoint.address] = poller
            delay_seconds = self._random.uniform(0, late_seconds)
            self._tasks[endpoint.address] = asyncio.create_task(poller.run(self._client, delay_seconds, self._failures))

    def _settings_now(self) -> Polling:
        settings = self._settings()
        least = Seconds(len(self._pollers) / MOST_PER_SECOND)
        if settings.interval >= least:
            return settings
        return msgspec.structs.replace(settings, interval=least, models_interval=max(least, settings.models_interval))

    def probe_soon(self, endpoint: Endpoint) -> None:
        """Polls an endpoint at once, after a failed call or a missing model."""
        poller = self._pollers.get(endpoint.address)
        if poller is not None:
            poller.probe_now.set()
            poller.list_now.set()

    def poll_residents_soon(self, endpoint: Endpoint) -> None:
        """Polls /api/ps at once, though not within 0.1 s after the last answer, while somebody waits for an unload."""
        poller = self._pollers.get(endpoint.address)
        if poller is not None:
            poller.residents_now.set()

    async def first_round(self) -> None:
        """Returns when every endpoint known now has been polled once."""
        for poller in list(self._pollers.values()):
            await poller.first_poll.wait()

    async def begun(self) -> None:
        """Returns when discovery's first endpoints have been polled once, or after FIRST_POLLS_SECONDS."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_POLLS_SECONDS):
                await self._fleet.listed.wait()
                await self.first_round()

    async def stop(self) -> None:
        """Ends all loops."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


class _EndpointPoller:
    """The polling loops of one endpoint."""

    def __init__(
        self,
        fleet: Fleet,
        endpoint: Endpoint,
        settings: Callable[[], Polling],
        rng: random.Random,
        weights: EndpointWeights,
    ) -> None:
        self._fleet = fleet
        self._endpoint = endpoint
        self._settings = settings
        self._random = rng
        self._weights = weights
        self._up = asyncio.Event()
        self._listed = asyncio.Event()
        self._warned_of: str | None = None  # a version
        self._strikes = 0
        self._clock_ahead: float | None = None
        self._polls_missing = {"models", "residents"}
        self.probe_now = asyncio.Event()
        self.list_now = asyncio.Event()
        self.residents_now = asyncio.Event()
        self.first_poll = asyncio.Event()

    async def run(self, client: Client, delay_seconds: float, failures: FailureLog) -> None:
        """Probes, and while the endpoint is up lists its models on disk and in memory, each at its own interval."""
        await asyncio.sleep(delay_seconds)
        while True:
            try:
                await self._poll(client)
            except Exception as failure:  # an unexpected failure of one poll must not end polling
                failures.note(failure, "polling endpoint %s failed; polling starts again", self._endpoint.address)
                self.first_poll.set()
                await self._pause(self._settings().interval, asyncio.Event())

    async def _poll(self, client: Client) -> None:
        async with httpx_client(client, self._endpoint.address) as http, asyncio.TaskGroup() as loops:
            loops.create_task(self._probe_often(http))
            loops.create_task(self._while_up("residents", lambda: self._poll_residents(http), self.residents_now))
            loops.create_task(self._while_up("models", lambda: self._poll_models(http), self.list_now))
            loops.create_task(self._learn_weights(http))

    async def _learn_weights(self, http: httpx.AsyncClient) -> None:
        """After each list of models; beside the polls, which it must not hold up."""
        while True:
            await self._listed.wait()
            self._listed.clear()
            await self._weights.learn(http)

    async def _probe_often(self, http: httpx.AsyncClient) -> None:
        while True:
            reason = await self._probe(http)
            if reason is None:
                self._up.set()
            else:
                self._up.clear()
                self.first_poll.set()
            await self._pause(self._settings().interval, self.probe_now)

    async def _pause(self, seconds: float, interrupted: asyncio.Event) -> None:
        spread = seconds * self._random.uniform(1 - JITTER, 1 + JITTER)
        await asyncio.sleep(min(SHORTEST_PAUSE_SECONDS, spread))  # many failed calls must not cause many probes
        try:
            async with asyncio.timeout(spread):
                await interrupted.wait()
        except TimeoutError:
            return
        interrupted.clear()

    async def _probe(self, http: httpx.AsyncClient) -> str | None:
        """Requests /api/version; returns None, or the reason why that failed."""
        try:
            async with asyncio.timeout(self._settings().timeout):
                answer = await http.get(VERSION)
            version = read_version(answer.content) if answer.status_code == 200 else None
        except TimeoutError:
            self._strikes += 1
            reason = f"{VERSION} did not answer within {self._settings().timeout:g} s"
            self._fleet.saw_residents(self._endpoint, None)  # nothing more is to be awaited from it for now
            return self._down(reason) if self._strikes >= STRIKES else reason
        except httpx.HTTPError as error:
            return self._down(str(error))
        except BadInventory as bad:
            return self._down(str(bad))
        if version is None:
            return self._down(f"{VERSION} answered {answer.status_code}; is this an Ollama?")
        self._strikes = 0
        if self._fleet.saw_up(self._endpoint, version):
            log.info("endpoint %s is up, Ollama %s", self._endpoint.address, version)
        self._check_version(version)
        return None

    def _check_version(self, version: str | None) -> None:
        reason = reason_to_update(version)
        self._fleet.note_check(self._endpoint, VERSION, reason)
        if reason is not None and version != self._warned_of:
            log.warning("endpoint %s: %s", self._endpoint.address, reason)
            self._warned_of = version

    def _down(self, reason: str) -> str:
        if self._fleet.saw_down(self._endpoint, reason):
            log.warning("endpoint %s is down: %s", self._endpoint.address, reason)
        return reason

    async def _while_up(self, what: str, poll: Callable[[], Awaitable[float]], list_now: asyncio.Event) -> None:
        while True:
            await self._up.wait()
            seconds = await poll()
            self._polls_missing.discard(what)
            if not self._polls_missing:
                self.first_poll.set()
            await self._pause(seconds, list_now)

    async def _poll_residents(self, http: httpx.AsyncClient) -> float:
        settings = self._settings()
        asked_at = self._fleet.now()
        entries = await self._entries(http, RESIDENTS, settings.residents_timeout)
        if entries is None:
            self._fleet.saw_residents(self._endpoint, None, asked_at)
            return settings.interval
        residents: dict[str, Resident] = {}
        for part in _slices(entries):
            residents |= read_residents(part)
            await asyncio.sleep(0)
        self._fleet.saw_residents(self._endpoint, tuple(residents.values()), asked_at, self._clock_ahead)
        self._note_check(RESIDENTS, _left_out(RESIDENTS, len(residents) < len(entries)))
        return settings.interval

    async def _poll_models(self, http: httpx.AsyncClient) -> float:
        settings = self._settings()
        entries = await self._entries(http, TAGS, settings.timeout)
        if entries is None:
            return settings.interval
        models: dict[str, HeldModel] = {}
        for part in _slices(entries):
            models |= read_models(part)
            await asyncio.sleep(0)
        self._fleet.saw_models(self._endpoint, models)
        self._listed.set()
        self._note_check(TAGS, _left_out(TAGS, len(models) < len(entries)))
        return settings.models_interval

    async def _entries(self, http: httpx.AsyncClient, path: str, seconds: float) -> list[msgspec.Raw] | None:
        """The list at a path, or None if it does not come in time: that means unknown, not down."""
        try:
            async with asyncio.timeout(seconds):
                answer = await http.get(path)
            self._clock_ahead = self._ahead(answer)
            if answer.status_code == 200:
                return read_list(answer.content)
            self._note_check(path, f"{path} answered {answer.status_code}")
        except TimeoutError:  # not for the log: Ollama delays /api/ps while it unloads a model
            self._fleet.note_check(self._endpoint, path, f"{path} did not answer within {seconds:g} s")
        except httpx.HTTPError as error:
            self._note_check(path, f"{path}: {error}")
        except BadInventory as bad:
            self._note_check(path, f"{path} {bad}")
        return None

    def _ahead(self, answer: httpx.Response) -> float | None:
        """By how much the endpoint's clock is ahead of ours, which is monotonic; None if its answer tells no date."""
        date = unix_seconds(answer.extensions.get("date", b""))
        return None if date is None else date - self._fleet.now()

    def _note_check(self, path: str, reason: str | None) -> None:
        if self._fleet.note_check(self._endpoint, path, reason) and reason is not None:
            log.warning("endpoint %s: %s", self._endpoint.address, reason)


def _slices(entries: list[msgspec.Raw]) -> Iterator[list[msgspec.Raw]]:
    return (entries[start : start + SLICE] for start in range(0, len(entries), SLICE))


def _left_out(path: str, is_any: bool) -> str | None:
    return f"{path} lists an invalid or repeated model name; the gateway ignores it" if is_any else None
