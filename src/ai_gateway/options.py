"""What the command decides for the gateway, and what the process around it gives."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from ai_gateway.accounting.audit import print_line
from ai_gateway.cluster.access import Access
from ai_gateway.cluster.config_map import ConfigMapRef
from ai_gateway.config.types import Config
from ai_gateway.discovery.source import Source
from ai_gateway.edge.exchange_middleware import Reader
from ai_gateway.edge.metrics import MetricSource
from ai_gateway.telemetry.settings import TelemetrySettings
from ai_gateway.telemetry.tracing import Tracing


class Options(msgspec.Struct, frozen=True):
    """What the command decides: where the config is, the environment, and simulated endpoints in place of missing ones.

    With `config_map` the gateway follows the config there. A file beside it is used while the map cannot be read.
    """

    config_path: Path | None
    environment: dict[str, str]
    demo: Source | None = None  # simulated endpoints, used in place of those that discovery would find
    access: Access = Access()
    config_map: ConfigMapRef | None = None
    telemetry: TelemetrySettings = TelemetrySettings()
    required: frozenset[str] = frozenset()  # sections that the config must have
    decided: frozenset[str] = frozenset()  # keys of the config that flags override, so that a change of them is none


def _ignore(*_: object) -> None:
    """The default callback: does nothing."""


class ProcessHooks(msgspec.Struct, frozen=True, kw_only=True):
    """What the process around the gateway gives it.

    `readers` get each finished exchange. A scrape reads `metric_sources` after the gateway's own. `leave` begins to
    shut the server down, for a pre-stop hook or a config that needs another start. `on_config` is called with each
    config that takes effect. `write_line` writes a line to standard output.
    """

    readers: tuple[Reader, ...] = ()
    metric_sources: tuple[MetricSource, ...] = ()
    tracing: Tracing | None = None
    leave: Callable[[], None] = _ignore
    on_config: Callable[[Config], None] = _ignore
    write_line: Callable[[bytes], None] = print_line
