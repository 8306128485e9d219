"""One number of a metric at one moment. Rooms yield samples; Prometheus scrapes them, or OTLP sends them."""

import msgspec

from ai_gateway.telemetry.series import Distribution


class Sample(msgspec.Struct, frozen=True):
    """The value of a metric now. `labels` are values, in the order in which `METRICS` lists their names."""

    name: str
    value: float | Distribution
    labels: tuple[str, ...] = ()
