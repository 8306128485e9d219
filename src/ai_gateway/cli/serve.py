"""`ai-gateway serve`: the gateway itself."""

import argparse
import asyncio
import gc
import os
import sys
import time
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ai_gateway.cli.paths import path_flag
from ai_gateway.cli.requiring import add_require, required_by

if TYPE_CHECKING:
    from ai_gateway.app import Gateway, Options
    from ai_gateway.cli.hangup import Hangup
    from ai_gateway.cluster.access import Access
    from ai_gateway.config.types import Config
    from ai_gateway.server import Notices, ServerSettings
    from ai_gateway.telemetry.access_log import AccessLog
    from ai_gateway.telemetry.export import Exporting
    from ai_gateway.telemetry.output import Outputs
    from ai_gateway.telemetry.settings import TelemetrySettings

_EPILOG = """where Ollama endpoints come from, first match wins:
  1. `discovery` in the config
  2. in a pod (a ServiceAccount is mounted), or with --kubeconfig or --context: the ready pods
     with the label app.kubernetes.io/name=ollama in the same namespace
  3. $OLLAMA_HOST, read as Ollama's own client reads it
  4. http://127.0.0.1:11434, as soon as it answers
  5. with --demo, three simulated endpoints, if none of the above is there at the start

examples:
  ai-gateway serve
  ai-gateway serve --config models.yml --listen :8080 --admin :9090
  OLLAMA_HOST=gpu-box:11434 ai-gateway serve
  ai-gateway serve --configmap ai/models          config.yml in ConfigMap models, namespace ai, followed by the API
  ai-gateway serve --context staging              the Ollama pods of a cluster, from outside
  curl http://127.0.0.1:8080/v1/models

leaving: SIGTERM lets new requests in for the drain delay and running answers go on for the grace; SIGINT gives
them 5 s; a second signal ends everything at once. SIGHUP is as SIGTERM in a terminal; elsewhere files are read anew.

Flags also come from the environment: AI_GATEWAY_CONFIG, AI_GATEWAY_CONFIGMAP, AI_GATEWAY_LISTEN, AI_GATEWAY_ADMIN,
AI_GATEWAY_DRAIN_DELAY, AI_GATEWAY_DRAIN_GRACE, AI_GATEWAY_REQUIRE, AI_GATEWAY_DEMO=1. --kubeconfig and --context come
by flag alone.
AI_GATEWAY_SERVICE=[NAMESPACE/]NAME is the gateways' own Service: limits in memory are divided by those that are ready.
AI_GATEWAY_POD_UID is the uid of the gateway's own pod: an Ollama in it is reached on loopback.
A flag goes before the environment, that before the config file, that before the default.
"""

DEFAULT_CONFIG = "config.yml"
DEFAULT_LISTEN = "127.0.0.1:8080"
DEFAULT_ADMIN = "127.0.0.1:9090"
CLUSTER_DRAIN_SECONDS = 10.0  # until every node's Service rules know that this pod leaves
_STABILITY = "OTEL_SEMCONV_STABILITY_OPT_IN"
LAST_LINES_SECONDS = 1.0  # for whoever reads the logs, at the end
FLUSH_SECONDS = 5.0  # for spans that are still queued when the gateway leaves


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `serve` to the command's sub-commands."""
    parser = subparsers.add_parser(
        "serve",
        help="run the gateway",
        description="Serves the OpenAI-style API under /v1 in front of Ollama, and probes on a port of their own.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_config(parser)
    _add_addresses(parser)
    _add_cluster(parser)
    _add_drain(parser)
    parser.add_argument(
        "--demo",
        action="store_true",
        default=os.environ.get("AI_GATEWAY_DEMO", "") not in ("", "0", "false"),
        help="serve three simulated endpoints if no Ollama is found",
    )
    parser.set_defaults(run=run)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=path_flag,
        default=os.environ.get("AI_GATEWAY_CONFIG") or None,
        metavar="FILE",
        help="the models and how they are served, or a folder with a config.yml, such as a mounted ConfigMap; followed "
        f"while running (default {DEFAULT_CONFIG})",
    )
    parser.add_argument(
        "--configmap",
        default=os.environ.get("AI_GATEWAY_CONFIGMAP"),
        metavar="[NAMESPACE/]NAME[:KEY]",
        help="follow the config in a ConfigMap through the Kubernetes API instead (key: config.yml); a file named "
        "with --config stands in until it is read",
    )
    add_require(parser)


def _add_addresses(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen",
        default=os.environ.get("AI_GATEWAY_LISTEN"),
        metavar="HOST:PORT",
        help=f"address of the API; `:8080` is every address, port 0 takes a free one (default {DEFAULT_LISTEN})",
    )
    parser.add_argument(
        "--admin",
        default=os.environ.get("AI_GATEWAY_ADMIN"),
        metavar="HOST:PORT",
        help=f"address of /livez and /readyz (default {DEFAULT_ADMIN})",
    )


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", metavar="FILE", help="of the cluster whose pods are found, outside of it")
    parser.add_argument("--context", metavar="NAME", help="the kubeconfig's context to use")


def _add_drain(parser: argparse.ArgumentParser) -> None:
    for name, meaning in (("delay", "in which new requests are still served"), ("grace", "for running answers then")):
        parser.add_argument(
            f"--drain-{name}",
            default=os.environ.get(f"AI_GATEWAY_DRAIN_{name.upper()}"),
            metavar="DURATION",
            help=f"on SIGTERM, the time {meaning}; goes before `drain.{name}` in the config",
        )


def run(arguments: argparse.Namespace) -> int:
    """Serves until asked to leave. 0 after a clean end, 1 when an address cannot be taken or a flag is nonsense."""
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
    from ai_gateway.app import Options
    from ai_gateway.cluster.access import Access
    from ai_gateway.cluster.config_map import parse_named
    from ai_gateway.telemetry.settings import read_settings

    usual = os.environ.get("KUBECONFIG") or "~/.kube/config"
    own_uid = os.environ.get("AI_GATEWAY_POD_UID") or None
    access = Access(arguments.kubeconfig, arguments.context, usual_kubeconfig=usual, own_uid=own_uid)
    named = parse_named(arguments.configmap) if arguments.configmap else None
    return Options(
        arguments.config or (None if named else Path(DEFAULT_CONFIG)),
        dict(os.environ),
        access=access,
        config_map=named,
        telemetry=read_settings(os.environ),
        required=required_by(arguments),
    )


def _tracing(settings: "TelemetrySettings") -> "Exporting | None":
    """The SDK is imported here, and only where spans go somewhere."""
    if not settings.traces:
        return None
    # Read once, when the instrumentation of httpx is imported: without it its attributes have names of old.
    words = os.environ.get(_STABILITY, "").split(",")
    if "http" not in words and "http/dup" not in words:
        os.environ[_STABILITY] = ",".join(filter(None, (*words, "http")))
    from ai_gateway.telemetry.export import Exporting

    return Exporting(settings, os.environ)


async def _serve(
    arguments: argparse.Namespace, options: "Options", tracing: "Exporting | None", outputs: "Outputs"
) -> None:
    from ai_gateway.app import Gateway
    from ai_gateway.cli.demo import with_demo
    from ai_gateway.server import serve
    from ai_gateway.telemetry.access_log import AccessLog
    from ai_gateway.telemetry.descriptors import Descriptors

    async with AsyncExitStack() as stack:
        if arguments.demo:
            options = await with_demo(options, stack)
        outputs.retry_in(loop := asyncio.get_running_loop())
        access_log = AccessLog(outputs.out)
        if tracing is not None:
            stack.callback(tracing.close, FLUSH_SECONDS)
        stack.callback(access_log.flush)  # comes first: a collector may be waited for until the gateway is killed
        gateway = Gateway(options, (access_log,), tracing)
        gateway.auditing.say = outputs.out.write
        gateway.metrics.add(outputs.readings, stack.enter_context(Descriptors(time.monotonic).running(loop)))
        gateway.on_config = lambda config: _set_logs(config, access_log)
        if options.telemetry.metrics:
            await stack.enter_async_context(_exporting_metrics(options.telemetry, gateway, tracing))
        await stack.enter_async_context(gateway.following_config())
        settings = _settings(arguments, gateway.current.now.config, options.access)
        settings = replace(settings, idle_seconds=lambda: gateway.current.now.config.connections.idle)
        notices = _notices(gateway, arguments.hangup)
        drain = arguments.drain_delay and arguments.drain_grace
        given = {"listen": arguments.listen, "admin": arguments.admin, "drain": drain}
        gateway.live.bind(notices.departure.begin, frozenset(key for key, flag in given.items() if flag))
        gateway.on_drain = notices.departure.begin
        _tune_collector()
        api, admin = cast("Any", gateway.api), cast("Any", gateway.admin)  # uvicorn types events, Starlette does not
        await serve(api, admin, settings, notices, gateway.running())


def _exporting_metrics(
    settings: "TelemetrySettings", gateway: "Gateway", tracing: "Exporting | None"
) -> "AbstractAsyncContextManager[None]":
    """The SDK is imported here, and only where metrics are sent somewhere."""
    from ai_gateway.telemetry.metrics_export import MetricsExport, metric_exporters
    from ai_gateway.telemetry.resource import resource

    who = resource(os.environ) if tracing is None else tracing.resource
    export = MetricsExport(gateway.metrics.read, metric_exporters(settings, os.environ), who)
    return export.running(settings.metrics_seconds)


def _set_logs(config: "Config", access_log: "AccessLog") -> None:
    from ai_gateway.telemetry.logs import set_levels

    set_levels(config.log)
    access_log.is_on = config.log.access


def _tune_collector() -> None:
    """Spares the garbage collector what lives as long as the process, and most of its rounds: requests leave no cycles
    behind, and at the default of 700 objects it took 6 % of the time of a busy gateway."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _settings(arguments: argparse.Namespace, config: "Config", access: "Access") -> "ServerSettings":
    from ai_gateway.server import CertificateFiles, Limits, ServerSettings

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
        limits=Limits(write_silence_seconds=_longest_stall(config)),
    )


def _seconds(flag: str | None, configured: float | None) -> float | None:
    """A flag's duration, else the config's. Raises ValueError for a flag that is none."""
    from ai_gateway.config.loading import pause

    return pause(flag) if flag else configured


def _usual_delay(listen: str, access: "Access") -> float:
    """In a cluster Services go on to send for a while; beside one application, on loopback, nobody does."""
    host = listen.rpartition(":")[0].strip("[]")
    is_loopback = host.startswith("127.") or host in ("::1", "localhost")
    return CLUSTER_DRAIN_SECONDS if access.is_in_cluster and not is_loopback else 0.0


def _longest_stall(config: "Config") -> float:
    """The server cuts every client that reads nothing for so long; streams have `client_stall`, which may be longer."""
    stalls = [model.timeouts.client_stall or 0.0 for model in config.models.values()]
    return max(60.0, config.timeouts.client_stall, *stalls)


def _notices(gateway: "Gateway", hangup: "Hangup") -> "Notices":
    import logging

    from ai_gateway.server import Notices

    log = logging.getLogger("ai_gateway.server")

    def on_listening(api: tuple[str, ...], admin: tuple[str, ...]) -> None:
        log.info("listening on %s (admin %s)", " ".join(api), " ".join(admin))
        hangup.follow(reread)

    def reread() -> None:
        log.info("SIGHUP: config and certificates are read again")
        gateway.reread()

    def refused(status: int, code: str, peer: str) -> None:
        gateway.refused(status, code)
        log.warning("refused before it was a request: %d %s from %s", status, code, peer)

    def leaving() -> None:
        log.info("leaving: running answers are finished first")
        gateway.leave()

    return Notices(
        on_listening=on_listening,
        leaving=leaving,
        shutdown_streams=gateway.departures.end_all,
        refused=refused,
        reread=reread if hangup.is_wish else None,
        certificate_refused=lambda complaint: log.error("certificate refused, the last one stays: %s", complaint),
    )
