"""Carries out the steps of a rollout: the gateway's own calls to pull, copy, create and delete.

It looks at an endpoint before each step, since others may have changed it, and after it, so that what comes next is
known at once.
"""

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final

import httpx
import msgspec

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.failure_log import FailureLog
from ai_gateway.reconcile.reconciler import Reconciler
from ai_gateway.reconcile.steps import Copy, Create, Delete, LetGo, Pull, Step, StepOutcome, in_words
from ai_gateway.upstream.client import Client, Request
from ai_gateway.upstream.failures import UpstreamFailure
from ai_gateway.upstream.inventory import BadInventory, read_list, read_models, read_residents
from ai_gateway.upstream.progress import Progress, PullFailure
from ai_gateway.upstream.transport import httpx_client
from ai_gateway.wire.answer import read_error
from ai_gateway.wire.versions import version_of

log = logging.getLogger("ai_gateway.reconcile")

ROUND_SECONDS: Final = 0.25  # most find that nothing has changed
LOOK_SECONDS: Final = 10.0
QUICK_SECONDS: Final = 60.0  # copy, delete, and letting go
CREATE_SECONDS: Final = 300.0
SILENCE_SECONDS: Final = 600.0  # of a pull: Ollama verifies large files without a word
CONNECT_SECONDS: Final = 5.0
SILENT_SECONDS: Final = 10.0  # at a start the other gateways are not known yet
SHORT_KEEP: Final = "1m"
SAFE_TO_PULL: Final = "0.35.0"


class Failed(Exception):
    """A step was not carried out; the text is the reason."""


class Installer:
    """Runs rounds of decisions, and a task for each step that begins.

    `note` hears how each step ended, and `note_pulled` of each model's bytes, by key, as they come.
    """

    def __init__(
        self,
        reconciler: Reconciler,
        fleet: Fleet,
        client: Client,
        list_soon: Callable[[Endpoint], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._reconciler = reconciler
        self._fleet = fleet
        self._client = client
        self._list_soon = list_soon
        self._loop = loop
        self._tasks: dict[int, asyncio.Task[None]] = {}  # by the id of the step
        self._timer: asyncio.TimerHandle | None = None
        self._failures = FailureLog(log)
        self._has_warned = False
        self._silent_since: float | None = None
        self._said: set[str] = set()
        self._progress: dict[Endpoint, Progress] = {}
        self.note: Callable[[Step, StepOutcome], None] = lambda _step, _outcome: None
        self.note_pulled: Callable[[str, int], None] = lambda _key, _bytes: None

    def start(self) -> None:
        """Begins to decide."""
        self._reconciler.order, self._reconciler.cut = self._order, self._cut
        self._reconciler.report_progress(self._progress_on)
        self._round()

    async def stop(self) -> None:
        """Decides nothing more, and ends its calls: what was pulled so far stays on the endpoint, and is not lost."""
        self._reconciler.order = self._reconciler.cut = lambda _step: None
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _progress_on(self, endpoint: Endpoint) -> tuple[float, float | None] | None:
        progress = self._progress.get(endpoint)
        return None if progress is None else (progress.share, progress.seconds_left)

    def _round(self) -> None:
        self._timer = self._loop.call_later(ROUND_SECONDS, self._round)
        self._decide()
        self._say_why_not(self._reconciler.why_not)

    def _say_why_not(self, reason: str | None) -> None:
        """Says once why models are not followed, if nobody has asked for that by `mode`."""
        if reason is None or self._reconciler.settings.mode == "never":
            self._silent_since = None
            return
        now = self._fleet.now()
        self._silent_since = now if self._silent_since is None else self._silent_since
        if now - self._silent_since >= SILENT_SECONDS and reason not in self._said:
            self._said.add(reason)
            log.warning("this gateway does not bring models to the endpoints: %s (logged once)", reason)

    def _decide(self) -> None:
        try:
            self._reconciler.decide()
        except Exception as failure:  # a fault of one round must not end the next ones
            self._failures.note(failure, "a decision on models failed")
            return
        if not self._reconciler.is_over:
            self._loop.call_soon(self._decide, context=Context())

    def _order(self, step: Step) -> None:
        task = self._loop.create_task(self._carry_out(step), context=Context())
        self._tasks[id(step)] = task
        task.add_done_callback(lambda done: self._over(step, done))

    def _over(self, step: Step, task: "asyncio.Task[None]") -> None:
        self._tasks.pop(id(step), None)
        if task.cancelled():  # perhaps before it ran at all
            self._drop(step)

    def _cut(self, step: Step) -> None:
        task = self._tasks.get(id(step))
        if task is not None:
            task.cancel()

    async def _carry_out(self, step: Step) -> None:
        reason: str | None = None
        try:
            async with httpx_client(self._client, step.endpoint.address) as http:
                await self._look(http, step.endpoint)
                if not self._reconciler.is_due(step):
                    self._drop(step)
                    return
                log.info("endpoint %s: %s", step.endpoint.address, in_words(step))
                await self._do(http, step)
                await self._look(http, step.endpoint)
                if _shows(step) and self._reconciler.is_due(step):
                    raise Failed("Ollama says that it went well, and does not list it")
        except (Failed, PullFailure, BadInventory, httpx.HTTPError, UpstreamFailure, TimeoutError) as failure:
            reason = str(failure) or type(failure).__name__
        except Exception as failure:
            self._failures.note(failure, "%s on %s failed", in_words(step), step.endpoint.address)
            reason = "the gateway itself failed"
        finally:
            if isinstance(step, Pull):
                self._progress.pop(step.endpoint, None)
        if reason is not None:
            log.warning("endpoint %s: %s failed: %s", step.endpoint.address, in_words(step), reason)
        self.note(step, "done" if reason is None else "failed")
        self._reconciler.ended(step, reason)
        self._list_soon(step.endpoint)  # that tells of new weights, too
        self._decide()

    def _drop(self, step: Step) -> None:
        self.note(step, "dropped")
        self._reconciler.dropped(step)

    async def _look(self, http: httpx.AsyncClient, endpoint: Endpoint) -> None:
        """Lists what is on the disk and what is loaded, as polls do."""
        async with asyncio.timeout(LOOK_SECONDS):
            tags = await http.get("/api/tags")
            asked_at = self._fleet.now()
            residents = await http.get("/api/ps")
        if tags.status_code != 200 or residents.status_code != 200:
            raise Failed(f"/api/tags or /api/ps answered {max(tags.status_code, residents.status_code)}")
        self._fleet.saw_models(endpoint, read_models(read_list(tags.content)))
        loaded = read_residents(read_list(residents.content))
        self._fleet.saw_residents(endpoint, tuple(loaded.values()), asked_at, endpoint.residency.clock_ahead)

    async def _do(self, http: httpx.AsyncClient, step: Step) -> None:
        if isinstance(step, Pull):
            await self._pull(step)
        elif isinstance(step, Copy):
            await _send(http, "POST", "/api/copy", {"source": step.source, "destination": step.name}, QUICK_SECONDS)
        elif isinstance(step, Create):
            body: dict[str, Any] = {"model": step.name, "from": step.base, "stream": False}
            if step.parameters:
                body["parameters"] = dict(step.parameters)
            if step.system:
                body["system"] = step.system
            await _send(http, "POST", "/api/create", body, CREATE_SECONDS)
        elif isinstance(step, LetGo):
            await _send(http, "POST", "/api/embed", {"model": step.name, "keep_alive": SHORT_KEEP}, QUICK_SECONDS)
        elif isinstance(step, Delete):
            await _send(http, "DELETE", "/api/delete", {"model": step.name}, QUICK_SECONDS)

    def _warn_of_holes(self, endpoint: Endpoint) -> None:
        version, safe = version_of(endpoint.version), version_of(SAFE_TO_PULL)
        if self._has_warned or version is None or safe is None or version >= safe:
            return
        self._has_warned = True
        log.warning(
            "endpoint %s: /api/pull of Ollama %s has known holes: pull only from registries that you trust, or update "
            "it to %s or newer (logged once)",
            endpoint.address,
            endpoint.version,
            SAFE_TO_PULL,
        )

    async def _pull(self, step: Pull) -> None:
        """Follows the answer, which ends without `success` where the pull has failed."""
        self._warn_of_holes(step.endpoint)
        progress = self._progress[step.endpoint] = Progress(step.key, self._fleet.now())
        body = msgspec.json.encode({"model": step.name, "insecure": step.is_insecure, "stream": True})
        request = Request("POST", "/api/pull", (body,))
        async with self._client.exchange(step.endpoint.address, request, CONNECT_SECONDS) as answer:
            if answer.head.status != 200:
                raise Failed(read_error(await answer.read_all(64 << 10)) or f"/api/pull answered {answer.head.status}")
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    data = await answer.read()
                if not data:
                    break
                before = progress.received
                progress.feed(data, self._fleet.now())
                self.note_pulled(step.key, progress.received - before)
        progress.end()


def _shows(step: Step) -> bool:
    """Whether the endpoint lists something new after it."""
    return isinstance(step, Copy | Create) or (isinstance(step, Pull) and step.is_new)


async def _send(http: httpx.AsyncClient, method: str, path: str, body: dict[str, Any], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        answer = await http.request(
            method, path, content=msgspec.json.encode(body), headers={"content-type": "application/json"}
        )
    if answer.status_code != 200 or read_error(answer.content):
        raise Failed(read_error(answer.content) or f"{path} answered {answer.status_code}")
