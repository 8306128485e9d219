"""A real OTLP receiver over HTTP, in a thread and loop of its own, and the span trees in what it got."""

import asyncio
import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.flow.upstream import Act, Upstream, Visit, whole

SERVER, CLIENT = 2, 3  # Span.SpanKind
ERROR = 2  # Status.StatusCode


@dataclass
class Span:
    """One span as it came; ids in hex, times in Unix nanoseconds."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    events: list[tuple[str, int, dict[str, Any]]]
    status: int
    scope: str
    resource: dict[str, Any]
    state: str
    children: list["Span"] = field(default_factory=list)

    @property
    def event_names(self) -> list[str]:
        """In their order."""
        return [name for name, _, _ in self.events]


class Receiver(Upstream):
    """Takes spans; `answer` is what it says to each export, after `delay_seconds`."""

    def __init__(self) -> None:
        super().__init__(self.take)
        self.answer = whole(b"", headers=["content-type: application/x-protobuf"])
        self.delay_seconds = 0.0
        self.bodies: list[bytes] = []
        self.heads: list[dict[str, str]] = []
        self.paths: list[str] = []

    async def take(self, visit: Visit) -> None:
        """One export."""
        self.heads.append(visit.headers)
        self.paths.append(visit.path)
        is_packed = visit.headers.get("content-encoding") == "gzip"
        await asyncio.sleep(self.delay_seconds)
        self.bodies.append(gzip.decompress(visit.body) if is_packed else visit.body)
        await visit.say(self.answer)

    @property
    def spans(self) -> list[Span]:
        """Everything that came."""
        return [span for body in list(self.bodies) for span in read_spans(body)]

    def trees(self, trace_id: str | None = None) -> list[Span]:
        """Spans whose parent did not come, each with its children."""
        spans = [span for span in self.spans if trace_id in (None, span.trace_id)]
        known = {span.span_id: span for span in spans}
        assert len(known) == len(spans), "a span came twice"
        for span in spans:
            if span.parent_id in known:
                known[span.parent_id].children.append(span)
        return [span for span in spans if span.parent_id not in known]


def read_spans(body: bytes) -> Iterator[Span]:
    """The spans of one export."""
    for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _plain(sent.resource.attributes)
        for scope in sent.scope_spans:
            for span in scope.spans:
                yield _span(span, scope.scope.name, resource)


def _span(span: Any, scope: str, resource: dict[str, Any]) -> Span:
    return Span(
        name=span.name,
        kind=span.kind,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_plain(span.attributes),
        events=[(event.name, event.time_unix_nano, _plain(event.attributes)) for event in span.events],
        status=span.status.code,
        scope=scope,
        resource=resource,
        state=span.trace_state,
    )


def _plain(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver in a thread: the exporter's thread may wait for it while a test's loop is busy."""
    receiver = Receiver()
    with _running(receiver):
        yield receiver


@contextmanager
def in_thread(act: Act, **more: Any) -> Iterator[Upstream]:
    """An endpoint in a thread, for a gateway that is a process of its own."""
    upstream = Upstream(act, **more)
    with _running(upstream):
        yield upstream


@contextmanager
def _running(upstream: Upstream) -> Iterator[None]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(upstream.start(), loop).result(10)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(upstream.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()
