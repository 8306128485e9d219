"""The export of spans: counted, bounded and never waited for, with any exporter."""

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from tests.flow.waiting import PATIENCE_SECONDS
from tests.telemetry.calls import TRACE, served
from tests.tracing.threads import wait_for_exports

from ai_gateway.exchange import Exchange
from ai_gateway.telemetry.export import Exporting
from ai_gateway.telemetry.resource import process_resource
from ai_gateway.telemetry.settings import read_settings
from ai_gateway.wire.trace_context import Parent, Trace

EACH = 3  # spans of a call


class Scripted(SpanExporter):
    """An exporter that the test controls."""

    def __init__(self) -> None:
        self.result: SpanExportResult | Exception = SpanExportResult.SUCCESS
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.begun = threading.Event()
        self.ended = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Waits until it may go on."""
        self.begun.set()
        self.may_go_on.wait(2 * PATIENCE_SECONDS)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def shutdown(self) -> None:
        """Gives up."""
        self.ended += 1
        self.may_go_on.set()


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    """What stands where OpenTelemetry's own would; batches of one call go out at once."""
    made = Scripted()
    monkeypatch.setattr(trace_exporter, "OTLPSpanExporter", lambda: made)
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", str(EACH))
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    yield made
    made.may_go_on.set()
    wait_for_exports()


def exporting(**environment: str) -> Exporting:
    """With these variables, as far as they are not read by the SDK."""
    return Exporting(read_settings({"OTEL_TRACES_EXPORTER": "otlp", **environment}), environment)


def call(trace: Trace = TRACE) -> Exchange:
    """A finished one."""
    exchange = served(trace=trace)
    exchange.attempts[0].span_id = "00f067aa0ba902b7"
    return exchange


@pytest.mark.parametrize(
    ("result", "word"),
    [
        (SpanExportResult.SUCCESS, "exported"),
        (SpanExportResult.FAILURE, "failed"),
        (RuntimeError("the exporter is broken"), "failed"),
    ],
)
def test_each_span_is_counted_once(exporter: Scripted, result: Any, word: str) -> None:
    exporter.result = result
    made = exporting()
    for _ in range(4):
        made(call())
    assert made.close(5.0)
    assert made.counts == {"exported": 0, "failed": 0, "dropped": 0} | {word: 4 * EACH}
    assert exporter.ended == 1


def test_a_request_that_is_not_recorded_leaves_nothing(exporter: Scripted) -> None:
    made = exporting()
    made(call(Trace(TRACE.trace_id, TRACE.span_id)))
    assert made.close(5.0)
    assert (made.counts["exported"], exporter.begun.is_set()) == (0, False)


def test_what_does_not_fit_is_dropped_without_waiting(
    exporter: Scripted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is being sent has left the queue; the rest fills it, and one line of log says so."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    exporter.may_go_on.clear()
    made = exporting(OTEL_BSP_MAX_QUEUE_SIZE="10")
    made(call())
    assert exporter.begun.wait(PATIENCE_SECONDS)
    started_at = time.monotonic()
    for _ in range(1000):
        made(call())
    assert time.monotonic() - started_at < PATIENCE_SECONDS
    assert made.counts == {"exported": 0, "failed": 0, "dropped": 1000 * EACH - 10}
    assert [record.getMessage() for record in caplog.records] == [
        "dropping spans: they come faster than the collector takes them"
    ]
    exporter.may_go_on.set()
    assert made.close(5.0)
    assert made.counts["exported"] == EACH + 10


def test_a_close_that_takes_too_long_is_given_up(exporter: Scripted, caplog: pytest.LogCaptureFixture) -> None:
    """Within its time, with a word in the log; the exporter stops trying."""
    exporter.may_go_on.clear()
    made = exporting()
    made(call())
    started_at = time.monotonic()
    assert made.close(0.1) is False
    assert time.monotonic() - started_at < PATIENCE_SECONDS
    assert exporter.ended >= 1
    assert "could not export all queued spans" in caplog.text


PARENT_OFF = Parent(TRACE.trace_id, "00f067aa0ba902b7", False, b"")
PARENT_ON = Parent(TRACE.trace_id, "00f067aa0ba902b7", True, b"")


@pytest.mark.parametrize(
    ("sampler", "argument", "alone", "above", "below"),
    [
        (None, None, True, True, False),
        ("parentbased_always_off", None, False, True, False),
        ("always_on", None, True, True, True),
        ("always_off", None, False, False, False),
        ("traceidratio", "1", True, True, True),
        ("traceidratio", "0", False, False, False),
        ("parentbased_traceidratio", "0", False, True, False),
        ("parentbased_traceidratio", "1", True, True, False),
    ],
)
def test_the_sampler_is_the_environments(
    exporter: Scripted,
    monkeypatch: pytest.MonkeyPatch,
    sampler: str | None,
    argument: str | None,
    alone: bool,
    above: bool,
    below: bool,
) -> None:
    """Of requests without a caller's trace, in one that is sampled, and in one that is not."""
    if sampler is not None:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    if argument is not None:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
    made = exporting()
    asked = [made.is_sampled(TRACE.trace_id, parent, "POST", "/") for parent in (None, PARENT_ON, PARENT_OFF)]
    assert asked == [alone, above, below]
    assert made.close(5.0)


def test_a_share_of_traces_is_about_that_share(exporter: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the trace id alone, so that all services of a trace decide the same."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    made = exporting()
    step = 2**64 // 1000
    ids = [f"{number * step + 1:032x}" for number in range(1000)]
    taken = [made.is_sampled(trace_id, None, "GET", "/") for trace_id in ids]
    assert 200 < sum(taken) < 300
    assert taken == [made.is_sampled(trace_id, None, "POST", "/x") for trace_id in ids]
    assert made.close(5.0)


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, "ai-gateway-ollama"),
        ({"OTEL_SERVICE_NAME": "mine"}, "mine"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=mine"}, "mine"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "a=b, service.name=mine"}, "mine"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=other", "OTEL_SERVICE_NAME": "mine"}, "mine"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "my.service.name=x"}, "ai-gateway-ollama"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.namespace=x"}, "ai-gateway-ollama"),
    ],
)
def test_the_service_name_is_the_operators_or_the_default(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], name: str
) -> None:
    """Never the SDK's `unknown_service`."""
    for variable, text in environment.items():
        monkeypatch.setenv(variable, text)
    assert process_resource(environment).attributes["service.name"] == name


def test_the_operators_attributes_override_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    given = "service.instance.id=pod-1,service.version=9,k8s.pod.name=a%20b"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", given)
    found = process_resource({"OTEL_RESOURCE_ATTRIBUTES": given}).attributes
    assert (found["service.instance.id"], found["service.version"], found["k8s.pod.name"]) == ("pod-1", "9", "a b")
