"""`ai-gateway simulate`: Ollama pods without a GPU."""

import argparse
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ai_gateway.simulator import Settings

_HELP = "run simulated Ollama endpoints: for demos, tests and load tests without GPUs"
_EPILOG = """examples:
  three endpoints on ports 11500, 11501 and 11502, each with two models:
    ai-gateway simulate --endpoints 3 --models llama3:latest,codellama:13b

  a slow pod with room for one model, two slots and loads of ten seconds:
    ai-gateway simulate --tokens-per-second 8 --max-loaded 1 --slots 2 --load-seconds 10

  free ports instead of fixed ones (they are printed, one address a line):
    ai-gateway simulate --endpoints 2 --listen 127.0.0.1:0

  an older Ollama, whose chat streams look different:
    ai-gateway simulate --dialect old

  misbehave at run time: the next two calls of one endpoint fail, then one stream breaks after five tokens
    curl 127.0.0.1:11500/simulator/faults -d '{"kind": "status", "status": 500, "count": 2}'
    curl 127.0.0.1:11500/simulator/faults -d '{"kind": "cut", "after_tokens": 5, "count": 1}'
    curl 127.0.0.1:11500/simulator/state
    curl -X DELETE 127.0.0.1:11500/simulator/faults

  a control port, which also reaches endpoints that refuse connections:
    ai-gateway simulate --endpoints 3 --control 127.0.0.1:11499
    curl -X POST 127.0.0.1:11499/endpoints/1/kill
    curl -X POST 127.0.0.1:11499/endpoints/1/restart

  move a tag of the registry, which all endpoints share, and let the next pull fail:
    curl 127.0.0.1:11500/simulator/registry -d '{"name": "llama3:latest", "content": "newer", "size": 1000000}'
    curl 127.0.0.1:11500/simulator/faults -d '{"kind": "disk_full", "count": 1}'

kinds of faults: refuse hang slow status busy drop cut truncate end eof stall loop_guard garbage redirect cookie split
of pulls: disk_full bad_digest no_registry
limits of a fault: count, seconds, model, path, routes (inference, openai, native, state, all)
"""


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `simulate` to the command's sub-commands."""
    parser = subparsers.add_parser(
        "simulate",
        help=_HELP,
        description=_HELP[0].upper() + _HELP[1:] + ".",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--endpoints", type=_count, default=1, metavar="N", help="how many endpoints (default 1)")
    parser.add_argument(
        "--listen",
        type=_address,
        default=("127.0.0.1", 11500),
        metavar="HOST:PORT",
        help="address of the first endpoint; the others use the next ports; port 0 means free ones "
        "(default 127.0.0.1:11500)",
    )
    parser.add_argument("--control", type=_address, metavar="HOST:PORT", help="control all endpoints here as well")
    _add_models(parser)
    _add_speed(parser)
    _add_room(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serves until SIGINT or SIGTERM. 0 after a signal, 1 for a port in use or an invalid value."""
    import uvloop

    from ai_gateway.simulator.names import parse_name

    settings = settings_from(arguments)
    wrong = [name for name in settings.models if parse_name(name) is None]
    if wrong:
        return _complain(f"these are not model names: {', '.join(wrong)}")
    try:
        uvloop.run(_serve(arguments, settings))
    except OSError as error:
        host, port = arguments.listen
        return _complain(f"cannot listen on {host}:{port} and the {arguments.endpoints} ports from it: {error}")
    return 0


def settings_from(arguments: argparse.Namespace) -> "Settings":
    """The simulator's settings from parsed flags; flags that are not set keep their defaults."""
    from dataclasses import fields

    from ai_gateway.simulator import Settings

    given = {field.name: getattr(arguments, field.name, None) for field in fields(Settings)}
    given["capabilities"] = dict(arguments.capability) if arguments.capability else None
    return Settings(**{name: value for name, value in given.items() if value is not None})


async def _serve(arguments: argparse.Namespace, settings: "Settings") -> None:
    import asyncio

    from ai_gateway.simulator import Simulator

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    async with Simulator(settings, arguments.endpoints, arguments.listen, arguments.control) as simulator:
        for url in simulator.urls:
            print(url)
        if simulator.control_address is not None:
            print(f"control http://{simulator.control_address}")
        sys.stdout.flush()
        await stopping.wait()


def _add_models(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("models")
    group.add_argument("--models", type=_names, metavar="NAME,...", help="models on every endpoint at the start")
    group.add_argument(
        "--registry",
        type=_names,
        metavar="NAME,...",
        help="models that a pull finds; * finds everything (default: well-known ones)",
    )
    group.add_argument(
        "--capability",
        type=_capability,
        action="append",
        metavar="NAME=KIND,...",
        help="completion, tools, thinking, vision, insert, embedding; by default guessed: *embed* makes vectors",
    )
    group.add_argument("--context-length", type=_count, metavar="TOKENS", help="of every model (default 4096)")
    group.add_argument("--embedding-length", type=_count, metavar="N", help="components of a vector (default 384)")
    group.add_argument("--answer-tokens", type=_count, metavar="N", help="mean length of an answer (default 40)")
    group.add_argument("--dialect", choices=("new", "old"), help="chat streams from 0.32.6 on, or before (default new)")
    group.add_argument("--version", metavar="X.Y.Z", help="the answer of /api/version (default: by the dialect)")
    group.add_argument("--seed", type=int, metavar="N", help="another seed gives other answers (default 0)")


def _add_speed(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("speed (0: no delay)")
    group.add_argument("--tokens-per-second", type=_rate, metavar="RATE", help="of one answer (default 50)")
    group.add_argument(
        "--prefill-tokens-per-second", type=_rate, metavar="RATE", help="of prompt that is not cached (default 4000)"
    )
    group.add_argument("--load-seconds", type=_rate, metavar="SECONDS", help="to load a model (default 0.3)")
    group.add_argument("--pull-bytes-per-second", type=_rate, metavar="RATE", help="of a pull (default 4e9)")


def _add_room(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("room")
    group.add_argument("--slots", type=_count, metavar="N", help="per loaded model, OLLAMA_NUM_PARALLEL (default 1)")
    group.add_argument(
        "--max-loaded", type=_count, metavar="N", help="models at a time, OLLAMA_MAX_LOADED_MODELS (default 3)"
    )
    group.add_argument(
        "--max-queue", type=_count, metavar="N", help="requests that wait for a load, OLLAMA_MAX_QUEUE (default 512)"
    )
    group.add_argument(
        "--memory-bytes", type=_count, metavar="BYTES", help="room for loaded models (default: without limit)"
    )
    group.add_argument(
        "--keep-alive-seconds",
        type=float,
        metavar="SECONDS",
        help="until an idle model is unloaded, OLLAMA_KEEP_ALIVE; negative: never (default 300)",
    )


def _complain(sentence: str) -> int:
    print(f"ai-gateway simulate: {sentence}", file=sys.stderr)
    return 1


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _rate(text: str) -> float:
    number = float(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return number


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _capability(text: str) -> tuple[str, tuple[str, ...]]:
    name, separator, kinds = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError("write it as NAME=KIND,KIND")
    return name, _names(kinds)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 <= int(port) <= 65535:
        raise argparse.ArgumentTypeError("write it as HOST:PORT")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - ":11500" asks for all addresses
