"""Spans of requests through httpx, by OpenTelemetry's own instrumentation: a transport around the gateway's."""

from typing import Any

from opentelemetry.context import attach, detach
from opentelemetry.instrumentation.httpx import AsyncOpenTelemetryTransport
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context

from ai_gateway.exchange import CURRENT
from ai_gateway.wire.trace_context import Trace


class TracedTransport(AsyncOpenTelemetryTransport):
    """Makes its spans children of the current request's span, which is made later."""

    async def handle_async_request(self, *args: Any, **kwargs: Any) -> Any:
        """See httpx."""
        exchange = CURRENT.get()
        if exchange is None:
            return await super().handle_async_request(*args, **kwargs)
        trace = exchange.ids.trace
        if trace.baggage:
            args[0].headers["baggage"] = trace.baggage.decode()  # as received; the instrumentation does not pass it on
        token = attach(set_span_in_context(NonRecordingSpan(_server(trace))))
        try:
            return await super().handle_async_request(*args, **kwargs)
        finally:
            detach(token)


def _server(trace: Trace) -> SpanContext:
    flags = TraceFlags(int(trace.is_recorded))
    state = None
    if trace.parent is not None and trace.parent.state:
        state = TraceState.from_header([trace.parent.state.decode()])
    return SpanContext(int(trace.trace_id, 16), int(trace.span_id, 16), False, flags, state)
