"""GET /metrics on the admin port: all metrics at the moment of the scrape."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from ai_gateway.edge.asgi import Receive, Scope, Send, exchange_of, header, reply
from ai_gateway.telemetry.metrics import OPEN, PLAIN, as_text, process_samples
from ai_gateway.telemetry.sample import Sample

# Returns all current samples of one part of the gateway.
MetricSource = Callable[[], Iterable[Sample]]


class Metrics:
    """Reads all sources and writes their samples: as OpenMetrics if the client wants it, else as plain text."""

    def __init__(self, sources: Sequence[MetricSource]) -> None:
        self._sources = tuple(sources)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open = _wants_open(header(scope, b"accept") or b"")
        samples = self.read()
        # In a thread: thousands of lines take long to write, and calls must not wait for them.
        content = await asyncio.to_thread(_written, samples, is_open)
        kind = (OPEN if is_open else PLAIN).encode()
        headers = [(b"content-type", kind), (b"content-length", str(len(content)).encode())]
        body = b"" if scope["method"] == "HEAD" else content
        await reply(exchange_of(scope), send, 200, headers, body)

    def read(self) -> list[Sample]:
        """All samples of one moment: nothing changes while this runs."""
        return [sample for source in self._sources for sample in source()]


def _written(samples: list[Sample], is_open: bool) -> bytes:
    return as_text([*samples, *process_samples()], is_open=is_open)


def _wants_open(accept: bytes) -> bool:
    """Whether a client accepts OpenMetrics 1.0; a Prometheus that can read it lists it first."""
    for choice in accept.decode("latin-1").lower().split(","):
        kind, *parameters = (part.strip() for part in choice.split(";"))
        given = dict(parameter.partition("=")[::2] for parameter in parameters)
        if kind == "application/openmetrics-text" and given.get("version", "1.0.0") == "1.0.0":
            return given.get("q", "1").strip("0.") != ""
    return False
