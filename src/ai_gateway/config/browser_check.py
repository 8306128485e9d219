"""What the types of `cors` and `hosts` alone cannot say."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ai_gateway.config.reason import ConfigReason
from ai_gateway.wire.origin import ANY, read_host_pattern, read_pattern

if TYPE_CHECKING:
    from ai_gateway.config.types import Config


def check_browsers(config: "Config") -> Iterator[ConfigReason]:
    """Every origin or host that could never match, or would match what nobody means."""
    kinds = (("cors.origins", config.cors.origins, read_pattern), ("hosts", config.hosts, read_host_pattern))
    for path, entries, read in kinds:
        for index, entry in enumerate(entries):
            try:
                if entry != ANY:
                    read(entry)
            except ValueError as failure:
                yield ConfigReason(f"{path}[{index}]", str(failure))
