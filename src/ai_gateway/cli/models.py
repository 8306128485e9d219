"""`ai-gateway models`: shows how far models are on their way to the endpoints, or waits until one is there."""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ai_gateway.cli.asking import Asking, Unanswered
from ai_gateway.cli.paths import path_flag

_EPILOG = """examples:
  ai-gateway models                                   a table, live in a terminal
  ai-gateway models wait coder --timeout 10m          until the model is in place as the config says
  ai-gateway models wait coder --config config.yml    the same, once every ready gateway follows this very file

wait exits with 0 if the model is in place: each endpoint that is to have it has the version of the config, and where a
version is loaded, it is that one. It exits with 1 if that has failed, and with 2 if the time is over. --config asks
/v1/health for the config of each gateway; with authentication only an admin may read that.
"""
_FAILED: Final = 1
_TIME_IS_OVER: Final = 2
_PAUSE_SECONDS: Final = 1.0
_BAR: Final = 20  # characters
_CLEAR: Final = "\x1b[H\x1b[J"


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `models` to the command's sub-commands."""
    parser = subparsers.add_parser(
        "models",
        help="show how far models are on their way to the endpoints",
        description="Asks a running gateway which models it serves, and how far each is on its way to the endpoints.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_place(parser)
    parser.add_argument("--once", action="store_true", help="print the table once, also in a terminal")
    parser.set_defaults(run=run)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    waiting = commands.add_parser("wait", help="wait until a model is in place as the config says")
    waiting.add_argument("model", help="the id of the model")
    waiting.add_argument("--config", type=path_flag, metavar="FILE", help="every ready gateway must follow this file")
    waiting.add_argument("--timeout", default="10m", metavar="TIME", help="how long to wait (default 10m)")
    _add_place(waiting)
    waiting.set_defaults(run=wait)


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url",
        default=os.environ.get("AI_GATEWAY_URL") or "http://127.0.0.1:8080",
        help="the gateway (default http://127.0.0.1:8080, or AI_GATEWAY_URL)",
    )
    parser.add_argument("--key-file", type=path_flag, metavar="FILE", help="a file with the API key or token to send")


def run(arguments: argparse.Namespace) -> int:
    """0, or 1 if the gateway does not answer as it should."""
    try:
        asking = Asking(arguments.url, arguments.key_file)
        while True:
            table = "\n".join(_table(asking))
            if arguments.once or not sys.stdout.isatty():
                print(table)
                return 0
            sys.__stdout__.write(f"{_CLEAR}{table}\n")  # type: ignore[union-attr]  # it is a terminal
            sys.__stdout__.flush()  # type: ignore[union-attr]
            time.sleep(_PAUSE_SECONDS)
    except (Unanswered, OSError, ValueError) as error:
        print(f"ai-gateway models: {error}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        return 0


def wait(arguments: argparse.Namespace) -> int:
    """0 once the model is in place, 1 if that has failed, 2 if the time is over."""
    from ai_gateway.config.loading import pause
    from ai_gateway.config.state import digest_of

    try:
        ends_at = time.monotonic() + pause(arguments.timeout)
        digest = None if arguments.config is None else digest_of(_read(arguments.config))
        asking = Asking(arguments.url, arguments.key_file)
    except (OSError, ValueError) as error:
        print(f"ai-gateway models wait: {error}", file=sys.stderr)
        return _TIME_IS_OVER
    said = ""
    while True:
        verdict, sentence = _verdict(asking, arguments.model, digest)
        if verdict is not None:
            print(f"{arguments.model}: {sentence}", file=sys.stdout if verdict == 0 else sys.stderr)
            return verdict
        if sentence != said:
            print(f"{arguments.model}: {sentence}", file=sys.stderr)
            said = sentence
        if time.monotonic() + _PAUSE_SECONDS > ends_at:
            print(f"ai-gateway models wait: not in place within {arguments.timeout}: {sentence}", file=sys.stderr)
            return _TIME_IS_OVER
        time.sleep(_PAUSE_SECONDS)


def _read(path: Path) -> bytes:
    return (path / "config.yml" if path.is_dir() else path).read_bytes()


def _verdict(asking: Asking, model: str, digest: str | None) -> tuple[int | None, str]:
    """The exit status, None to go on, and a sentence."""
    try:
        if digest is not None and (behind := _behind(asking.get("/v1/health"), digest)):
            return None, behind
        shown = asking.get(f"/v1/models/{model}")
    except Unanswered as failure:
        return (_FAILED if failure.is_final else None), str(failure)
    state = shown.get("state")
    if state == "failed":
        return _FAILED, f"has failed: {shown.get('reason')}"
    if state in ("ready", "loading"):
        return 0, "is in place"
    return None, _sentence(shown)


def _behind(health: dict[str, Any], digest: str) -> str | None:
    """Which gateways do not follow the file yet; None: all do."""
    config = health.get("config")
    if not isinstance(config, dict):
        raise Unanswered(
            "/v1/health shows its details only to admins; name a key of one with --key-file", is_final=True
        )
    if config.get("complaints"):
        reason = config["complaints"][0]
        raise Unanswered(f"the config is refused: {reason.get('path')}: {reason.get('message')}", is_final=True)
    others = [one for one in health["gateways"]["others"] if one["state"] in ("fresh", "silent")]
    hashes = [config.get("hash"), *(one["config"] if one["state"] == "fresh" else None for one in others)]
    follow = sum(one == digest for one in hashes)
    return None if follow == len(hashes) else f"{follow} of {len(hashes)} gateways follow the file"


def _sentence(shown: dict[str, Any]) -> str:
    parts = [str(shown.get("state"))]
    if shown.get("total"):
        parts.append(f"{shown.get('done')} of {shown['total']} endpoints are done")
    if shown.get("progress") is not None:
        parts.append(f"{shown['progress']:.0%} are pulled")
    if shown.get("reason"):
        parts.append(f"the last failure: {shown['reason']}")
    return ", ".join(parts)


def _table(asking: Asking) -> Iterator[str]:
    rows = [("MODEL", "STATE", "PULLED", "ENDPOINTS", "NAME", "")]
    for listed in asking.get("/v1/models")["data"]:
        shown = asking.get(f"/v1/models/{listed['id']}")
        total = shown.get("total")
        endpoints = f"{shown.get('done')}/{total}" if total else str(len(shown.get("endpoints") or ())) or ""
        rows.append(
            (
                str(listed["id"]),
                str(shown.get("state")),
                _bar(shown.get("progress")),
                endpoints,
                str(shown.get("ollama")),
                str(shown.get("reason") or ""),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        yield "  ".join([*(text.ljust(width) for text, width in zip(row[:5], widths, strict=True)), row[5]]).rstrip()


def _bar(progress: float | None) -> str:
    if progress is None:
        return ""
    filled = round(_BAR * progress)
    return f"[{'#' * filled}{'.' * (_BAR - filled)}] {progress:4.0%}"
