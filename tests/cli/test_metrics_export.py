"""The command sends metrics as the standard variables say, and prints mistakes in them."""

from pathlib import Path

import pytest
from tests.cli.test_command import refused
from tests.cli.test_drain import program
from tests.flow.waiting import until
from tests.telemetry.collecting import Collector


async def test_metrics_go_to_the_collector_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as it is time, and once more when the gateway leaves: the last call is in it."""
    collector = Collector()
    await collector.start()
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{collector.url}/v1/metrics")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=llm")
    async with program(tmp_path, "--drain-delay", "0s") as started:
        await until(lambda: collector.taken)
        assert (await started.chat()).status == 200
        started.process.terminate()
        await started.ended()
    await collector.stop()
    assert {"service.name": "ai-gateway-ollama", "service.namespace": "llm"}.items() <= collector.resource().items()
    (point,) = collector.metrics()["gen_ai.client.operation.duration"].histogram.data_points
    assert point.count == 1


def test_grpc_without_its_extra_is_one_clear_line(tmp_path: Path) -> None:
    environment = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc"}
    assert "ai-gateway-ollama[grpc]" in refused([], tmp_path, **environment)
