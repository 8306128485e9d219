"""What is in force now: one config and the catalog made of it, swapped together by one assignment."""

from typing import NamedTuple

from ai_gateway.catalog.catalog import Catalog
from ai_gateway.config.types import Config


class InForce(NamedTuple):
    """A config and its catalog."""

    config: Config
    catalog: Catalog


class Current:
    """The reference that a reload swaps. A request reads `now` once and keeps what it got."""

    def __init__(self, config: Config) -> None:
        self.now = InForce(config, Catalog(config))

    def swap(self, config: Config) -> None:
        """Puts a new config in force; requests under way keep the old one."""
        self.now = InForce(config, Catalog(config))
