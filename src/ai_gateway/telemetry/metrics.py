"""Metrics in Prometheus' text form, written by its own client library from values taken at the moment of a scrape.

The library is imported with the first scrape: it costs a few megabytes that a sidecar nobody scrapes can do without.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from prometheus_client.core import Metric

PREFIX = "ai_gateway_"


class Reading(msgspec.Struct, frozen=True):
    """One metric's value now; counters have names that end in `_total`, times are seconds."""

    name: str
    kind: Literal["gauge", "counter"]
    meaning: str
    value: float
    labels: Mapping[str, str] = {}


def as_text(readings: Iterable[Reading]) -> bytes:
    """The exposition of all readings, format version 0.0.4. Readings of one name stand together."""
    from prometheus_client import CollectorRegistry, generate_latest

    class Readings:
        """A registry wants an object to ask; this one knows the answers already."""

        def collect(self) -> Iterable["Metric"]:
            """See prometheus_client's Collector."""
            return _families(readings)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Readings())
    return generate_latest(registry)


def _families(readings: Iterable[Reading]) -> Iterable["Metric"]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
    for reading in readings:
        family = families.get(reading.name)
        if family is None:
            kind = GaugeMetricFamily if reading.kind == "gauge" else CounterMetricFamily
            family = kind(PREFIX + reading.name, reading.meaning, labels=list(reading.labels))
            families[reading.name] = family
        family.add_metric(list(reading.labels.values()), reading.value)
    return families.values()
