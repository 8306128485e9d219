"""What is in force now: one config and the catalog made of it, swapped together by one assignment."""

import logging
from typing import NamedTuple

from ai_gateway.catalog.catalog import Catalog
from ai_gateway.config.types import Config

log = logging.getLogger("ai_gateway.config")


class InForce(NamedTuple):
    """A config and its catalog. `is_loaded` is False for the empty one that stands for a file never read."""

    config: Config
    catalog: Catalog
    is_loaded: bool = True


class Current:
    """The reference that a reload swaps. A request reads `now` once and keeps what it got."""

    def __init__(self, config: Config, is_loaded: bool = True) -> None:
        self.now = InForce(config, Catalog(config), is_loaded)

    def swap(self, config: Config) -> None:
        """Puts a new config in force; requests under way keep the old one."""
        self.now = InForce(config, Catalog(config))
        for warning in self.now.catalog.warnings:
            log.warning("config: %s", warning)
