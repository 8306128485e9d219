"""The page to read first: every part of the gateway, built top to bottom in the order a request meets it."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from ai_gateway.accounting.admission import AdmissionControl, TokenAccounting
from ai_gateway.accounting.audit import Audit
from ai_gateway.accounting.audit_status import audit_samples
from ai_gateway.accounting.budgets import restore_budgets
from ai_gateway.accounting.buffers import Buffers
from ai_gateway.accounting.load_metrics import LoadMetrics
from ai_gateway.accounting.rollout_metrics import RolloutMetrics
from ai_gateway.accounting.rollout_news import RolloutNews
from ai_gateway.accounting.status import Readiness, StatusSources
from ai_gateway.accounting.status_metrics import status_samples
from ai_gateway.auth.state import AuthState, PreparedAuth
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.catalog.active import ActiveConfig, CurrentConfig, prepare
from ai_gateway.cluster.api import ApiServer
from ai_gateway.cluster.config_map import sources
from ai_gateway.cluster.gateways import Gateways, services_of
from ai_gateway.cluster.token_review import review
from ai_gateway.config.access import is_on
from ai_gateway.config.state import ConfigState, Startup
from ai_gateway.config.threads import release_slowly
from ai_gateway.config.types import Config
from ai_gateway.discovery.reachability import ReachabilityCheck
from ai_gateway.discovery.runner import DiscoveryRunner
from ai_gateway.discovery.selection import DiscoveryInputs, choose, is_explicit
from ai_gateway.discovery.source import Found
from ai_gateway.edge.admin import admin_app
from ai_gateway.edge.asgi import ASGIApp
from ai_gateway.edge.attempts import Upstreams
from ai_gateway.edge.authentication import Authentication
from ai_gateway.edge.cancel_scope import RunningRequests
from ai_gateway.edge.cors import CrossOrigin
from ai_gateway.edge.draining import Drain
from ai_gateway.edge.exchange_middleware import AuditGate, ErrorMiddleware, ExchangeMiddleware, OpenExchange, Reader
from ai_gateway.edge.forward import Forward, RequestDeps
from ai_gateway.edge.health import Liveness, Ready, Sign
from ai_gateway.edge.hosts import HostCheck
from ai_gateway.edge.metrics import Metrics, MetricSource
from ai_gateway.edge.reading import reading
from ai_gateway.edge.report import OwnReportPage
from ai_gateway.edge.routing import SIGNS, Direct, Front, Methods, Wrapper, router, wrapped
from ai_gateway.limits.limiter import Limiter, LimiterDeps
from ai_gateway.options import Options, ProcessHooks
from ai_gateway.reconcile.reconciler import Reconciler
from ai_gateway.telemetry.content import KeptContent
from ai_gateway.telemetry.loop_lag import LoopLag
from ai_gateway.telemetry.refused_requests import RefusedRequests
from ai_gateway.telemetry.request_metrics import RequestMetrics
from ai_gateway.telemetry.tracing import Tracing, span_samples
from ai_gateway.upstream.asking import Asking
from ai_gateway.upstream.client import Client
from ai_gateway.upstream.installing import Installer
from ai_gateway.upstream.issuers import fetching
from ai_gateway.upstream.liveness import is_answering
from ai_gateway.upstream.loading import Loader
from ai_gateway.upstream.polling import Poller
from ai_gateway.upstream.reports import Reports
from ai_gateway.wire.operations import OPERATIONS

log = logging.getLogger("ai_gateway.polling")


class Gateway:
    """All parts, and the two ASGI apps made of them. Needs a running event loop."""

    def __init__(self, options: Options, hooks: ProcessHooks | None = None) -> None:
        loop = asyncio.get_running_loop()
        rng = random.Random()  # noqa: S311 - spreads load and timers, guards nothing
        self._options = options
        self._hooks = hooks = hooks or ProcessHooks()
        api_server = ApiServer(options.access)
        self.client = Client(loop)
        self._inputs = DiscoveryInputs(options.environment, partial(is_answering, self.client), api_server)
        self.current = CurrentConfig(Config(), is_loaded=False)
        source = str(options.config_map or options.config_path)
        startup = Startup(options.required, options.decided, hooks.leave)
        self.live = ConfigState(source, self._apply, self._ready, startup)
        self.config_file, self._config_map = sources(options.config_path, options.config_map, api_server, self.live)
        self.auth_state = AuthState(partial(review, api_server), partial(fetching, self.client))
        self.fleet = Fleet(time.monotonic, rng)
        self.poller = Poller(self.fleet, self.client, lambda: self.current.now.config.polling, rng)
        self.loader = Loader(self.fleet, self.client, self.poller.poll_residents_soon, loop)
        self.gateways = Gateways(services_of(options.environment, options.access), api_server)
        self.reconciler = Reconciler(self.fleet, time.monotonic, RolloutNews(self._config_map).tell)
        self.fleet.peers.config = lambda: self.live.digest or ""
        self.installer = Installer(self.reconciler, self.fleet, self.client, self.poller.probe_soon, loop)
        self.reports = Reports(self.gateways, Asking(self.client), self.fleet.peers, time.monotonic, rng)
        clocks = time.time, time.monotonic
        self.limiter = Limiter(LimiterDeps(*clocks, self.gateways.ready, lambda: self.gateways.reason))
        self._admission = AdmissionControl(self.limiter, TokenAccounting(time.monotonic))
        self.discovery = DiscoveryRunner(self._take)
        self._reachability = ReachabilityCheck(
            self.fleet.endpoints.values, self.discovery, options.access, loop.call_later
        )
        self.readiness, self.buffers = Readiness(), Buffers()
        self.running_requests = RunningRequests(loop)
        self.audit = Audit(time.monotonic, options.environment, hooks.write_line)
        self._status = self._status_sources()
        self._requests = RequestMetrics(options.telemetry.exemplars)
        self._lag = LoopLag(time.monotonic)
        self._loads = LoadMetrics(self.fleet, self.current)
        self._rollouts = RolloutMetrics(self.fleet, self.current)
        self.installer.note, self.installer.note_pulled = self._rollouts.note, self._rollouts.note_pulled
        self.refused = RefusedRequests()  # the server counts here what never became a request
        self.metrics = Metrics(self._metric_sources())
        self._is_running = False
        self.api = self._api()
        self.admin = self._admin()

    def _status_sources(self) -> StatusSources:
        return StatusSources(
            fleet=self.fleet,
            reconciler=self.reconciler,
            current=self.current,
            live=self.live,
            discovery=self.discovery,
            events=self._config_map.events if self._config_map else None,
            auth_state=self.auth_state,
            limiter=self.limiter,
            readiness=self.readiness,
            clock=time.monotonic,
            opened_at=time.monotonic(),
            audit=self.audit,
            gateways=self.gateways,
            reports=self.reports,
        )

    def _api(self) -> ASGIApp:
        """The API's app. A request meets the wrappers in this order, and its answer in the other."""
        marks = [(b"x-ai-gateway-demo", b"simulated endpoints")] if self._options.demo else []
        tracing = self._hooks.tracing
        readers: tuple[Reader, ...] = (self._requests, self.audit, *self._hooks.readers)
        if tracing is not None:
            readers = (tracing, *readers)
        checks: list[Wrapper] = [
            ErrorMiddleware,  # after the exchange is open, since an error is noted in it
            partial(HostCheck, current=self.current, auth_state=self.auth_state),
            # Before authentication: a browser's preflight carries no credential.
            partial(CrossOrigin, current=self.current),
        ]
        signs = dict.fromkeys(SIGNS, Sign(self._status))
        unrecorded = wrapped(
            [partial(ExchangeMiddleware, readers=(), open_exchange=self._opening(marks)), *checks], router(signs)
        )
        wrappers: list[Wrapper] = [
            partial(Front, signs=unrecorded),  # outermost: a probe every second would fill the log and the audit
            partial(ExchangeMiddleware, readers=readers, open_exchange=self._opening(marks, tracing)),
            # Before the errors: the last byte of an error reply waits for its audit entry, too.
            partial(AuditGate, audit=self.audit),
            *checks,
            partial(Authentication, auth_state=self.auth_state),  # the caller is known before the body is read
        ]
        return wrapped(wrappers, Direct(self._hot_routes(), reading(self._status, self.client, tracing, signs)))

    def _hot_routes(self) -> dict[str, ASGIApp]:
        """The POST paths, each with the request path behind it."""
        deps = RequestDeps(
            current=self.current,
            upstreams=Upstreams(fleet=self.fleet, client=self.client, probe_soon=self.poller.probe_soon),
            buffers=self.buffers,
            running_requests=self.running_requests,
            admission=self._admission,
            audit=self.audit,
            content=KeptContent if self._options.telemetry.content else None,
        )
        return {row.path: Methods(row.path, Forward(row, deps), "POST") for row in OPERATIONS.values()}

    def _admin(self) -> ASGIApp:
        """The app of the admin port. Its requests are not recorded."""
        reading: dict[str, ASGIApp] = {
            "/livez": Liveness(),
            "/readyz": Ready(self._status),
            "/metrics": self.metrics,
            "/report": OwnReportPage(self.reports.own.body, self.gateways.has_address),
        }
        return admin_app(reading, Drain(self._hooks.leave, self.current), self.current, self._opening([]))

    def _metric_sources(self) -> list[MetricSource]:
        """The parts that measure something."""
        sources: list[MetricSource] = [lambda: status_samples(self._status), self._requests.samples, self._lag.samples]
        sources += [self._loads.samples, self._rollouts.samples, self.refused.samples, self._admission.samples]
        sources.append(partial(audit_samples, self.audit))
        if self._hooks.tracing is not None:
            sources.append(partial(span_samples, self._hooks.tracing))
        return [*sources, *self._hooks.metric_sources]

    def _opening(self, marks: list[tuple[bytes, bytes]], tracing: Tracing | None = None) -> OpenExchange:
        sampler = None if tracing is None else tracing.is_sampled
        return OpenExchange(time.monotonic, self.current, marks, self._options.telemetry, sampler)

    @asynccontextmanager
    async def following_config(self) -> AsyncIterator[None]:
        """Reads the config and goes on to follow it. Returns with the first one, or when there is none for now."""
        sources = [source for source in (self.config_file, self._config_map) if source is not None]
        assert sources, "a config has a source"
        async with AsyncExitStack() as ending:
            for source in sources:
                ending.push_async_callback(_ended, asyncio.create_task(source.follow()))
            await self.live.wait_for_outcome()
            self.live.mark_started()  # what the caller does next goes by this config
            yield

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs what works beside the requests: discovery, polls, the audit, and the counts of limits."""
        async with AsyncExitStack() as ending:  # in reverse order, and each one even where another fails
            ending.push_async_callback(self.audit.end)
            await self.audit.begin(self.current.now.config.audit)
            ending.callback(self.client.close)
            ending.callback(self.auth_state.close)
            ending.push_async_callback(self.limiter.close)
            ending.callback(self.gateways.stop)
            self.gateways.start()
            await self._remember_today()
            self._is_running = True
            ending.push_async_callback(self.loader.stop)
            self.fleet.peers.look = self.poller.poll_residents_soon
            self.fleet.peers.take_reports({}, self.reports.presence())
            self.loader.start()
            ending.push_async_callback(self.installer.stop)
            self.installer.start()
            ending.push_async_callback(self.poller.stop)
            ending.push_async_callback(self.discovery.stop)
            self._follow(self.current.now.config)
            ending.push_async_callback(_ended, asyncio.create_task(self._become_ready()))
            ending.push_async_callback(_ended, asyncio.create_task(self.auth_state.follow()))
            ending.push_async_callback(_ended, asyncio.create_task(self.reports.run()))
            with self._lag.running(asyncio.get_running_loop()):
                yield

    def reread(self) -> None:
        """Reads again what the config's sources hold, changed or not."""
        for source in (self.config_file, self._config_map):
            if source is not None:
                source.reread()

    def leave(self) -> None:
        """The gateway begins to drain: it is not ready any more."""
        self.readiness.is_draining = self.fleet.is_leaving = True

    def _ready(self, config: Config) -> tuple[ActiveConfig, PreparedAuth | None, list[object]]:
        """Builds what a checked config needs, and lists the parts of the old one. Slow: a thread runs it."""
        return prepare(config, self.gateways.owner), self.auth_state.prepare(config.auth), self.current.now.parts()

    def _apply(self, made: tuple[ActiveConfig, PreparedAuth | None, list[object]]) -> Iterator[None]:
        """Applies a checked config in steps. The last step replaces all that decides on a call."""
        new, prepared, parts = made
        config, old = new.config, self.current.now
        yield from self.fleet.configure(new.catalog.balancing)
        self.reconciler.configure(new.catalog.plans, config.reconcile, new.catalog.owner)
        if not old.is_loaded:
            self.audit.on_first_config(config.audit)
        self.auth_state.apply(config.auth, config.callers, prepared)
        self.current.swap(new)
        self._hooks.on_config(config)
        self.limiter.configure(new.catalog.limits)
        self.reconciler.decide()  # so that no report tells of the new config and of the old one's rollouts
        if self._is_running and config.discovery != old.config.discovery:
            self._follow(config)
        release_slowly(parts)

    def _follow(self, config: Config) -> None:
        demo = None if is_explicit(config.discovery) else self._options.demo
        self.discovery.follow(demo or choose(config.discovery, self._inputs))

    def _take(self, found: Found) -> None:
        new, gone = self.fleet.apply(found.addresses, found.pods, found.unready)
        self.poller.follow(new, gone)
        self._reachability.listed()

    async def _become_ready(self) -> None:
        try:
            await self.poller.begun()
            self.audit.warn_of_several(self.gateways.ready())
        except Exception as failure:  # polling goes on; an unready gateway would get no requests for ever
            log.error("waiting for the first polls failed; the gateway becomes ready without them", exc_info=failure)
        self.readiness.is_starting = False

    async def _remember_today(self) -> None:
        """Day budgets go on where they were before the start; keys and rules may have some, too."""
        config, catalog = self.current.now.config, self.current.now.catalog
        if config.limits is not None or is_on(config.auth):
            self.limiter.seed(await restore_budgets(self.audit.opened, catalog.identity, self.gateways))


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
