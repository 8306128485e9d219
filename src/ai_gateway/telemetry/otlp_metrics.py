"""Converts samples to the metrics of OpenTelemetry's SDK. Imports the SDK; nothing waits here."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from ai_gateway.telemetry import metric as kinds
from ai_gateway.telemetry import names
from ai_gateway.telemetry.meanings import METRICS, name_over_otlp
from ai_gateway.telemetry.sample import Sample
from ai_gateway.telemetry.series import Distribution
from ai_gateway.version import __version__

_SCOPE: Final = InstrumentationScope(names.SCOPE, __version__, names.SCHEMA_URL)
# Attributes of conventions, by their label in a scrape.
_ATTRIBUTES: Final = {
    name.replace(".", "_"): name
    for name in (
        *(names.METHOD, names.URL_SCHEME, names.ROUTE, names.STATUS, names.ERROR_TYPE),
        *(names.OPERATION, names.PROVIDER_NAME, names.REQUEST_MODEL, names.TOKEN_TYPE),
    )
}


class Conversion:
    """Converts samples to the SDK's data, all with one start in Unix nanoseconds."""

    def __init__(self, resource: Resource, started_ns: int) -> None:
        self._resource = resource
        self._started_ns = started_ns

    def __call__(self, samples: Iterable[Sample], now_ns: int) -> MetricsData:
        """Converts the samples of one moment."""
        families: dict[str, list[Sample]] = {}
        for sample in samples:
            families.setdefault(sample.name, []).append(sample)
        metrics = [self._metric(name, family, now_ns) for name, family in families.items()]
        scope = ScopeMetrics(_SCOPE, metrics, names.SCHEMA_URL)
        return MetricsData([ResourceMetrics(self._resource, [scope], names.SCHEMA_URL)])

    def _metric(self, name: str, samples: Sequence[Sample], now_ns: int) -> Metric:
        metric = METRICS[name]
        data: Sum | Gauge | Histogram
        if metric.kind == "histogram":
            points = [self._distribution(metric, sample, now_ns) for sample in samples]
            data = Histogram(points, AggregationTemporality.CUMULATIVE)
        else:
            numbers = [self._number(metric, sample, now_ns) for sample in samples]
            is_counter = metric.kind == "counter"
            data = Sum(numbers, AggregationTemporality.CUMULATIVE, True) if is_counter else Gauge(numbers)
        return Metric(name_over_otlp(name), metric.meaning, metric.unit, data)

    def _number(self, metric: kinds.Metric, sample: Sample, now_ns: int) -> NumberDataPoint:
        value = sample.value
        assert not isinstance(value, Distribution)
        whole = int(value) if isinstance(value, int) else value  # True is 1
        return NumberDataPoint(_attributes(metric, sample.labels), self._started_ns, now_ns, whole)

    def _distribution(self, metric: kinds.Metric, sample: Sample, now_ns: int) -> HistogramDataPoint:
        read = sample.value
        assert isinstance(read, Distribution)
        unknown: Any = None  # minimum and maximum are not kept; OTLP does not need them
        return HistogramDataPoint(
            attributes=_attributes(metric, sample.labels),
            start_time_unix_nano=self._started_ns,
            time_unix_nano=now_ns,
            count=read.count,
            sum=read.total,
            bucket_counts=read.counts,
            explicit_bounds=read.bounds,
            min=unknown,
            max=unknown,
            exemplars=[
                Exemplar({}, value, int(mark.unix_seconds * 1e9), int(mark.span_id, 16), int(mark.trace_id, 16))
                for value, mark in read.exemplars.values()
            ],
        )


def _attributes(metric: kinds.Metric, labels: Sequence[str]) -> dict[str, str | int]:
    """Labels that are not empty; those of a convention by the convention's names."""
    found: dict[str, str | int] = {}
    for label, value in zip(metric.labels, labels, strict=True):
        name = _ATTRIBUTES.get(label, label) if metric.convention else label
        if value:
            found[name] = int(value) if name == names.STATUS and value.isdigit() else value
    return found
