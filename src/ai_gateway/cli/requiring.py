"""`--require`: sections that a config must have, so that a file without them is not taken, not even at the start."""

import argparse
import os


def add_require(parser: argparse.ArgumentParser) -> None:
    """Adds the flag to a sub-command."""
    parser.add_argument(
        "--require",
        action="append",
        metavar="SECTION,...",
        help="sections that must be in the config, if only as the word that turns them off: auth, callers, limits, "
        "audit, tls; without them nothing is served ($AI_GATEWAY_REQUIRE)",
    )


def required_by(arguments: argparse.Namespace) -> frozenset[str]:
    """The sections that are required, by the flag or else the environment. Raises ValueError for an unknown name."""
    from ai_gateway.config.protection import names_in

    given: list[str] | None = arguments.require
    return names_in(",".join(given) if given is not None else os.environ.get("AI_GATEWAY_REQUIRE", ""))
