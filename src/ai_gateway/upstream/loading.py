"""Carries out the decisions on loads: the gateway's own calls, which no client can end."""

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final

import httpx
import msgspec

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.load import UNLOAD_SECONDS, Load
from ai_gateway.failure_log import FailureLog
from ai_gateway.upstream.client import Client
from ai_gateway.upstream.transport import httpx_client
from ai_gateway.wire.answer import read_error

log = logging.getLogger("ai_gateway.balancing")

ROUND_SECONDS: Final = 0.1  # between two rounds of decisions
TICK_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.25  # between two looks whether an unload is over


class Loader:
    """Runs rounds of decisions when the fleet asks for one, and a task for each load that it orders."""

    def __init__(
        self, fleet: Fleet, client: Client, poll_soon: Callable[[Endpoint], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._fleet = fleet
        self._client = client
        self._poll_soon = poll_soon
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()
        self._round: asyncio.TimerHandle | None = None
        self._round_at = 0.0
        self._tick: asyncio.TimerHandle | None = None
        self._failures = FailureLog(log)

    def start(self) -> None:
        """Begins to decide."""
        self._fleet.wake = self._wake
        self._fleet.loads.order = self._order
        self._ticked()

    async def stop(self) -> None:
        """Decides nothing more, and ends its own calls: Ollama gives up the loads that they are."""
        self._fleet.wake = lambda: None
        self._fleet.loads.order = lambda _load: None
        for timer in (self._round, self._tick):
            if timer is not None:
                timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _wake(self) -> None:
        if self._round is None:
            due = max(self._loop.time(), self._round_at + ROUND_SECONDS)
            # In an empty context: the call that woke it is not the one that the log should name.
            self._round = self._loop.call_at(due, self._decide, context=Context())

    def _decide(self) -> None:
        self._round, self._round_at = None, self._loop.time()
        try:
            self._fleet.decide()
        except Exception as failure:  # a fault of one round must not end the next ones
            self._failures.note(failure, "a decision on loads failed")

    def _ticked(self) -> None:
        self._tick = self._loop.call_later(TICK_SECONDS, self._ticked)
        try:
            self._fleet.tick()
        except Exception as failure:
            self._failures.note(failure, "a decision on loads failed")

    def _order(self, load: Load) -> None:
        task = self._loop.create_task(self._carry_out(load), context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, load: Load) -> None:
        try:
            await (self._unload(load) if load.phase == "unloading" else self._load(load))
        except Exception as failure:
            self._failures.note(failure, "loading %s on %s failed", load.model, load.endpoint.address)
            self._fleet.loads.loaded(load, "the gateway itself failed")

    async def _unload(self, load: Load) -> None:
        """Asks Ollama to let go of the victim, and looks until it has."""
        assert load.victim is not None
        log.info("endpoint %s: unloading %s for %s", load.endpoint.address, load.victim.name, load.model)
        body = {"model": load.victim.name, "keep_alive": 0}
        _, reason = await self._post(load.endpoint, "/api/generate", body, UNLOAD_SECONDS)
        self._fleet.loads.unloaded(load, reason and f"{load.victim.name} could not be unloaded: {reason}")
        while not load.is_over and load.phase == "unloading":
            self._poll_soon(load.endpoint)
            await asyncio.sleep(POLL_SECONDS)

    async def _load(self, load: Load) -> None:
        """An embedding of nothing loads a model of any kind (server/routes.go, EmbedHandler).

        Where an endpoint makes no embeddings with it, an empty prompt loads it.
        """
        log.info("endpoint %s: loading %s", load.endpoint.address, load.model)
        body: dict[str, Any] = {"model": load.model}
        if load.keep_alive is not None:
            body["keep_alive"] = load.keep_alive
        begun = self._loop.time()
        status, reason = await self._post(load.endpoint, "/api/embed", body, load.limit_seconds)
        if reason is not None and _makes_no_embeddings(status, reason):
            _, reason = await self._post(load.endpoint, "/api/generate", body, load.limit_seconds)
        seconds = self._loop.time() - begun
        if reason is None:
            log.info("endpoint %s: loaded %s in %.1f s", load.endpoint.address, load.model, seconds)
        elif not load.is_over:
            log.warning("endpoint %s: loading %s failed: %s", load.endpoint.address, load.model, reason)
        self._fleet.loads.loaded(load, reason)
        self._poll_soon(load.endpoint)

    async def _post(
        self, endpoint: Endpoint, path: str, body: dict[str, Any], seconds: float
    ) -> tuple[int, str | None]:
        """The answer's status (0: there is none), and the reason why Ollama did not do as asked; None: it did."""
        content = msgspec.json.encode(body)
        headers = {"content-type": "application/json"}
        try:
            async with httpx_client(self._client, endpoint.address) as http, asyncio.timeout(seconds):
                answer = await http.post(path, content=content, headers=headers)
        except TimeoutError:
            return 0, f"{path} did not answer within {seconds:g} s"
        except httpx.ConnectError as error:  # nothing was asked: the endpoint is away, which ends the load
            if self._fleet.saw_down(endpoint, str(error)):
                log.warning("endpoint %s is down: %s", endpoint.address, error)
            return 0, str(error)
        except httpx.HTTPError as error:
            return 0, f"the connection broke before {path} was answered ({str(error) or type(error).__name__})"
        status = answer.status_code
        if status == 200:
            return status, None
        reason = read_error(answer.content) or f"{path} answered {status}"
        if status == 404 and not _makes_no_embeddings(status, reason):
            self._fleet.mark_missing(endpoint, body["model"])
        return status, reason


def _makes_no_embeddings(status: int, reason: str) -> bool:
    return status in (400, 501) or (status == 404 and "does not support" in reason)
