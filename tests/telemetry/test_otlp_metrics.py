"""Metrics over OTLP: the same numbers as in a scrape, by the conventions' names, without waiting for the collector."""

import asyncio
import json
import re
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.resources import Resource
from tests.flow.upstream import Visit, whole
from tests.flow.waiting import until
from tests.telemetry.calls import TRACE, attempt, served
from tests.telemetry.collecting import Collector, attributes

from ai_gateway.telemetry import names
from ai_gateway.telemetry.meanings import METRICS, name_over_otlp
from ai_gateway.telemetry.metrics_export import MetricsExport, metric_exporters
from ai_gateway.telemetry.otlp_metrics import Conversion
from ai_gateway.telemetry.request_metrics import RequestMetrics
from ai_gateway.telemetry.sample import Sample
from ai_gateway.telemetry.series import Distribution
from ai_gateway.telemetry.settings import TelemetrySettings

WHO = Resource({"service.name": "ai-gateway-ollama", "service.instance.id": "one"})
SECOND = 1_000_000_000


def numbers() -> list[Sample]:
    """Those of a stream with a slow start, and some of a fleet."""
    metrics = RequestMetrics("always_on")
    metrics(served(attempts=[attempt(10.5, is_warm=False)]))
    return [*metrics.samples(), Sample(names.IN_FLIGHT, 2, ("coder",)), Sample(names.CONFIG_FAILING, False)]


async def test_a_collector_gets_the_conventions_metrics(collector: Collector) -> None:
    """With name, unit, temporality, buckets and exemplar; labels that are empty are no attributes."""
    export = MetricsExport(numbers, [collector.exporter()], WHO)
    async with export.running(every_seconds=60):
        pass
    (request,) = collector.taken
    (sent,) = request.resource_metrics
    assert attributes(sent.resource) == {"service.name": "ai-gateway-ollama", "service.instance.id": "one"}
    assert sent.scope_metrics[0].scope.name == names.SCOPE
    metric = collector.metrics()["gen_ai.server.time_to_first_token"]
    (point,) = metric.histogram.data_points
    assert (metric.unit, metric.histogram.aggregation_temporality) == ("s", 2)
    assert attributes(point) == {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "ollama", "gen_ai.request.model": "coder",
    }  # fmt: skip
    assert tuple(point.explicit_bounds) == names.BUCKETS[names.FIRST_TOKEN]
    assert (point.count, point.sum, sum(point.bucket_counts)) == (1, 2.0, 1)
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    assert 0 < point.start_time_unix_nano <= point.time_unix_nano
    assert not point.HasField("min")
    (exemplar,) = point.exemplars
    assert (exemplar.trace_id.hex(), exemplar.span_id.hex()) == (TRACE.trace_id, TRACE.span_id)
    assert (exemplar.as_double, exemplar.time_unix_nano) == (2.0, 1_700_000_004 * SECOND)


async def test_a_collector_gets_the_gateways_own_metrics(collector: Collector) -> None:
    """Counters as sums that only grow, the rest as gauges, the process too."""
    export = MetricsExport(numbers, [collector.exporter()], WHO)
    async with export.running(every_seconds=60):
        pass
    found = collector.metrics()
    requests = found["ai_gateway.requests"]
    assert (requests.unit, requests.sum.is_monotonic, requests.sum.aggregation_temporality) == ("{request}", True, 2)
    (point,) = requests.sum.data_points
    assert point.as_int == 1
    assert attributes(point) == {
        "route": "/v1/chat/completions", "model": "coder", "caller": "anonymous", "status": "200",
    }  # fmt: skip
    (gauge,) = found["ai_gateway.in_flight"].gauge.data_points
    assert (gauge.as_int, attributes(gauge)) == (2, {"model": "coder"})
    assert found["ai_gateway.config_failing"].gauge.data_points[0].as_int == 0
    (http,) = found["http.server.request.duration"].histogram.data_points
    assert attributes(http)["http.response.status_code"] == 200
    assert found["process.resident_memory"].gauge.data_points[0].as_double > 1e6
    assert found["process.cpu"].sum.is_monotonic


async def test_metrics_are_sent_now_and_then_and_at_the_end(collector: Collector) -> None:
    """Each time all of them, since the same start; the last one holds what came last."""
    samples = [Sample(names.CONFIG_REJECTED, 1)]
    export = MetricsExport(lambda: list(samples), [collector.exporter()], WHO)
    async with export.running(every_seconds=0.02):
        await until(lambda: len(collector.taken) >= 2)
        samples[0] = Sample(names.CONFIG_REJECTED, 7)
    points = [collector.metrics(number)["ai_gateway.config_rejected"].sum.data_points[0] for number in (0, -1)]
    assert [point.as_int for point in points] == [1, 7]
    assert points[0].start_time_unix_nano == points[1].start_time_unix_nano


async def test_a_collector_that_refuses_is_tried_again_next_time(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so; the numbers of next time hold those that were lost."""
    collector.answer = whole(b"no", "400 Bad Request")
    export = MetricsExport(numbers, [collector.exporter()], WHO)
    async with export.running(every_seconds=0.02):
        await until(lambda: len(collector.taken) >= 2)
    assert any("Failed to export metrics" in record.getMessage() for record in caplog.records)


async def test_a_hanging_collector_delays_nothing(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the loop while it runs, nor the end for longer than a moment."""
    held = asyncio.Event()

    async def hang(visit: Visit) -> None:
        await held.wait()

    collector.act = hang
    rounds = 0
    export = MetricsExport(numbers, [collector.exporter(seconds=1.0)], WHO)
    async with export.running(every_seconds=0.01, last_seconds=0.05):
        await until(lambda: collector.visits)
        for _ in range(100):
            await asyncio.sleep(0)
            rounds += 1
    assert rounds == 100
    assert "could not export the last metrics within 0.05 s" in caplog.messages
    held.set()


class Broken(MetricExporter):
    """An exporter that raises."""

    def export(self, metrics_data: MetricsData, timeout_millis: float = 1, **kwargs: Any) -> MetricExportResult:
        """See MetricExporter."""
        raise RuntimeError("broken")

    def force_flush(self, timeout_millis: float = 1) -> bool:
        """See MetricExporter."""
        return True

    def shutdown(self, timeout_millis: float = 1, **kwargs: Any) -> None:
        """See MetricExporter."""


async def test_an_exporters_error_does_not_stop_the_others(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor what comes after it."""
    export = MetricsExport(numbers, [Broken(), collector.exporter()], WHO)
    async with export.running(every_seconds=0.01):
        await until(lambda: len(collector.taken) >= 2)
    assert caplog.text.count("could not export metrics") == caplog.text.count("Traceback") == 1


async def test_a_failed_read_stops_no_later_export(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    """Formerly nothing more was exported, and nothing said so."""
    fails = iter([True, True])

    def read() -> list[Sample]:
        if next(fails, False):
            raise RuntimeError("broken")
        return numbers()

    async with MetricsExport(read, [collector.exporter()], WHO).running(every_seconds=0.01):
        await until(lambda: len(collector.taken) >= 1)
    assert caplog.text.count("could not read the metrics to export") == caplog.text.count("Traceback") == 1


def test_names_come_back_as_those_of_a_scrape() -> None:
    """As Prometheus translates them: dots become underscores, the unit and `_total` are appended."""
    units = {"s": "_seconds", "By": "_bytes"}
    for name, metric in METRICS.items():
        suffix = units.get(metric.unit, "") + ("_total" if metric.kind == "counter" else "")
        assert name_over_otlp(name).replace(".", "_") + suffix == name
        assert re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+", name_over_otlp(name))


def test_every_metric_can_be_sent() -> None:
    """Also labels that were counted together under `other`: no number is made of that."""
    samples = [
        Sample(
            name,
            Distribution((1.0,), (1, 0), 0.5) if metric.kind == "histogram" else 1,
            ("other",) * len(metric.labels),
        )
        for name, metric in METRICS.items()
    ]
    data = json.loads(Conversion(WHO, 1)(samples, 2).to_json())
    sent = data["resource_metrics"][0]["scope_metrics"][0]["metrics"]
    assert {metric["name"] for metric in sent} == {name_over_otlp(name) for name in METRICS}
    (http,) = [metric for metric in sent if metric["name"] == "http.server.request.duration"]
    assert http["data"]["data_points"][0]["attributes"]["http.response.status_code"] == "other"


async def test_on_a_console_each_export_is_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    exporters = metric_exporters(TelemetrySettings(metrics=("console",)), {})
    async with MetricsExport(numbers, exporters, WHO).running(every_seconds=60):
        pass
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["resource_metrics"]


def test_grpc_without_its_extra_fails_at_the_start() -> None:
    with pytest.raises(ValueError, match=r"ai-gateway-ollama\[grpc\]"):
        metric_exporters(TelemetrySettings(metrics=("otlp",), metrics_protocol="grpc"), {})


def test_delta_temporality_is_refused_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The variable is often set for a whole cluster: no reason not to start."""
    name = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
    metric_exporters(TelemetrySettings(), {name: "cumulative"})
    assert caplog.messages == []
    metric_exporters(TelemetrySettings(), {name: "delta"})
    assert [name in message for message in caplog.messages] == [True]
