"""Samples in Prometheus' text formats, written by its own client library from values of the moment of a scrape.

The first scrape imports the library: it takes a few megabytes, which a sidecar without scrapes saves.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from ai_gateway.telemetry.meanings import METRICS
from ai_gateway.telemetry.sample import Sample
from ai_gateway.telemetry.series import Distribution

if TYPE_CHECKING:
    from prometheus_client.core import Metric

PLAIN: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def as_text(samples: Iterable[Sample], *, is_open: bool = False) -> bytes:
    """The exposition of all samples, grouped by name.

    Prometheus' format 0.0.4, or OpenMetrics 1.0, which alone has room for exemplars.
    """
    from prometheus_client import exposition
    from prometheus_client.openmetrics import exposition as openmetrics

    generate = openmetrics.generate_latest if is_open else exposition.generate_latest
    text: bytes = generate(_Families(samples))  # it uses only `collect` of a registry
    return text


def process_samples() -> list[Sample]:
    """Memory, CPU and files of this process; empty if the system does not provide them."""
    from prometheus_client import PROCESS_COLLECTOR

    samples = [sample for family in PROCESS_COLLECTOR.collect() for sample in family.samples]
    return [Sample(sample.name, sample.value) for sample in samples if sample.name in METRICS]


class _Families:
    """A collector for the library, with samples that were taken before."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._readings = samples

    def collect(self) -> Iterator["Metric"]:
        """See prometheus_client's Collector."""
        families: dict[str, list[Sample]] = {}
        for sample in self._readings:
            assert len(sample.labels) == len(METRICS[sample.name].labels), sample
            families.setdefault(sample.name, []).append(sample)
        for name, samples in families.items():
            yield _family(name, samples)


def _family(name: str, samples: Sequence[Sample]) -> "Metric":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    metric = METRICS[name]
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(name, metric.meaning, labels=metric.labels)
        for sample in samples:
            assert isinstance(sample.value, Distribution)
            histogram.add_metric(sample.labels, _buckets(sample.value), sample.value.total)
        return histogram
    kind = GaugeMetricFamily if metric.kind == "gauge" else CounterMetricFamily
    family = kind(name, metric.meaning, labels=metric.labels)
    for sample in samples:
        assert not isinstance(sample.value, Distribution)
        family.add_metric(sample.labels, sample.value)
    return family


def _buckets(read: Distribution) -> list[Any]:
    """Cumulative buckets, as Prometheus counts."""
    from prometheus_client.samples import Exemplar
    from prometheus_client.utils import floatToGoString

    found: list[Any] = []
    for place, (bound, count) in enumerate(zip((*read.bounds, float("inf")), accumulate(read.counts), strict=True)):
        exemplar = None
        if place in read.exemplars:
            value, mark = read.exemplars[place]
            ids = {"trace_id": mark.trace_id, "span_id": mark.span_id}
            exemplar = Exemplar(ids, value, mark.unix_seconds)
        text = floatToGoString(bound)  # type: ignore[no-untyped-call]  # the library's only untyped one here
        found.append((text, count, exemplar))
    return found
