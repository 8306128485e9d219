"""Spans of a finished exchange: SERVER, below it GenAI CLIENT, below that HTTP CLIENT for each attempt.

They are made at once when the exchange is over, so that none can stay open or end twice, and no context is kept
across a stream. Conventions: HTTP (stable) and GenAI of semantic conventions 1.41.1; see `names`.
"""

import os
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from ai_gateway.exchange import Attempt, Exchange
from ai_gateway.telemetry import names
from ai_gateway.telemetry.settings import HeaderPatterns
from ai_gateway.telemetry.span_attributes import (
    MAX_TEXT,
    Attributes,
    of_attempt,
    of_call,
    of_server,
    operation,
    request_model,
)
from ai_gateway.version import __version__

_RECORDED: Final = TraceFlags(TraceFlags.SAMPLED)
_NO_STATE: Final = TraceState()
_UNSET: Final = Status(StatusCode.UNSET)
_NOT_THE_CLIENTS: Final = ("upstream_broke", "timeout", "failed", "shutdown")  # errors of the server with any status
# A shorter wait counts as none: the slot was free.
LEAST_WAIT_SECONDS: Final = 0.002
MOST_OF_AN_EVENT: Final = 2  # the most attributes of an event


class Spans:
    """Makes the spans of an exchange, with one resource and within limits. Pure."""

    def __init__(self, resource: Resource, limits: SpanLimits, headers: HeaderPatterns) -> None:
        self._headers = headers
        self._resource = resource
        self._limits = limits
        self._scope = InstrumentationScope(names.SCOPE, __version__, names.SCHEMA_URL)

    def __call__(self, exchange: Exchange) -> list[ReadableSpan]:
        """The spans of an exchange, the outermost first."""
        tree = _Tree(exchange)
        spans = [self._server(tree)]
        if exchange.ids.model is not None and exchange.call is not None:
            call = self._call(tree)
            spans.append(call)
            spans += [self._attempt(tree, call.context, number) for number in range(len(exchange.attempts))]
        return spans

    def _server(self, tree: "_Tree") -> ReadableSpan:
        exchange = tree.exchange
        attributes = of_server(exchange, self._headers)
        method = "HTTP" if names.METHOD_ORIGINAL in attributes else exchange.method  # as the convention requires
        name = f"{method} {exchange.route}" if exchange.route else method
        status = _UNSET
        if (exchange.outcome.status or 0) >= 500 or exchange.outcome.kind in _NOT_THE_CLIENTS:
            status = _failed(exchange.outcome.reason)
        times = tree.at(exchange.times.opened_at), tree.closed_ns
        return self._span(name, SpanKind.SERVER, (tree.server, tree.parent), times, (attributes, (), status))

    def _call(self, tree: "_Tree") -> ReadableSpan:
        exchange = tree.exchange
        attributes = of_call(exchange)
        error = attributes.get(names.ERROR_TYPE)
        status = _failed(exchange.outcome.reason) if error else _UNSET
        times = tree.at(exchange.times.called_at or exchange.times.opened_at), tree.closed_ns
        context = tree.context(os.urandom(8).hex())
        name = f"{operation(exchange)} {request_model(exchange)}"
        rest = (attributes, self._events(tree), status)
        return self._span(name, SpanKind.CLIENT, (context, tree.server), times, rest)

    def _attempt(self, tree: "_Tree", parent: SpanContext | None, number: int) -> ReadableSpan:
        tried = tree.exchange.attempts[number]
        attributes = of_attempt(tree.exchange, number)
        status = _failed(tried.failure) if names.ERROR_TYPE in attributes else _UNSET
        ended_at = tried.answered_at or tried.ended_at
        times = tree.at(tried.started_at), tree.closed_ns if ended_at is None else tree.at(ended_at)
        context = tree.context(tried.span_id)
        return self._span("POST", SpanKind.CLIENT, (context, parent), times, (attributes, (), status))

    def _events(self, tree: "_Tree") -> list[Event]:
        exchange = tree.exchange
        found = [*_waits(exchange), *_picks(exchange), *_ends(exchange)]
        found.sort(key=lambda event: event[0])
        most, longest = self._limits.max_event_attributes, self._limits.max_attribute_length
        if longest is not None or (most is not None and most < MOST_OF_AN_EVENT):
            found = [(at, name, _within(said, most, longest)) for at, name, said in found]
        return [Event(name, said, tree.at(at)) for at, name, said in found[: self._limits.max_events]]

    def _span(
        self,
        name: str,
        kind: SpanKind,
        contexts: tuple[SpanContext, SpanContext | None],
        times: tuple[int, int],
        rest: tuple[Attributes, Sequence[Event], Status],
    ) -> ReadableSpan:
        attributes, events, status = rest
        kept: Mapping[str, Any] = attributes
        limits = self._limits
        is_too_much = limits.max_span_attributes is not None and len(attributes) > limits.max_span_attributes
        if is_too_much or limits.max_span_attribute_length is not None:  # rare, and as expensive as all the rest
            kept = _within(attributes, limits.max_span_attributes, limits.max_span_attribute_length)
        return ReadableSpan(
            name,
            context=contexts[0],
            parent=contexts[1],
            resource=self._resource,
            attributes=kept,
            events=events,
            kind=kind,
            status=status,
            start_time=times[0],
            end_time=max(times),
            instrumentation_scope=self._scope,
        )


class _Tree:
    """What the spans of one exchange share: their trace, and the offset from the loop's clock to Unix time."""

    def __init__(self, exchange: Exchange) -> None:
        trace = exchange.ids.trace
        self.exchange = exchange
        self._trace_id = int(trace.trace_id, 16)
        self._state = _NO_STATE
        if trace.parent is not None and trace.parent.state:
            self._state = TraceState.from_header([trace.parent.state.decode()])
        self.server = self.context(trace.span_id)
        self.parent: SpanContext | None = None
        if trace.parent is not None:
            span_id = int(trace.parent.span_id, 16)
            flags = TraceFlags(int(trace.parent.is_sampled))
            self.parent = SpanContext(self._trace_id, span_id, True, flags, self._state)
        assert exchange.times.closed_at is not None
        self.closed_ns = self.at(exchange.times.closed_at)

    def context(self, span_id: str) -> SpanContext:
        """The context of a span of this trace."""
        return SpanContext(self._trace_id, int(span_id, 16), False, _RECORDED, self._state)

    def at(self, moment: float) -> int:
        """A moment of the loop's clock in Unix nanoseconds: durations stay right even if the system clock jumps."""
        return self.exchange.times.started_ns + int((moment - self.exchange.times.opened_at) * 1e9)


def _failed(reason: str | None) -> Status:
    return Status(StatusCode.ERROR, reason and reason[:MAX_TEXT])


def _within(said: Mapping[str, Any], most: int | None, longest: int | None) -> BoundedAttributes:
    """The first attributes within the limits, as the specification says; the SDK would log each dropped one."""
    kept = BoundedAttributes(None, {key: _cut(value, longest) for key, value in islice(said.items(), most)})
    kept.dropped = len(said) - len(kept)
    return kept


def _cut(value: Any, longest: int | None) -> Any:
    if isinstance(value, list):
        return [_cut(item, longest) for item in value]
    return value[:longest] if isinstance(value, str) else value


_Found = tuple[float, str, Mapping[str, Any]]


def _waits(exchange: Exchange) -> list[_Found]:
    times = exchange.times
    queued, loading = times.waits(times.closed_at)
    if times.queued_at is None or queued is None or queued + loading < LEAST_WAIT_SECONDS:
        return []
    said = {names.PHASE_QUEUE: round(queued, 6)}
    if loading:
        said[names.PHASE_LOAD] = round(loading, 6)
    return [(times.queued_at, names.EVENT_QUEUED, said)]


def _picks(exchange: Exchange) -> list[_Found]:
    found: list[_Found] = []
    for number, tried in enumerate(exchange.attempts):
        if number:
            found.append((tried.started_at, names.EVENT_RETRY, _why(exchange.attempts[number - 1])))
        found.append((tried.started_at, names.EVENT_PICKED, {names.PICK_REASON: tried.reason}))
    return found


def _why(failed: Attempt) -> Attributes:
    return {names.SERVER_ADDRESS: failed.endpoint, names.ERROR_TYPE: failed.error or "unknown"}


def _ends(exchange: Exchange) -> list[_Found]:
    found: list[_Found] = []
    if exchange.times.first_byte_at is not None:
        found.append((exchange.times.first_byte_at, names.EVENT_FIRST_CHUNK, {}))
        if exchange.outcome.kind != "ok" and exchange.times.closed_at is not None:
            found.append((exchange.times.closed_at, names.EVENT_TRUNCATED, {names.OUTCOME: exchange.outcome.kind}))
    return found
