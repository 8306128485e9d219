"""`ai-gateway serve`: the gateway itself."""

import argparse
import asyncio
import gc
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from ai_gateway.app import Gateway, Options
    from ai_gateway.config.types import Config
    from ai_gateway.discovery.source import Source
    from ai_gateway.server import Notices, ServerSettings

_EPILOG = """where Ollama endpoints come from, first match wins:
  1. `discovery` in the config
  2. in a pod (a ServiceAccount is mounted) none: set `discovery`
  3. $OLLAMA_HOST, read as Ollama's own client reads it
  4. http://127.0.0.1:11434, as soon as it answers
  5. with --demo, three simulated endpoints, if none of the above is there at the start

examples:
  ai-gateway serve
  ai-gateway serve --config models.yml --listen :8080 --admin :9090
  OLLAMA_HOST=gpu-box:11434 ai-gateway serve
  curl http://127.0.0.1:8080/v1/models

Flags also come from the environment: AI_GATEWAY_CONFIG, AI_GATEWAY_LISTEN, AI_GATEWAY_ADMIN, AI_GATEWAY_DEMO=1.
A flag goes before the environment, that before the config file, that before the default.
"""

DEFAULT_LISTEN = "127.0.0.1:8080"
DEFAULT_ADMIN = "127.0.0.1:9090"
DEMO_ENDPOINTS = 3


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `serve` to the command's sub-commands."""
    parser = subparsers.add_parser(
        "serve",
        help="run the gateway",
        description="Serves the OpenAI-style API under /v1 in front of Ollama, and probes on a port of their own.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    environment = os.environ
    parser.add_argument(
        "--config",
        type=Path,
        default=Path(environment.get("AI_GATEWAY_CONFIG", "config.yml")),
        metavar="FILE",
        help="the models and how they are served; followed while running (default config.yml)",
    )
    parser.add_argument(
        "--listen",
        default=environment.get("AI_GATEWAY_LISTEN"),
        metavar="HOST:PORT",
        help=f"address of the API; `:8080` is every address, port 0 takes a free one (default {DEFAULT_LISTEN})",
    )
    parser.add_argument(
        "--admin",
        default=environment.get("AI_GATEWAY_ADMIN"),
        metavar="HOST:PORT",
        help=f"address of /livez and /readyz (default {DEFAULT_ADMIN})",
    )
    parser.add_argument(
        "--demo",
        action="store_true",
        default=environment.get("AI_GATEWAY_DEMO", "") not in ("", "0", "false"),
        help="serve three simulated endpoints if no Ollama is found",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serves until asked to leave. 0 after a clean end, 1 when an address cannot be taken."""
    from ai_gateway.server import ListenError
    from ai_gateway.server import run as run_loop
    from ai_gateway.telemetry.logs import set_up_logs

    set_up_logs()
    try:
        run_loop(_serve(arguments))
    except ListenError as error:
        print(f"ai-gateway: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(arguments: argparse.Namespace) -> None:
    from ai_gateway.app import Gateway, Options
    from ai_gateway.server import serve
    from ai_gateway.telemetry.access_log import AccessLog

    async with AsyncExitStack() as stack:
        options = Options(arguments.config, dict(os.environ))
        if arguments.demo:
            options = await _with_demo(options, stack)
        access_log = AccessLog()
        stack.callback(access_log.flush)
        gateway = Gateway(options, readers=(access_log,))
        gateway.config_file.look()
        settings = _settings(arguments, gateway.current.now.config)
        _tune_collector()
        api, admin = cast("Any", gateway.api), cast("Any", gateway.admin)  # uvicorn types events, Starlette does not
        await serve(api, admin, settings, _notices(gateway), gateway.running())


def _tune_collector() -> None:
    """Spares the garbage collector what lives as long as the process, and most of its rounds.

    Requests leave no cycles behind, so that reference counting frees them; at the default of 700 objects the
    collector took 6 % of the time of a busy gateway.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _settings(arguments: argparse.Namespace, config: "Config") -> "ServerSettings":
    from ai_gateway.server import CertificateFiles, Limits, ServerSettings

    tls = CertificateFiles(Path(config.tls.certificate), Path(config.tls.key)) if config.tls else None
    return ServerSettings(
        listen=arguments.listen or config.listen or DEFAULT_LISTEN,
        admin=arguments.admin or config.admin or DEFAULT_ADMIN,
        tls=tls,
        limits=Limits(write_silence_seconds=_longest_stall(config)),
    )


def _longest_stall(config: "Config") -> float:
    """The server cuts every client that reads nothing for so long; streams have `client_stall`, which may be longer."""
    stalls = [model.timeouts.client_stall or 0.0 for model in config.models.values()]
    return max(60.0, config.timeouts.client_stall, *stalls)


def _notices(gateway: "Gateway") -> "Notices":
    import logging

    from ai_gateway.server import Notices

    log = logging.getLogger("ai_gateway.server")

    def on_listening(api: tuple[str, ...], admin: tuple[str, ...]) -> None:
        log.info("listening on %s (admin %s)", " ".join(api), " ".join(admin))

    def refused(status: int, code: str, peer: str) -> None:
        log.warning("refused before it was a request: %d %s from %s", status, code, peer)

    def leaving() -> None:
        log.info("leaving: running answers are finished first")
        gateway.leave()

    return Notices(
        on_listening=on_listening,
        leaving=leaving,
        shutdown_streams=gateway.departures.end_all,
        refused=refused,
        certificate_refused=lambda complaint: log.error("certificate refused, the last one stays: %s", complaint),
    )


async def _with_demo(options: "Options", stack: AsyncExitStack) -> "Options":
    """Simulated endpoints for the models of the config, if no Ollama is to be found now."""
    import logging

    import msgspec

    from ai_gateway.config.loading import ConfigError, load
    from ai_gateway.config.types import Config
    from ai_gateway.discovery.choosing import Surroundings, finds_nothing
    from ai_gateway.upstream.answering import answers
    from ai_gateway.upstream.client import Client

    try:
        config = load(options.config_path)
    except ConfigError:
        config = Config()
    client = Client(asyncio.get_running_loop())
    nothing = await finds_nothing(
        config.discovery, Surroundings(options.environment, lambda address: answers(client, address))
    )
    client.close()
    if not nothing:
        return options
    logging.getLogger("ai_gateway.demo").warning(
        "no Ollama was found: %d SIMULATED endpoints answer instead (--demo); their words mean nothing", DEMO_ENDPOINTS
    )
    return msgspec.structs.replace(options, demo=await _simulated(config, stack))


async def _simulated(config: "Config", stack: AsyncExitStack) -> "Source":
    from ai_gateway.config.types import model_name
    from ai_gateway.discovery.static import StaticSource
    from ai_gateway.simulator import Settings, Simulator
    from ai_gateway.wire.address import parse_url

    names = tuple(model_name(model_id, model) for model_id, model in config.models.items())
    settings = Settings(models=names or Settings().models)
    simulator = await stack.enter_async_context(Simulator(settings, count=DEMO_ENDPOINTS))
    return StaticSource(tuple(parse_url(url) for url in simulator.urls), "demo: simulated endpoints")
