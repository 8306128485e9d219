"""Sends the audit's entries to a collector as log records. Imported only if the audit goes there.

The exporter itself reads OTEL_EXPORTER_OTLP_LOGS_* and OTEL_EXPORTER_OTLP_*.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from ai_gateway.telemetry import names
from ai_gateway.telemetry.grpc import grpc_exporter
from ai_gateway.telemetry.resource import process_resource
from ai_gateway.telemetry.settings import logs_protocol
from ai_gateway.version import __version__

_SCOPE: Final = InstrumentationScope(names.SCOPE, __version__, names.SCHEMA_URL)
_NO_SPAN: Final = 0


class AuditExport:
    """Sends records and waits for the collector's answer. It blocks: call it in a thread."""

    def __init__(self, environment: Mapping[str, str], resource: Resource | None = None) -> None:
        """`resource` is the process's, if it exists already. Raises ValueError for an invalid exporter."""
        self._resource = process_resource(environment) if resource is None else resource
        self._exporter = _exporter(logs_protocol(environment))

    def __call__(self, records: Sequence[tuple[int, str, Mapping[str, str | int | bool]]]) -> bool:
        """Sends records: Unix nanoseconds, trace id in hex, attributes. Returns whether the collector accepted them."""
        made = [self._record(at_ns, trace_id, attributes) for at_ns, trace_id, attributes in records]
        return self._exporter.export(made) is LogRecordExportResult.SUCCESS

    def close(self) -> None:
        """Shuts the exporter down."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the SDK leaves it untyped

    def _record(self, at_ns: int, trace_id: str, attributes: Mapping[str, str | int | bool]) -> ReadableLogRecord:
        span = NonRecordingSpan(SpanContext(int(trace_id, 16), _NO_SPAN, False, TraceFlags(0)))
        record = LogRecord(
            timestamp=at_ns,
            observed_timestamp=at_ns,
            context=set_span_in_context(span),
            severity_number=SeverityNumber.INFO,
            event_name=names.AUDIT_EVENT,
            attributes={names.AUDIT + name: value for name, value in attributes.items()},
        )
        return ReadableLogRecord(record, self._resource, _SCOPE)


def _exporter(protocol: str) -> LogRecordExporter:
    if protocol == "grpc":
        over_grpc: LogRecordExporter = grpc_exporter("_log_exporter", "OTLPLogExporter")
        return over_grpc
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    return OTLPLogExporter()
