"""The config as balancing reads it."""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from ai_gateway.balancing import policy as policies
from ai_gateway.balancing.naming import Shaped

STARVE_SECONDS: Final = 20.0


class PoolSettings(msgspec.Struct, frozen=True):
    """The settings of one pool: the calls at a time per endpoint, and how many more may wait.

    An endpoint's own number of slots overrides `slots`; `own_slots` is the model's limit on any endpoint.
    `resident` copies stay loaded. `keep_alive` goes with loads, in Ollama's words; None leaves it to the endpoint.
    For `absence_seconds` a call waits for a first endpoint that holds the model. `title` names it in errors; "" where
    Ollama's name does.
    """

    slots: int = 1
    own_slots: int | None = None
    max_waiting: int = 0
    policy: policies.Name = "warm"
    resident: int = 0
    keep_alive: str | int | None = None
    load_seconds: float = 300.0
    absence_seconds: float = 0.0
    title: str = ""


class FleetSettings(msgspec.Struct, frozen=True):
    """The config of balancing: `pools` for its models, by Ollama's name, and `others` for every other model.

    `kept` names those with resident copies: it is found here, in the thread that reads a config.
    """

    pools: Mapping[str, PoolSettings] = {}
    others: PoolSettings = PoolSettings()
    retry_share: float = 0.2
    starve_seconds: float = STARVE_SECONDS
    loads: Literal["auto", "always", "never"] = "auto"
    is_foreign: bool = False
    shaped: Mapping[str, Shaped] = {}  # by key; their pools are known by it
    tags: Mapping[str, str] = {}  # by id: Ollama's name
    kept: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        kept = tuple(model for model, pool in self.pools.items() if pool.resident)
        msgspec.structs.force_setattr(self, "kept", kept)

    def of(self, model: str) -> PoolSettings:
        """The settings of a model's pool."""
        return self.pools.get(model, self.others)


DEFAULTS: Final = FleetSettings()
