"""`--require`: sections that a config must have. The gateway refuses a config without them, also at the start."""

import argparse
import os


def add_require(parser: argparse.ArgumentParser) -> None:
    """Adds the flag to a sub-command."""
    parser.add_argument(
        "--require",
        action="append",
        metavar="SECTION,...",
        help="sections that the config must have, if only to turn them off: auth, callers, limits, "
        "audit, tls; without them the gateway serves nothing ($AI_GATEWAY_REQUIRE)",
    )


def required_by(arguments: argparse.Namespace) -> frozenset[str]:
    """The required sections, from the flag or else the environment. Raises ValueError for an unknown name."""
    from ai_gateway.config.protection import names_in

    given: list[str] | None = arguments.require
    return names_in(",".join(given) if given is not None else os.environ.get("AI_GATEWAY_REQUIRE", ""))
