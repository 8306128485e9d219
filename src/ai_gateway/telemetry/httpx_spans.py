"""Spans of what goes through httpx, by OpenTelemetry's own instrumentation: a transport around the gateway's."""

from typing import Any

from opentelemetry.context import attach, detach
from opentelemetry.instrumentation.httpx import AsyncOpenTelemetryTransport
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from ai_gateway.exchange import CURRENT


class TracedTransport(AsyncOpenTelemetryTransport):
    """Stands below the span of the request at hand, which is made later than those of its calls."""

    async def handle_async_request(self, *args: Any, **kwargs: Any) -> Any:
        """See httpx."""
        exchange = CURRENT.get()
        if exchange is None:
            return await super().handle_async_request(*args, **kwargs)
        trace = exchange.trace
        flags = TraceFlags(int(trace.is_recorded))
        span = NonRecordingSpan(SpanContext(int(trace.trace_id, 16), int(trace.span_id, 16), False, flags))
        token = attach(set_span_in_context(span))
        try:
            return await super().handle_async_request(*args, **kwargs)
        finally:
            detach(token)
