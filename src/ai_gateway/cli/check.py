"""`ai-gateway check`: says what is wrong with a config file, in the words the gateway itself would use."""

import argparse
import sys
from pathlib import Path


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `check` to the command's sub-commands."""
    parser = subparsers.add_parser(
        "check",
        help="check a config file, for example in CI",
        description="Checks a config file as the gateway does when it starts or the file changes. "
        "Prints each fault with its path; exits with 1 if there is any.",
        epilog="example:\n  ai-gateway check config.yml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path, metavar="config.yml")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 for a valid config, 1 with a line per fault."""
    from ai_gateway.config.loading import ConfigError, load

    path: Path = arguments.config
    try:
        config = load(path)
    except ConfigError as error:
        for complaint in error.complaints:
            print(f"{path}: {complaint}", file=sys.stderr)
        return 1
    ids = ", ".join(config.models) or "no models"
    print(f"{path}: ok ({ids})")
    return 0
