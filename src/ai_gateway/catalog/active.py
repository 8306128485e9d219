"""What is in force now: one config and the catalog made of it, swapped together by one assignment."""

import logging
from typing import NamedTuple

from ai_gateway.catalog.catalog import Catalog
from ai_gateway.config.types import Config
from ai_gateway.reconcile.plans import DEFAULT_OWNER

log = logging.getLogger("ai_gateway.config")


class ActiveConfig(NamedTuple):
    """A config and its catalog. `is_loaded` is False for the empty one that stands for a file never read."""

    config: Config
    catalog: Catalog
    is_loaded: bool = True

    def parts(self) -> list[object]:
        """All that it is made of, so that it can be let go of in pieces, large containers first."""
        models, callers = self.config.models, self.config.callers
        return [models, callers, *self.catalog.parts(), *(callers or ()), *models, *models.values()]


class CurrentConfig:
    """The reference that a reload swaps. A request reads `now` once and keeps what it got."""

    def __init__(self, config: Config, is_loaded: bool = True) -> None:
        self.now = ActiveConfig(config, Catalog(config), is_loaded)

    def swap(self, new: ActiveConfig) -> None:
        """Puts a new config in force; requests under way keep the old one."""
        self.now = new
        for warning in new.catalog.warnings:
            log.warning("config: %s", warning)


def prepare(config: Config, owner: str = DEFAULT_OWNER) -> ActiveConfig:
    """A config with the catalog made of it, which takes a while: in a thread. `owner` stands for one that it lacks."""
    return ActiveConfig(config, Catalog(config, owner))
