"""A collector of metrics on loopback."""

from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.sdk.metrics.export import MetricExporter
from tests.flow.upstream import Upstream, Visit, whole


def attributes(point: Any) -> dict[str, str | int]:
    """As plain values."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in point.attributes}


class Collector(Upstream):
    """Takes metrics over HTTP, and decodes them."""

    def __init__(self) -> None:
        super().__init__(self.take)
        self.answer = whole(b"", headers=["content-type: application/x-protobuf"])
        self.taken: list[ExportMetricsServiceRequest] = []

    async def take(self, visit: Visit) -> None:
        """One export."""
        assert (visit.method, visit.path) == ("POST", "/v1/metrics")
        assert visit.headers["content-type"] == "application/x-protobuf"
        self.taken.append(ExportMetricsServiceRequest.FromString(visit.body))
        await visit.say(self.answer)

    def exporter(self, seconds: float = 5.0) -> MetricExporter:
        """The settings of an exporter that sends to it."""
        return OTLPMetricExporter(f"{self.url}/v1/metrics", timeout=seconds)

    def metrics(self, number: int = -1) -> dict[str, Metric]:
        """Those of an export, by name."""
        (sent,) = self.taken[number].resource_metrics
        return {metric.name: metric for scope in sent.scope_metrics for metric in scope.metrics}

    def resource(self) -> dict[str, str | int]:
        """The resource of the last export."""
        return attributes(self.taken[-1].resource_metrics[0].resource)
