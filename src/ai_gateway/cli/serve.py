"""`ai-gateway serve`: the gateway itself."""

import argparse
import asyncio
import gc
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ai_gateway.cli.requiring import required_by
from ai_gateway.cli.serve_flags import DEFAULT_ADMIN, DEFAULT_CONFIG, DEFAULT_LISTEN, add_flags

if TYPE_CHECKING:
    from ai_gateway.app import Gateway
    from ai_gateway.cli.hangup import Hangup
    from ai_gateway.cluster.access import Access
    from ai_gateway.config.types import Config
    from ai_gateway.options import Options
    from ai_gateway.server import ServerCallbacks, ServerSettings, Shutdown
    from ai_gateway.telemetry.access_log import AccessLog
    from ai_gateway.telemetry.export import Exporting
    from ai_gateway.telemetry.output import Outputs
    from ai_gateway.telemetry.settings import TelemetrySettings

CLUSTER_DRAIN_SECONDS = 10.0  # until every node's Service rules know that this pod leaves
_STABILITY = "OTEL_SEMCONV_STABILITY_OPT_IN"
LAST_LINES_SECONDS = 1.0  # for the readers of the logs, at the end
FLUSH_SECONDS = 5.0  # for spans that are still queued at the end


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `serve` to the command's sub-commands."""
    add_flags(subparsers).set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serves until a shutdown. 0 after a clean end, 1 for an address in use or an invalid flag."""
    from ai_gateway.server import ListenError
    from ai_gateway.server import run as run_loop
    from ai_gateway.telemetry.logs import set_up_logs

    outputs = set_up_logs()
    try:
        options = _options(arguments)
        run_loop(_serve(arguments, options, _tracing(options.telemetry), outputs))
    except (ListenError, ValueError) as error:
        print(f"ai-gateway: {error}", file=sys.stderr)
        return 1
    finally:
        outputs.close(LAST_LINES_SECONDS)
    return 0


def _options(arguments: argparse.Namespace) -> "Options":
    from ai_gateway.cluster.access import Access
    from ai_gateway.cluster.config_map import parse_ref
    from ai_gateway.options import Options
    from ai_gateway.telemetry.settings import read_settings

    usual = os.environ.get("KUBECONFIG") or "~/.kube/config"
    own_uid = os.environ.get("AI_GATEWAY_POD_UID") or None
    access = Access(arguments.kubeconfig, arguments.context, usual_kubeconfig=usual, own_uid=own_uid)
    named = parse_ref(arguments.configmap) if arguments.configmap else None
    drain = arguments.drain_delay and arguments.drain_grace
    given = {"listen": arguments.listen, "admin": arguments.admin, "drain": drain}
    return Options(
        arguments.config or (None if named else Path(DEFAULT_CONFIG)),
        dict(os.environ),
        access=access,
        config_map=named,
        telemetry=read_settings(os.environ),
        required=required_by(arguments),
        decided=frozenset(key for key, flag in given.items() if flag),
    )


def _tracing(settings: "TelemetrySettings") -> "Exporting | None":
    """Imports the SDK, and only if spans are exported."""
    if not settings.traces:
        return None
    # The instrumentation of httpx reads it once, at import; without it, attributes have their old names.
    stability = os.environ.get(_STABILITY, "").split(",")
    if "http" not in stability and "http/dup" not in stability:
        os.environ[_STABILITY] = ",".join(filter(None, (*stability, "http")))
    from ai_gateway.telemetry.export import Exporting

    return Exporting(settings, os.environ)


async def _serve(
    arguments: argparse.Namespace, options: "Options", tracing: "Exporting | None", outputs: "Outputs"
) -> None:
    from ai_gateway.app import Gateway
    from ai_gateway.cli.demo import with_demo
    from ai_gateway.options import ProcessHooks
    from ai_gateway.server import Shutdown
    from ai_gateway.telemetry.access_log import AccessLog
    from ai_gateway.telemetry.descriptors import Descriptors

    async with AsyncExitStack() as stack:
        if arguments.demo:
            options = await with_demo(options, stack)
        outputs.retry_in(loop := asyncio.get_running_loop())
        access_log = AccessLog(outputs.out)
        if tracing is not None:
            stack.callback(tracing.close, FLUSH_SECONDS)
        stack.callback(access_log.flush)  # comes first: the wait for a collector may last until the gateway is killed
        shutdown = Shutdown()
        hooks = ProcessHooks(
            readers=(access_log,),
            metric_sources=(outputs.samples, stack.enter_context(Descriptors(time.monotonic).running(loop))),
            tracing=tracing,
            leave=shutdown.begin,
            on_config=lambda config: _set_logs(config, access_log),
            write_line=outputs.out.write,
        )
        gateway = Gateway(options, hooks)
        if options.telemetry.metrics:
            await stack.enter_async_context(_exporting_metrics(options.telemetry, gateway, tracing))
        callbacks = _callbacks(gateway, arguments.hangup, shutdown)
        await lead(gateway, lambda config: _settings(arguments, config, options.access), callbacks)


async def lead(
    gateway: "Gateway", settings: "Callable[[Config], ServerSettings]", callbacks: "ServerCallbacks"
) -> None:
    """A gateway's life: it follows its config, and serves until `callbacks.shutdown` is asked for.

    `settings` makes those of the server out of the first config.
    """
    from ai_gateway.server import serve
    from ai_gateway.wire.hosts import split_listen

    async with gateway.following_config():
        chosen = settings(gateway.current.now.config)
        gateway.reports.admin_port = split_listen(chosen.admin)[1]  # all gateways of a Service run with the same one
        chosen = replace(chosen, idle_seconds=lambda: gateway.current.now.config.connections.idle)
        api, admin = cast("Any", gateway.api), cast("Any", gateway.admin)  # uvicorn types events, Starlette does not
        await serve(api, admin, chosen, callbacks, gateway.running())


def _exporting_metrics(
    settings: "TelemetrySettings", gateway: "Gateway", tracing: "Exporting | None"
) -> "AbstractAsyncContextManager[None]":
    """Imports the SDK, and only if metrics are exported."""
    from ai_gateway.telemetry.metrics_export import MetricsExport, metric_exporters
    from ai_gateway.telemetry.resource import process_resource

    resource = process_resource(os.environ) if tracing is None else tracing.resource
    export = MetricsExport(gateway.metrics.read, metric_exporters(settings, os.environ), resource)
    return export.running(settings.metrics_seconds)


def _set_logs(config: "Config", access_log: "AccessLog") -> None:
    from ai_gateway.telemetry.logs import set_levels

    set_levels(config.log)
    access_log.is_on = config.log.access


def _tune_collector() -> None:
    """Excludes objects that live as long as the process from garbage collection, and makes collections rare. Requests
    leave no cycles; at the default of 700 objects collections took 6 % of a busy gateway's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _settings(arguments: argparse.Namespace, config: "Config", access: "Access") -> "ServerSettings":
    from ai_gateway.server import CertificateFiles, FramingLimits, ServerSettings

    tls = None
    if config.tls is not None:
        client_ca = Path(config.tls.client_ca) if config.tls.client_ca else None
        tls = CertificateFiles(Path(config.tls.certificate), Path(config.tls.key), client_ca)
    listen = arguments.listen or config.listen or DEFAULT_LISTEN
    delay = _seconds(arguments.drain_delay, config.drain.delay)
    grace = _seconds(arguments.drain_grace, config.drain.grace)
    return ServerSettings(
        listen=listen,
        admin=arguments.admin or config.admin or DEFAULT_ADMIN,
        tls=tls,
        drain_seconds=_usual_delay(listen, access) if delay is None else delay,
        grace_seconds=config.drain.grace if grace is None else grace,
        limits=FramingLimits(write_silence_seconds=_longest_stall(config)),
    )


def _seconds(flag: str | None, configured: float | None) -> float | None:
    """A flag's duration, else the config's. Raises ValueError for an invalid flag."""
    from ai_gateway.config.loading import pause

    return pause(flag) if flag else configured


def _usual_delay(listen: str, access: "Access") -> float:
    """The default drain delay: in a cluster Services send requests for a while; on loopback nothing does."""
    host = listen.rpartition(":")[0].strip("[]")
    is_loopback = host.startswith("127.") or host in ("::1", "localhost")
    return CLUSTER_DRAIN_SECONDS if access.is_in_cluster and not is_loopback else 0.0


def _longest_stall(config: "Config") -> float:
    """After how long the server cuts a client that reads nothing; streams have `client_stall`, which may be longer."""
    stalls = [model.timeouts.client_stall or 0.0 for model in config.models.values()]
    return max(60.0, config.timeouts.client_stall, *stalls)


def _callbacks(gateway: "Gateway", hangup: "Hangup", shutdown: "Shutdown") -> "ServerCallbacks":
    import logging

    from ai_gateway.server import ServerCallbacks

    log = logging.getLogger("ai_gateway.server")

    def on_listening(api: tuple[str, ...], admin: tuple[str, ...]) -> None:
        log.info("listening on %s (admin %s)", " ".join(api), " ".join(admin))
        _tune_collector()
        hangup.follow(reread)

    def reread() -> None:
        log.info("SIGHUP: reading config and certificates again")
        gateway.reread()

    def refused(status: int, code: str, peer: str) -> None:
        gateway.refused(status, code)
        log.warning("refused a request before it was read: %d %s from %s", status, code, peer)

    def leaving() -> None:
        log.info("leaving: finishing running answers first")
        gateway.leave()

    return ServerCallbacks(
        on_listening=on_listening,
        leaving=leaving,
        shutdown_streams=gateway.running_requests.end_all,
        refused=refused,
        reread=reread if hangup.is_reload else None,
        shutdown=shutdown,
        certificate_refused=lambda reason: log.error("certificate not reloaded: %s", reason),
    )
