"""The types of config.yml about what the gateway logs."""

from typing import Annotated, Literal

from msgspec import Meta

from ai_gateway.config.units import Section
from ai_gateway.config.units import default as _default

LogLevel = Literal["debug", "info", "warning", "error"]
LogName = Literal[
    "audit",
    "auth",
    "balancing",
    "cluster",
    "config",
    "demo",
    "discovery",
    "limits",
    "polling",
    "reconcile",
    "rescue",
    "server",
    "telemetry",
]  # all loggers, without their common prefix


class Log(Section, frozen=True):
    """What the gateway logs. A change applies from the next line on."""

    level: Annotated[LogLevel, Meta(description="lowest level that is written")] = "info"
    levels: Annotated[
        dict[LogName, LogLevel], Meta(description="overrides `level` for one part, such as `{discovery: debug}`")
    ] = _default({})
    access: Annotated[bool, Meta(description="one line on standard output for each finished request")] = True
