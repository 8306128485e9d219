"""Paths behind flags."""

import argparse
from pathlib import Path

from ai_gateway.config.paths import expanded


def path_flag(text: str) -> Path:
    """A flag's path, with `~` expanded: no shell does that in `--file=~/x`, or in the environment of a service."""
    try:
        return Path(expanded(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
