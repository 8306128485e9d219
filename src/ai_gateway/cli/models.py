"""`ai-gateway models`: shows how far models are on their way to the endpoints, or waits until one is there."""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Final, NoReturn

from ai_gateway.cli.asking import Asking, Unanswered
from ai_gateway.cli.model_table import MOST_ASKED, Row, Table, lines
from ai_gateway.cli.model_wait import FAILED, IN_PLACE, Waiting
from ai_gateway.cli.paths import path_flag
from ai_gateway.wire.printable import printable

_EPILOG = """examples:
  ai-gateway models                                   a table, live in a terminal; Ctrl-C ends it
  ai-gateway models wait coder --timeout 10m          until the model is in place as the config says
  ai-gateway models wait coder --config config.yml    the same, once every ready gateway follows this very file

A key, if the gateway asks for one, comes from a file: --key-file. Only admins see endpoints and gateways. Over https
SSL_CERT_FILE names the certificate of an own CA.
"""
_WAIT_EPILOG = """exit status:
  0  in place: each endpoint that is to have the model has it as the config says, and where the model is loaded,
     calls get that version
  1  failed: the reason is on standard error
  2  the time is over

Without --config the config counts that the gateway follows at that moment, which may be the one before your edit. With
it, /v1/health is asked for the config of each gateway; with authentication only an admin may read that.
"""
_TIME_IS_OVER: Final = 2
_PAUSE_SECONDS: Final = 1.0


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `models` to the command's sub-commands."""
    parser = subparsers.add_parser(
        "models",
        help="show how far models are on their way to the endpoints",
        description="Asks a running gateway which models it serves, and how far each is on its way to the endpoints.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    url = os.environ.get("AI_GATEWAY_URL") or "http://127.0.0.1:8080"
    _add_place(parser, {"url": url, "key_file": None})
    parser.add_argument("--once", action="store_true", help="print the table once, also in a terminal")
    parser.set_defaults(run=run)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    waiting = commands.add_parser(
        "wait",
        help="wait until a model is in place as the config says",
        description="Waits until a model is in place as the config says.",
        epilog=_WAIT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    waiting.add_argument("model", help="the id of the model")
    waiting.add_argument("--config", type=path_flag, metavar="FILE", help="every ready gateway must follow this file")
    waiting.add_argument("--timeout", default="10m", metavar="TIME", help="how long to wait (default 10m)")
    _add_place(waiting, {})
    waiting.set_defaults(run=wait)


def _add_place(parser: argparse.ArgumentParser, defaults: dict[str, Any]) -> None:
    """The flags stand before or after `wait`; only the outer ones have defaults, which would hide what was given."""
    parser.add_argument(
        "--url",
        default=defaults.get("url", argparse.SUPPRESS),
        help="the gateway (default http://127.0.0.1:8080, or AI_GATEWAY_URL)",
    )
    parser.add_argument(
        "--key-file",
        type=path_flag,
        metavar="FILE",
        default=defaults.get("key_file", argparse.SUPPRESS),
        help="a file with the API key or token to send",
    )


def run(arguments: argparse.Namespace) -> int:
    """0, or 1 if the gateway does not answer as it should."""
    try:
        with Asking(arguments.url, arguments.key_file) as asking:
            if sys.stdout.isatty() and not arguments.once and os.environ.get("TERM", "dumb") != "dumb":
                _show_live(Table(asking))
            for line in lines(Table(asking).read()):
                print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = None  # the reader closed the pipe: flush nothing more
    except (Unanswered, OSError, ValueError) as error:
        return _complain("models", str(error))
    return 0


def _show_live(table: Table) -> NoReturn:
    """Until it is interrupted. A gateway that goes away for a while is waited for, once it has answered."""
    rows: list[Row] | None = None
    while True:
        complaint = ""
        try:
            rows = table.read(MOST_ASKED)
        except Unanswered as failure:
            if rows is None or failure.status in (401, 403):
                raise
            complaint = str(failure)
        _draw(rows, complaint)
        time.sleep(_PAUSE_SECONDS)


def _draw(rows: list[Row], complaint: str) -> None:
    """Over what was drawn before. What the gateway told is printable by now, so the codes go past the escaping."""
    columns, height = shutil.get_terminal_size()
    shown = list(lines(rows, columns, height - 1 - bool(complaint)))
    if complaint:
        shown.append(printable(f"{complaint}; trying again")[:columns])
    text = "".join(f"{line}\x1b[K\n" for line in shown)
    sys.stdout.flush()
    sys.stdout.buffer.write(f"\x1b[H{text}\x1b[J".encode(sys.stdout.encoding, "backslashreplace"))
    sys.stdout.buffer.flush()


def wait(arguments: argparse.Namespace) -> int:
    """0 once the model is in place, 1 if that has failed, 2 if the time is over."""
    from ai_gateway.config.loading import pause
    from ai_gateway.config.state import digest_of

    try:
        ends_at = time.monotonic() + pause(arguments.timeout)
        digest = None if arguments.config is None else digest_of(_read(arguments.config))
        asking = Asking(arguments.url, arguments.key_file)
    except (OSError, ValueError) as error:
        return _complain("models wait", str(error))
    with asking:
        return _wait(arguments, asking, digest, ends_at)


def _wait(arguments: argparse.Namespace, asking: Asking, digest: str | None, ends_at: float) -> int:
    waiting = Waiting(asking, arguments.model, digest, lambda: ends_at - time.monotonic())
    said = ""
    while True:
        verdict, sentence = waiting.look()
        sentence = printable(f"{arguments.model}: {sentence}")
        if verdict is not None:
            print(sentence, file=sys.stdout if verdict == IN_PLACE else sys.stderr)
            return verdict
        if time.monotonic() + _PAUSE_SECONDS > ends_at:
            print(f"ai-gateway models wait: not within {arguments.timeout}: {sentence}", file=sys.stderr)
            return _TIME_IS_OVER
        if sentence != said:
            print(sentence, file=sys.stderr, flush=True)
            said = sentence
        time.sleep(_PAUSE_SECONDS)


def _complain(command: str, sentence: str) -> int:
    print(f"ai-gateway {command}: {printable(sentence)}", file=sys.stderr)
    return FAILED


def _read(path: Path) -> bytes:
    return (path / "config.yml" if path.is_dir() else path).read_bytes()
