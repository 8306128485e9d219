"""Passes spans to OpenTelemetry's SDK, which batches and exports them. Imported only if spans are exported."""

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context

from ai_gateway.exchange import Exchange
from ai_gateway.telemetry import names
from ai_gateway.telemetry.grpc import grpc_exporter
from ai_gateway.telemetry.resource import process_resource
from ai_gateway.telemetry.settings import TelemetrySettings
from ai_gateway.telemetry.spans import Spans
from ai_gateway.telemetry.tracing import Transport
from ai_gateway.wire.trace_context import Parent

log = logging.getLogger("ai_gateway.telemetry")

CONSOLE_DELAY_MS: Final = 200
MOST_WAITING: Final = 2048  # the SDK's own default for OTEL_BSP_MAX_QUEUE_SIZE


class Exporting:
    """Makes spans, exports them and counts the results. See Tracing.

    It never waits for a collector: if the queue is full, spans are dropped and counted.
    """

    def __init__(self, settings: TelemetrySettings, environment: Mapping[str, str]) -> None:
        """Raises ValueError for an invalid exporter."""
        limits = SpanLimits()
        self.counts = {"exported": 0, "failed": 0, "dropped": 0}
        self._queues = [
            _Queue(_exporter(name, settings), self.counts, _most_waiting(environment), name) for name in settings.traces
        ]
        resource = self.resource = process_resource(environment)  # one for all exports of this process
        self._provider = TracerProvider(resource=resource, span_limits=limits, shutdown_on_exit=False)
        for queue in self._queues:
            self._provider.add_span_processor(queue)
        self._sampler = self._provider.sampler
        self._spans = Spans(resource, limits, settings.headers)

    def is_sampled(self, trace_id: str, parent: Parent | None, method: str, path: str) -> bool:
        """OTEL_TRACES_SAMPLER's decision, once per request: all its spans are made, or none."""
        context = None
        number = int(trace_id, 16)
        if parent is not None:
            flags = TraceFlags(int(parent.is_sampled))
            caller = SpanContext(number, int(parent.span_id, 16), True, flags)
            context = set_span_in_context(NonRecordingSpan(caller))
        attributes = {names.METHOD: method, names.URL_PATH: path}
        result = self._sampler.should_sample(context, number, method, SpanKind.SERVER, attributes)
        return result.decision is Decision.RECORD_AND_SAMPLE

    def __call__(self, exchange: Exchange) -> None:
        """Queues the spans of a finished exchange."""
        if exchange.ids.trace.is_recorded:
            for span in self._spans(exchange):
                for queue in self._queues:
                    queue.on_end(span)

    def wrap(self, transport: Transport) -> Transport:
        """See Tracing."""
        from ai_gateway.telemetry.httpx_spans import TracedTransport

        return TracedTransport(transport, tracer_provider=self._provider)  # type: ignore[arg-type]

    def close(self, seconds: float) -> bool:
        """Exports all queued spans within `seconds`. Returns whether it finished. It blocks: call it in a thread."""
        flushing = threading.Thread(target=self._provider.shutdown, name="flush of spans", daemon=True)
        flushing.start()
        flushing.join(seconds)
        if not flushing.is_alive():
            return True
        log.warning("could not export all queued spans within %g s", seconds)
        for queue in self._queues:
            queue.give_up()
        return False


class _Queue(SpanProcessor):
    """The SDK's batches with a bound of its own, so that dropped spans are counted."""

    def __init__(self, exporter: SpanExporter, counts: dict[str, int], most_waiting: int, name: str) -> None:
        self._counts = counts
        self._most_waiting = most_waiting
        self._exporter = _Counting(exporter, counts)
        delay = CONSOLE_DELAY_MS if name == "console" else None
        try:
            self._batches = BatchSpanProcessor(self._exporter, schedule_delay_millis=delay)
        except ValueError as error:  # the SDK names the setting, not the variable
            raise ValueError(f"one of the variables OTEL_BSP_*: {error}") from None
        self._submitted = 0

    def on_end(self, span: ReadableSpan) -> None:
        """Queues a span, unless the queue is full."""
        if self._submitted - self._exporter.taken >= self._most_waiting:
            if not self._counts["dropped"]:
                log.warning("dropping spans: they come faster than the collector takes them")
            self._counts["dropped"] += 1
            return
        self._submitted += 1
        self._batches.on_end(span)

    def give_up(self) -> None:
        """Stops exporting, and with it the SDK's thread."""
        self._exporter.shutdown()

    def shutdown(self) -> None:
        """Exports all queued spans."""
        self._batches.shutdown()  # type: ignore[no-untyped-call]  # the SDK leaves it untyped


class _Counting(SpanExporter):
    """Counts exported and failed spans. Called in the thread of the SDK's batches."""

    def __init__(self, exporter: SpanExporter, counts: dict[str, int]) -> None:
        self._exporter = exporter
        self._counts = counts
        self.taken = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See SpanExporter."""
        self.taken += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self._counts["exported" if result is SpanExportResult.SUCCESS else "failed"] += len(spans)
        return result

    def shutdown(self) -> None:
        """See SpanExporter."""
        self._exporter.shutdown()


def _most_waiting(environment: Mapping[str, str]) -> int:
    text = environment.get("OTEL_BSP_MAX_QUEUE_SIZE", "").strip()
    return int(text) if text.isascii() and text.isdigit() and int(text) else MOST_WAITING


def _exporter(name: str, settings: TelemetrySettings) -> SpanExporter:
    if name == "console":
        from ai_gateway.telemetry.console import console_exporter

        return console_exporter()
    if settings.traces_protocol == "grpc":
        over_grpc: SpanExporter = grpc_exporter("trace_exporter", "OTLPSpanExporter")
        return over_grpc
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
