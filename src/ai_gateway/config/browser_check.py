"""Checks of `cors` and `hosts` that their types cannot make."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ai_gateway.config.reason import ConfigReason
from ai_gateway.wire.origin import ANY, read_host_pattern, read_pattern

if TYPE_CHECKING:
    from ai_gateway.config.types import Config


def check_browsers(config: "Config") -> Iterator[ConfigReason]:
    """Refuses origins and hosts that could never match, or would match more than anyone means."""
    kinds = (("cors.origins", config.cors.origins, read_pattern), ("hosts", config.hosts, read_host_pattern))
    for path, entries, read in kinds:
        for index, entry in enumerate(entries):
            try:
                if entry != ANY:
                    read(entry)
            except ValueError as failure:
                yield ConfigReason(f"{path}[{index}]", str(failure))
