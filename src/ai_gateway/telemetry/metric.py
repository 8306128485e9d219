"""One metric as a value: what kind it is, and which labels it has."""

from typing import Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]


class Metric(msgspec.Struct, frozen=True):
    """A metric. `unit` is UCUM's, as OTLP has it; `convention` its name in OpenTelemetry's conventions, if any."""

    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    unit: str = ""
    convention: str = ""


def counter(meaning: str, *labels: str, unit: str = "") -> Metric:
    """One that only grows."""
    return Metric("counter", labels, meaning, unit)


def gauge(meaning: str, *labels: str, unit: str = "") -> Metric:
    """One that rises and falls."""
    return Metric("gauge", labels, meaning, unit)


def seconds(meaning: str, *labels: str, convention: str = "") -> Metric:
    """A histogram of times."""
    return Metric("histogram", labels, meaning, "s", convention)
