"""A gateway whose spans go to a real receiver."""

import logging
from collections.abc import Iterator

import pytest
from tests.flow.conftest import pytest_asyncio_loop_factories, world
from tests.tracing.receiver import Receiver, receiving
from tests.tracing.threads import wait_for_exports
from tests.tracing.traced import Traced

__all__ = ["pytest_asyncio_loop_factories", "world"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Listens until the test is over."""
    with receiving() as made:
        yield made


@pytest.fixture
def traced(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Traced]:
    """Exports to the receiver every 20 ms. No warning of OpenTelemetry's may be in the log at the end."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http")
    traced = Traced(receiver)
    with caplog.at_level(logging.WARNING, "opentelemetry"):
        yield traced
    traced.close()
    wait_for_exports()
    if not traced.may_complain:
        said = [*caplog.get_records("setup"), *caplog.get_records("call"), *caplog.records]  # by phase
        assert [record.getMessage() for record in said if record.name.startswith("opentelemetry")] == []
