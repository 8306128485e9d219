"""The command line: which sub-command runs, and with what."""

import argparse

from ai_gateway.cli import audit, check, drain, keys, models, serve, simulate
from ai_gateway.cli.hangup import Hangup
from ai_gateway.version import __version__

_EPILOG = """first steps:
  ai-gateway serve --demo          serve config.yml on http://127.0.0.1:8080, simulated if no Ollama is found
  curl http://127.0.0.1:8080/v1/models
  ai-gateway serve --help          every flag, and where Ollama endpoints come from
"""


def run(argv: list[str] | None, hangup: Hangup) -> int:
    """Runs the sub-command in `argv`, or in the process's own arguments; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="ai-gateway",
        description="An OpenAI-style gateway in front of Ollama: one API, balanced, queued and streamed over a fleet.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ai-gateway {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (serve, check, models, keys, audit, drain, simulate):
        command.add_command(subparsers)
    arguments = parser.parse_args(argv, argparse.Namespace(hangup=hangup))
    status: int = arguments.run(arguments)
    return status
