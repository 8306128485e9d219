"""The page to read first: every part of the gateway, built top to bottom in the order a request meets it."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from ai_gateway.auth.guard import Guard, Readied
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.catalog.current import Current, InForce, ready
from ai_gateway.cluster.access import Access
from ai_gateway.cluster.api import ApiServer
from ai_gateway.cluster.config_map import Named, sources
from ai_gateway.cluster.gateways import Gateways
from ai_gateway.cluster.token_review import review
from ai_gateway.config.access import Oidc, is_on
from ai_gateway.config.beside import fade
from ai_gateway.config.live import Live as LiveConfig
from ai_gateway.config.types import Config
from ai_gateway.discovery.choosing import Surroundings, choose, is_explicit
from ai_gateway.discovery.following import Following
from ai_gateway.discovery.reaching import Reaching
from ai_gateway.discovery.source import Found, Source
from ai_gateway.edge.asgi import ASGIApp
from ai_gateway.edge.audit_routes import AuditLogs
from ai_gateway.edge.auditing import Auditing, Holding
from ai_gateway.edge.authentication import Authentication
from ai_gateway.edge.buffers import Buffers
from ai_gateway.edge.catalog_routes import ListModels, ShowModel
from ai_gateway.edge.cors import CrossOrigin
from ai_gateway.edge.counting import Counting
from ai_gateway.edge.draining import Drain
from ai_gateway.edge.errands import Parts
from ai_gateway.edge.forward import Forward
from ai_gateway.edge.health import Condition, Health, Live, Readiness, Ready, Sign
from ai_gateway.edge.hosts import HostCheck
from ai_gateway.edge.limiting import Limiting
from ai_gateway.edge.metrics import Metrics, Told, readings
from ai_gateway.edge.opening import Opening
from ai_gateway.edge.permissions import may_read_audit
from ai_gateway.edge.recording import Reader, Recording
from ai_gateway.edge.rescue import Rescue
from ai_gateway.edge.routing import SIGNS, Direct, Front, Methods, greet, router
from ai_gateway.edge.used_today import used_today
from ai_gateway.edge.watch import Departures
from ai_gateway.limits.limiter import Around, Limiter
from ai_gateway.telemetry.content import KeptContent
from ai_gateway.telemetry.loop_lag import LoopLag
from ai_gateway.telemetry.refused import Refused
from ai_gateway.telemetry.request_metrics import RequestMetrics
from ai_gateway.telemetry.settings import TelemetrySettings
from ai_gateway.telemetry.tracing import Tracing, span_readings
from ai_gateway.upstream.answering import answers
from ai_gateway.upstream.client import Client
from ai_gateway.upstream.details import ModelDetails
from ai_gateway.upstream.polling import Poller
from ai_gateway.wire.address import Address
from ai_gateway.wire.call import PATHS

if TYPE_CHECKING:
    from ai_gateway.auth.oidc import Fetch

FIRST_LOOK_SECONDS: Final = 5.0


class Options(msgspec.Struct, frozen=True):
    """What the command decides: where the config is, the surroundings, and endpoints that stand for missing ones.

    With `config_map` the config is followed there; a file that is named as well stands in while that cannot be read.
    """

    config_path: Path | None
    environment: dict[str, str]
    demo: Source | None = None  # simulated endpoints, used instead of what the surroundings offer
    access: Access = Access()
    config_map: Named | None = None
    telemetry: TelemetrySettings = TelemetrySettings()
    required: frozenset[str] = frozenset()  # sections that the config must have


class Gateway:
    """All parts, and the two ASGI apps made of them. Needs a running event loop."""

    def __init__(self, options: Options, readers: tuple[Reader, ...] = (), tracing: Tracing | None = None) -> None:
        loop = asyncio.get_running_loop()
        chance = random.Random()  # noqa: S311 - spreads load and timers, guards nothing
        self._options = options
        self._tracing = tracing
        api_server = ApiServer(options.access)
        self._surroundings = Surroundings(options.environment, self._answers, api_server)
        self.current = Current(Config(), is_loaded=False)
        source = str(options.config_map or options.config_path)
        self.live = LiveConfig(source, self._apply, self._ready, options.required)
        self.config_file, self._config_map = sources(options.config_path, options.config_map, api_server, self.live)
        self.client = Client(loop)
        self.guard = Guard(partial(review, api_server), self._fetching)
        self.fleet = Fleet(time.monotonic, chance)
        self.poller = Poller(self.fleet, self.client, lambda: self.current.now.config.polling, chance)
        self.gateways = Gateways(options.environment.get("AI_GATEWAY_SERVICE"), api_server)
        self.limiter = Limiter(Around(time.time, time.monotonic, self.gateways.ready, lambda: self.gateways.complaint))
        self._limiting = Limiting(self.limiter, Counting(time.monotonic))
        self.discovery = Following(self._take)
        self._reaching = Reaching(self.fleet.endpoints.values, self.discovery, options.access, loop.call_later)
        self.readiness = Readiness()
        self.buffers = Buffers()
        self.departures = Departures(loop)
        self.auditing = Auditing(time.monotonic, options.environment)
        self._condition = Condition(
            self.fleet,
            self.current,
            self.live,
            self.discovery,
            self._config_map.events if self._config_map else None,
            self.guard,
            self.limiter,
            self.readiness,
            time.monotonic,
            time.monotonic(),
            self.auditing,
        )
        self._requests = RequestMetrics(options.telemetry.exemplars)
        self._lag = LoopLag(time.monotonic)
        self.refused = Refused()  # the server tells it of what never became a request
        self.metrics = Metrics(self._told())
        self._is_running = False
        self.on_drain: Callable[[], None] | None = None  # what a pre-stop hook asks for; the command sets it
        self.on_config: Callable[[Config], None] = lambda _: None  # for what the command holds; it sets this, too
        self.api = self._api(readers)
        self.admin = self._admin()

    def _api(self, readers: tuple[Reader, ...]) -> ASGIApp:
        content = KeptContent if self._options.telemetry.content else None
        parts = Parts(
            self.current,
            self.fleet,
            self.client,
            self.buffers,
            self.departures,
            self.poller.doubt,
            self._limiting,
            self.auditing,
            content,
        )
        started_at = int(time.time())
        listed = ListModels(self.current, self.fleet, started_at)
        shown = ShowModel(
            self.current,
            self.fleet,
            ModelDetails(self.client, self._tracing.wrap if self._tracing else None),
            started_at,
        )
        logs = AuditLogs(self.auditing, partial(may_read_audit, self.current), self.gateways.ready)
        hot: dict[str, ASGIApp] = {
            path: Methods(path, Forward(operation, parts), "POST") for operation, path in PATHS.items()
        }
        signs = dict.fromkeys(SIGNS, Sign(self._condition))
        reading: dict[str, ASGIApp] = {"/v1/models": listed, "/v1/models/{model}": shown, "/v1/audit/logs": logs}
        routes = router({**reading, "/v1/health": Health(self._condition), "/": greet, **signs})
        marks = [(b"x-ai-gateway-demo", b"simulated endpoints")] if self._options.demo else []
        app = self._rescued(Authentication(Direct(hot, routes), self.guard))
        readers = (self._requests, self.auditing, *readers)
        if self._tracing is not None:
            readers = (self._tracing, *readers)
        recording = Recording(Holding(app, self.auditing), readers, self._opening(marks, self._tracing))
        return Front(recording, Recording(self._rescued(router(signs)), (), self._opening(marks, None)))

    def _rescued(self, app: ASGIApp) -> ASGIApp:
        """Behind the checks of who may ask at all, a page or a name."""
        inner = CrossOrigin(app, self.current)
        return Rescue(HostCheck(inner, self.current, lambda: self.guard.authenticator is not None))

    def _told(self) -> list[Told]:
        """Everyone who measures something."""
        told: list[Told] = [lambda: readings(self._condition), self._requests.readings, self._lag.readings]
        told += [self.refused.readings, self._limiting.readings, self.auditing.readings]
        return told if self._tracing is None else [*told, partial(span_readings, self._tracing)]

    def _admin(self) -> ASGIApp:
        reading: dict[str, ASGIApp] = {"/livez": Live(), "/readyz": Ready(self._condition), "/metrics": self.metrics}
        routes = router(reading, {"/drain": Drain(self._begin_drain, self.current)})
        # No method of `auth` is asked here: a name is looked at whatever callers of the API have to prove.
        return Recording(Rescue(HostCheck(routes, self.current, lambda: False)), (), self._opening([], None))

    def _opening(self, marks: list[tuple[bytes, bytes]], tracing: Tracing | None) -> Opening:
        trusted: Callable[[], tuple[str, ...]] = lambda: self.current.now.config.trusted_proxies  # noqa: E731
        sampler = None if tracing is None else tracing.samples
        return Opening(time.monotonic, trusted, marks, self._options.telemetry, sampler)

    @asynccontextmanager
    async def following_config(self) -> AsyncIterator[None]:
        """Reads the config and goes on to follow it. Returns with the first one, or when there is none for now."""
        sources = [source for source in (self.config_file, self._config_map) if source is not None]
        assert sources, "a config has a source"
        async with AsyncExitStack() as ending:
            for source in sources:
                ending.push_async_callback(_ended, asyncio.create_task(source.follow()))
            await self.live.settled()
            yield

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The slower story beside the requests: discovery and polls, the audit, and what limits are counted by."""
        async with AsyncExitStack() as ending:  # backwards, and each whatever becomes of the others
            ending.push_async_callback(self.auditing.end)
            await self.auditing.begin(self.current.now.config.audit)
            ending.callback(self.client.close)
            ending.callback(self.guard.close)
            ending.push_async_callback(self.limiter.close)
            ending.callback(self.gateways.stop)
            self.gateways.start()
            await self._remember_today()
            self._is_running = True
            ending.push_async_callback(self.poller.stop)
            ending.push_async_callback(self.discovery.stop)
            self._follow(self.current.now.config)
            ending.push_async_callback(_ended, asyncio.create_task(self._look_first()))
            ending.push_async_callback(_ended, asyncio.create_task(self.guard.follow()))
            with self._lag.running(asyncio.get_running_loop()):
                yield

    def reread(self) -> None:
        """Reads again what the config's sources hold, changed or not."""
        for source in (self.config_file, self._config_map):
            if source is not None:
                source.reread()

    def _begin_drain(self) -> None:
        if self.on_drain is not None:
            self.on_drain()

    def leave(self) -> None:
        """The gateway begins to drain: it is not ready any more."""
        self.readiness.is_draining = True

    def _ready(self, config: Config) -> tuple[InForce, Readied | None, list[object]]:
        """What is made of a checked config, and what the old one is made of; in a thread: it takes a while."""
        return ready(config), self.guard.ready(config.auth), self.current.now.parts()

    def _apply(self, made: tuple[InForce, Readied | None, list[object]]) -> Iterator[None]:
        """Puts a checked config in force, in steps; all that decides on a call is exchanged in the last one."""
        new, readied, parts = made
        config, old = new.config, self.current.now
        yield from new.catalog.steps_to(self.fleet)
        if not old.is_loaded:
            self.auditing.want(config.audit)
        self.guard.apply(config.auth, config.callers, readied)
        self.current.swap(new)
        self.on_config(config)
        self.limiter.configure(new.catalog.limits)
        if self._is_running and config.discovery != old.config.discovery:
            self._follow(config)
        fade(parts)

    def _follow(self, config: Config) -> None:
        demo = None if is_explicit(config.discovery) else self._options.demo
        self.discovery.follow(demo or choose(config.discovery, self._surroundings))

    def _take(self, found: Found) -> None:
        new, gone = self.fleet.apply(found.addresses, found.pods)
        self.poller.follow(new, gone)
        self._reaching.listed()

    async def _look_first(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                await self.fleet.listed.wait()
                await self.poller.first_round()
        self.auditing.advise(self.gateways.ready())
        self.readiness.is_looking = False

    async def _remember_today(self) -> None:
        """Day budgets go on where they were before the start; keys and rules may have some, too."""
        config, catalog = self.current.now.config, self.current.now.catalog
        if config.limits is not None or is_on(config.auth):
            self.limiter.seed(await used_today(self.auditing, catalog.identity, self.gateways))

    def _fetching(self, oidc: Oidc) -> "Fetch":
        from ai_gateway.upstream.fetching import Fetching

        return Fetching(self.client, oidc.ca_file, oidc.token_file, oidc.issuer)

    async def _answers(self, address: Address) -> bool:
        return await answers(self.client, address)


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
