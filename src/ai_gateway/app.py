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

from ai_gateway.accounting.admission import AdmissionControl
from ai_gateway.accounting.audit import Audit, AuditGate
from ai_gateway.accounting.budgets import restore_budgets
from ai_gateway.accounting.tokens import TokenAccounting
from ai_gateway.auth.state import AuthState, PreparedAuth
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.catalog.active import ActiveConfig, CurrentConfig, prepare
from ai_gateway.cluster.access import Access
from ai_gateway.cluster.api import ApiServer
from ai_gateway.cluster.config_map import ConfigMapRef, sources
from ai_gateway.cluster.gateways import Gateways
from ai_gateway.cluster.token_review import review
from ai_gateway.config.access import Oidc, is_on
from ai_gateway.config.beside import fade
from ai_gateway.config.state import ConfigState as LiveConfig
from ai_gateway.config.types import Config
from ai_gateway.discovery.reachability import ReachabilityCheck
from ai_gateway.discovery.runner import DiscoveryRunner
from ai_gateway.discovery.selection import DiscoveryInputs, choose, is_explicit
from ai_gateway.discovery.source import Found, Source
from ai_gateway.edge.asgi import ASGIApp
from ai_gateway.edge.attempts import Upstreams
from ai_gateway.edge.audit_routes import AuditLogs
from ai_gateway.edge.authentication import Authentication
from ai_gateway.edge.buffers import Buffers
from ai_gateway.edge.cancel_scope import RunningRequests
from ai_gateway.edge.catalog_routes import ListModels, ShowModel
from ai_gateway.edge.cors import CrossOrigin
from ai_gateway.edge.draining import Drain
from ai_gateway.edge.error_middleware import ErrorMiddleware
from ai_gateway.edge.exchange_middleware import ExchangeMiddleware, Reader
from ai_gateway.edge.forward import Forward, RequestDeps
from ai_gateway.edge.health import Health, Liveness, Readiness, Ready, Sign, StatusSources
from ai_gateway.edge.hosts import HostCheck
from ai_gateway.edge.metrics import Metrics, MetricSource, status_samples
from ai_gateway.edge.open_exchange import Opening
from ai_gateway.edge.permissions import may_read_audit
from ai_gateway.edge.routing import SIGNS, Direct, Front, Methods, greet, router
from ai_gateway.limits.limiter import Limiter, LimiterDeps
from ai_gateway.telemetry.content import KeptContent
from ai_gateway.telemetry.loop_lag import LoopLag
from ai_gateway.telemetry.refused_requests import RefusedRequests
from ai_gateway.telemetry.request_metrics import RequestMetrics
from ai_gateway.telemetry.settings import TelemetrySettings
from ai_gateway.telemetry.tracing import Tracing, span_samples
from ai_gateway.upstream.client import Client
from ai_gateway.upstream.details import ModelDetails
from ai_gateway.upstream.liveness import is_answering
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
    config_map: ConfigMapRef | None = None
    telemetry: TelemetrySettings = TelemetrySettings()
    required: frozenset[str] = frozenset()  # sections that the config must have


class Gateway:
    """All parts, and the two ASGI apps made of them. Needs a running event loop."""

    def __init__(self, options: Options, readers: tuple[Reader, ...] = (), tracing: Tracing | None = None) -> None:
        loop = asyncio.get_running_loop()
        rng = random.Random()  # noqa: S311 - spreads load and timers, guards nothing
        self._options = options
        self._tracing = tracing
        api_server = ApiServer(options.access)
        self._inputs = DiscoveryInputs(options.environment, self._answers, api_server)
        self.current = CurrentConfig(Config(), is_loaded=False)
        source = str(options.config_map or options.config_path)
        self.live = LiveConfig(source, self._apply, self._ready, options.required)
        self.config_file, self._config_map = sources(options.config_path, options.config_map, api_server, self.live)
        self.client = Client(loop)
        self.auth_state = AuthState(partial(review, api_server), self._fetching)
        self.fleet = Fleet(time.monotonic, rng)
        self.poller = Poller(self.fleet, self.client, lambda: self.current.now.config.polling, rng)
        self.gateways = Gateways(options.environment.get("AI_GATEWAY_SERVICE"), api_server)
        self.limiter = Limiter(
            LimiterDeps(time.time, time.monotonic, self.gateways.ready, lambda: self.gateways.reason)
        )
        self._admission = AdmissionControl(self.limiter, TokenAccounting(time.monotonic))
        self.discovery = DiscoveryRunner(self._take)
        self._reachability = ReachabilityCheck(
            self.fleet.endpoints.values, self.discovery, options.access, loop.call_later
        )
        self.readiness = Readiness()
        self.buffers = Buffers()
        self.running_requests = RunningRequests(loop)
        self.audit = Audit(time.monotonic, options.environment)
        self._condition = StatusSources(
            self.fleet,
            self.current,
            self.live,
            self.discovery,
            self._config_map.events if self._config_map else None,
            self.auth_state,
            self.limiter,
            self.readiness,
            time.monotonic,
            time.monotonic(),
            self.audit,
        )
        self._requests = RequestMetrics(options.telemetry.exemplars)
        self._lag = LoopLag(time.monotonic)
        self.refused = RefusedRequests()  # the server tells it of what never became a request
        self.metrics = Metrics(self._told())
        self._is_running = False
        self.on_drain: Callable[[], None] | None = None  # what a pre-stop hook asks for; the command sets it
        self.on_config: Callable[[Config], None] = lambda _: None  # for what the command holds; it sets this, too
        self.api = self._api(readers)
        self.admin = self._admin()

    def _api(self, readers: tuple[Reader, ...]) -> ASGIApp:
        deps = RequestDeps(
            current=self.current,
            upstreams=Upstreams(fleet=self.fleet, client=self.client, probe_soon=self.poller.probe_soon),
            buffers=self.buffers,
            running_requests=self.running_requests,
            admission=self._admission,
            audit=self.audit,
            content=KeptContent if self._options.telemetry.content else None,
        )
        started_at = int(time.time())
        listed = ListModels(self.current, self.fleet, started_at)
        shown = ShowModel(
            self.current,
            self.fleet,
            ModelDetails(self.client, self._tracing.wrap if self._tracing else None),
            started_at,
        )
        logs = AuditLogs(self.audit, partial(may_read_audit, self.current), self.gateways.ready)
        hot: dict[str, ASGIApp] = {
            path: Methods(path, Forward(operation, deps), "POST") for operation, path in PATHS.items()
        }
        signs = dict.fromkeys(SIGNS, Sign(self._condition))
        reading: dict[str, ASGIApp] = {"/v1/models": listed, "/v1/models/{model}": shown, "/v1/audit/logs": logs}
        routes = router({**reading, "/v1/health": Health(self._condition), "/": greet, **signs})
        marks = [(b"x-ai-gateway-demo", b"simulated endpoints")] if self._options.demo else []
        app = self._rescued(Authentication(Direct(hot, routes), self.auth_state))
        readers = (self._requests, self.audit, *readers)
        if self._tracing is not None:
            readers = (self._tracing, *readers)
        recording = ExchangeMiddleware(AuditGate(app, self.audit), readers, self._opening(marks, self._tracing))
        return Front(recording, ExchangeMiddleware(self._rescued(router(signs)), (), self._opening(marks, None)))

    def _rescued(self, app: ASGIApp) -> ASGIApp:
        """Behind the checks of who may ask at all, a page or a name."""
        inner = CrossOrigin(app, self.current)
        return ErrorMiddleware(HostCheck(inner, self.current, lambda: self.auth_state.authenticator is not None))

    def _told(self) -> list[MetricSource]:
        """Everyone who measures something."""
        told: list[MetricSource] = [lambda: status_samples(self._condition), self._requests.samples, self._lag.samples]
        told += [self.refused.samples, self._admission.samples, self.audit.samples]
        return told if self._tracing is None else [*told, partial(span_samples, self._tracing)]

    def _admin(self) -> ASGIApp:
        reading: dict[str, ASGIApp] = {
            "/livez": Liveness(),
            "/readyz": Ready(self._condition),
            "/metrics": self.metrics,
        }
        routes = router(reading, {"/drain": Drain(self._begin_drain, self.current)})
        # No method of `auth` is asked here: a name is looked at whatever callers of the API have to prove.
        return ExchangeMiddleware(
            ErrorMiddleware(HostCheck(routes, self.current, lambda: False)), (), self._opening([], None)
        )

    def _opening(self, marks: list[tuple[bytes, bytes]], tracing: Tracing | None) -> Opening:
        trusted: Callable[[], tuple[str, ...]] = lambda: self.current.now.config.trusted_proxies  # noqa: E731
        sampler = None if tracing is None else tracing.is_sampled
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
            ending.push_async_callback(self.audit.end)
            await self.audit.begin(self.current.now.config.audit)
            ending.callback(self.client.close)
            ending.callback(self.auth_state.close)
            ending.push_async_callback(self.limiter.close)
            ending.callback(self.gateways.stop)
            self.gateways.start()
            await self._remember_today()
            self._is_running = True
            ending.push_async_callback(self.poller.stop)
            ending.push_async_callback(self.discovery.stop)
            self._follow(self.current.now.config)
            ending.push_async_callback(_ended, asyncio.create_task(self._look_first()))
            ending.push_async_callback(_ended, asyncio.create_task(self.auth_state.follow()))
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

    def _ready(self, config: Config) -> tuple[ActiveConfig, PreparedAuth | None, list[object]]:
        """What is made of a checked config, and what the old one is made of; in a thread: it takes a while."""
        return prepare(config), self.auth_state.prepare(config.auth), self.current.now.parts()

    def _apply(self, made: tuple[ActiveConfig, PreparedAuth | None, list[object]]) -> Iterator[None]:
        """Puts a checked config in force, in steps; all that decides on a call is exchanged in the last one."""
        new, prepared, parts = made
        config, old = new.config, self.current.now
        yield from new.catalog.steps_to(self.fleet)
        if not old.is_loaded:
            self.audit.on_first_config(config.audit)
        self.auth_state.apply(config.auth, config.callers, prepared)
        self.current.swap(new)
        self.on_config(config)
        self.limiter.configure(new.catalog.limits)
        if self._is_running and config.discovery != old.config.discovery:
            self._follow(config)
        fade(parts)

    def _follow(self, config: Config) -> None:
        demo = None if is_explicit(config.discovery) else self._options.demo
        self.discovery.follow(demo or choose(config.discovery, self._inputs))

    def _take(self, found: Found) -> None:
        new, gone = self.fleet.apply(found.addresses, found.pods)
        self.poller.follow(new, gone)
        self._reachability.listed()

    async def _look_first(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                await self.fleet.listed.wait()
                await self.poller.first_round()
        self.audit.warn_of_several(self.gateways.ready())
        self.readiness.is_looking = False

    async def _remember_today(self) -> None:
        """Day budgets go on where they were before the start; keys and rules may have some, too."""
        config, catalog = self.current.now.config, self.current.now.catalog
        if config.limits is not None or is_on(config.auth):
            self.limiter.seed(await restore_budgets(self.audit, catalog.identity, self.gateways))

    def _fetching(self, oidc: Oidc) -> "Fetch":
        from ai_gateway.upstream.fetching import Fetching

        return Fetching(self.client, oidc.ca_file, oidc.token_file, oidc.issuer)

    async def _answers(self, address: Address) -> bool:
        return await is_answering(self.client, address)


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
