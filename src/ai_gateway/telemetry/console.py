"""Traces for a person at a terminal: a tree per request as text; JSON lines if it is not a terminal."""

import sys
from collections.abc import Iterator, Sequence
from typing import Final, TextIO

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from ai_gateway.telemetry import names
from ai_gateway.wire.printable import printable

WIDTH: Final = 32  # characters of the longest bar
_SHOWN: Final = ("aigw.", "gen_ai.usage.", names.STATUS, names.ERROR_TYPE, names.SERVER_ADDRESS)


def console_exporter(out: TextIO | None = None) -> SpanExporter:
    """The exporter for OTEL_TRACES_EXPORTER=console."""
    out = out or sys.stdout
    if out.isatty():
        return TreeExporter(out)
    return ConsoleSpanExporter(out=out, formatter=lambda span: f"{span.to_json(indent=None)}\n")


class TreeExporter(SpanExporter):
    """Writes the spans of each trace as a tree with bars over time."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See SpanExporter."""
        traces: dict[int, list[ReadableSpan]] = {}
        for span in spans:
            traces.setdefault(_context(span).trace_id, []).append(span)
        for trace_id, members in traces.items():
            self._out.write("\n".join([f"trace {trace_id:032x}", *_lines(members), ""]))
        self._out.flush()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """See SpanExporter."""


def _context(span: ReadableSpan):  # type: ignore[no-untyped-def]
    assert span.context is not None
    return span.context


def _lines(spans: list[ReadableSpan]) -> Iterator[str]:
    known = {_context(span).span_id for span in spans}
    start = min(span.start_time or 0 for span in spans)
    whole = max((span.end_time or 0) - start for span in spans) or 1
    for depth, span in _walk(spans, known, None, 0):
        begun, ended = (span.start_time or 0) - start, (span.end_time or 0) - start
        bar = " " * int(begun / whole * WIDTH) + "=" * max(1, int((ended - begun) / whole * WIDTH))
        mark = "!" if span.status.status_code is StatusCode.ERROR else " "
        name = f"{'  ' * depth}{_printable(span.name)}"  # a model's name may hold any text
        yield f"{mark} {name:44} {(ended - begun) / 1e6:10.1f} ms  |{bar:{WIDTH}}|"
        for key, value in (span.attributes or {}).items():
            if key.startswith(_SHOWN):
                yield f"    {'  ' * depth}{key}={_printable(value)}"
        for event in span.events:
            yield f"    {'  ' * depth}+{(event.timestamp - start) / 1e6:.1f} ms {event.name}"


def _walk(
    spans: list[ReadableSpan], known: set[int], parent: int | None, depth: int
) -> Iterator[tuple[int, ReadableSpan]]:
    for span in spans:
        above = span.parent.span_id if span.parent is not None and span.parent.span_id in known else None
        if above == parent:
            yield depth, span
            yield from _walk(spans, known, _context(span).span_id, depth + 1)


def _printable(value: object) -> str:
    text = f"{value:.6f}".rstrip("0") if isinstance(value, float) else str(value)
    return printable(text)
