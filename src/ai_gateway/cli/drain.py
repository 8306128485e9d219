"""`ai-gateway drain`, for a pre-stop hook: asks the gateway on this machine to shut down."""

import argparse
import os
import sys
from http.client import HTTPConnection, HTTPException

from ai_gateway.cli.serve_flags import DEFAULT_ADMIN

ANSWER_SECONDS = 5.0


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `drain` to the command's sub-commands."""
    parser = subparsers.add_parser(
        "drain",
        help="ask the gateway on this machine to shut down (for a pre-stop hook)",
        description="Asks a running gateway, on its admin port, to shut down as on SIGTERM, and returns at once.\n"
        "The gateway ends when its answers are finished. A SIGTERM after this command counts as the first one.",
        epilog="example, next to Ollama in one pod, where the kubelet signals sidecars last:\n"
        '  lifecycle: {preStop: {exec: {command: ["ai-gateway", "drain"]}}}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--admin",
        default=os.environ.get("AI_GATEWAY_ADMIN") or DEFAULT_ADMIN,
        metavar="HOST:PORT",
        help=f"admin address of the gateway (default {DEFAULT_ADMIN}, or AI_GATEWAY_ADMIN)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 if the gateway has begun to shut down, 1 if it cannot be reached."""
    host, _, port = arguments.admin.rpartition(":")
    host = host.strip("[]")
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - what every address means to a server; it is asked on loopback
        host = "127.0.0.1"
    if not port.isdecimal():
        print(f"ai-gateway drain: {arguments.admin!r} is not HOST:PORT", file=sys.stderr)
        return 1
    connection = HTTPConnection(host, int(port), timeout=ANSWER_SECONDS)
    try:
        # By this name, since the gateway may refuse the name that it listens on.
        connection.request("POST", "/drain", headers={"Host": "localhost", "Content-Length": "0"})
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        reason = getattr(error, "strerror", None) or error
        print(f"ai-gateway drain: no gateway answers at {host}:{port}: {reason}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    if status != 200:
        print(f"ai-gateway drain: {host}:{port} answered {status}", file=sys.stderr)
        return 1
    return 0
