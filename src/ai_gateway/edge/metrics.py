"""GET /metrics on the admin port: everything that is measured, at the moment of the scrape."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from ai_gateway.edge.asgi import Receive, Scope, Send, exchange_of, header, reply
from ai_gateway.telemetry.metrics import OPEN, PLAIN, as_text, process_samples
from ai_gateway.telemetry.sample import Sample

# Whoever measures something says so by a function: all its numbers, now.
MetricSource = Callable[[], Iterable[Sample]]


class Metrics:
    """Asks everyone who measures, and writes what they say. Prometheus' plain text unless OpenMetrics is asked for."""

    def __init__(self, sources: Sequence[MetricSource]) -> None:
        self._sources = tuple(sources)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open = _wants_open(header(scope, b"accept") or b"")
        samples = self.read()
        # Thousands of lines take a while to write, and calls must not wait for it.
        content = await asyncio.to_thread(_written, samples, is_open)
        kind = (OPEN if is_open else PLAIN).encode()
        headers = [(b"content-type", kind), (b"content-length", str(len(content)).encode())]
        body = b"" if scope["method"] == "HEAD" else content
        await reply(exchange_of(scope), send, 200, headers, body)

    def read(self) -> list[Sample]:
        """All numbers of one moment: nothing changes while they are taken."""
        return [sample for source in self._sources for sample in source()]


def _written(samples: list[Sample], is_open: bool) -> bytes:
    return as_text([*samples, *process_samples()], is_open=is_open)


def _wants_open(accept: bytes) -> bool:
    """Whether OpenMetrics 1.0 is among what a client takes; Prometheus lists it first where it can read it."""
    for choice in accept.decode("latin-1").lower().split(","):
        kind, *parameters = (part.strip() for part in choice.split(";"))
        given = dict(parameter.partition("=")[::2] for parameter in parameters)
        if kind == "application/openmetrics-text" and given.get("version", "1.0.0") == "1.0.0":
            return given.get("q", "1").strip("0.") != ""
    return False
