"""The interface of tracing: `export` implements it with OpenTelemetry's SDK, if spans are exported."""

from collections.abc import Iterator, Mapping
from typing import Protocol, TypeVar

from ai_gateway.exchange import Exchange
from ai_gateway.telemetry import names
from ai_gateway.telemetry.sample import Sample
from ai_gateway.wire.trace_context import Parent

Transport = TypeVar("Transport")


class Tracing(Protocol):
    """Makes the spans of finished exchanges and of calls through httpx."""

    @property
    def counts(self) -> Mapping[str, int]:
        """How many spans were `exported`, `failed` and `dropped`."""

    def is_sampled(self, trace_id: str, parent: Parent | None, method: str, path: str) -> bool:
        """Whether a request gets spans."""

    def __call__(self, exchange: Exchange) -> None:
        """Makes the spans of a finished exchange and passes them on without waiting."""

    def wrap(self, transport: Transport) -> Transport:
        """An httpx transport that makes a span of each request, as a child of the current exchange's."""


def span_samples(tracing: Tracing) -> Iterator[Sample]:
    """The counts of spans."""
    for result, count in tracing.counts.items():
        yield Sample(names.SPANS, count, (result,))
