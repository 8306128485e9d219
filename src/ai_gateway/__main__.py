"""The command `ai-gateway`; each sub-command has a file of its own in `cli`."""

import argparse
import sys

from ai_gateway.cli.hangup import Hangup, has_terminal
from ai_gateway.cli.terminal import speak_carefully
from ai_gateway.version import __version__

_EPILOG = """first steps:
  ai-gateway serve --demo          serve config.yml on http://127.0.0.1:8080, simulated if no Ollama is found
  curl http://127.0.0.1:8080/v1/models
  ai-gateway serve --help          every flag, and where Ollama endpoints come from
"""


def main(words: list[str] | None = None) -> int:
    """Runs a sub-command; returns the exit status. Without words those of the process are meant."""
    hangup = Hangup(has_terminal())
    if (sys.argv[1:] if words is None else words)[:1] == ["serve"]:
        hangup.hear()  # before the rest is even imported: a wish that comes early must not end the gateway
    from ai_gateway.cli import audit, check, drain, keys, serve, simulate

    if words is None:
        speak_carefully()
    parser = argparse.ArgumentParser(
        prog="ai-gateway",
        description="An OpenAI-style gateway in front of Ollama: one API, balanced, queued and streamed over a fleet.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ai-gateway {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (serve, check, keys, audit, drain, simulate):
        command.add_command(subparsers)
    arguments = parser.parse_args(words, argparse.Namespace(hangup=hangup))
    status: int = arguments.run(arguments)
    return status


if __name__ == "__main__":
    sys.exit(main())
