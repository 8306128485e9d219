"""What the gateway asks of whoever makes spans: `export` does it with OpenTelemetry's SDK, where that is asked for."""

from collections.abc import Iterator, Mapping
from typing import Protocol, TypeVar

from ai_gateway.exchange import Exchange
from ai_gateway.telemetry import names
from ai_gateway.telemetry.sample import Sample
from ai_gateway.wire.trace_context import Parent

Transport = TypeVar("Transport")


class Tracing(Protocol):
    """Makes the spans of finished exchanges, and those of calls that go through httpx."""

    @property
    def counts(self) -> Mapping[str, int]:
        """How many spans were exported, failed and dropped, by these words."""

    def is_sampled(self, trace_id: str, parent: Parent | None, method: str, path: str) -> bool:
        """Whether spans are made of a request."""

    def __call__(self, exchange: Exchange) -> None:
        """Makes the spans of a finished exchange; hands them on without waiting."""

    def wrap(self, transport: Transport) -> Transport:
        """An httpx transport that makes a span of each request through it, below the exchange at hand."""


def span_samples(tracing: Tracing) -> Iterator[Sample]:
    """What became of spans."""
    for result, count in tracing.counts.items():
        yield Sample(names.SPANS, count, (result,))
