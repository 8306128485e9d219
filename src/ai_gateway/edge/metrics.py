"""GET /metrics on the admin port: everything that is measured, at the moment of the scrape."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence

from ai_gateway.accounting.fleet_metrics import fleet_metrics
from ai_gateway.edge.asgi import Receive, Scope, Send, exchange_of, header, reply
from ai_gateway.edge.health import StatusSources
from ai_gateway.telemetry import names
from ai_gateway.telemetry.metrics import OPEN, PLAIN, as_text, process_readings
from ai_gateway.telemetry.sample import Sample
from ai_gateway.version import __version__

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
    return as_text([*samples, *process_readings()], is_open=is_open)


def _wants_open(accept: bytes) -> bool:
    """Whether OpenMetrics 1.0 is among what a client takes; Prometheus lists it first where it can read it."""
    for choice in accept.decode("latin-1").lower().split(","):
        kind, *parameters = (part.strip() for part in choice.split(";"))
        given = dict(parameter.partition("=")[::2] for parameter in parameters)
        if kind == "application/openmetrics-text" and given.get("version", "1.0.0") == "1.0.0":
            return given.get("q", "1").strip("0.") != ""
    return False


def status_samples(condition: StatusSources) -> Iterator[Sample]:
    """What the condition says: of the program, its config, discovery and the fleet."""
    yield Sample(names.BUILD, 1, (__version__,))
    yield Sample(names.TASKS, len(asyncio.all_tasks()))
    yield from (Sample(names.AUTH_FAILING, failing, (name,)) for name, failing in condition.auth_state.failing())
    yield from _of_config(condition)
    yield from _of_discovery(condition)
    yield from fleet_metrics(condition)


def _of_config(condition: StatusSources) -> Iterator[Sample]:
    live = condition.live
    yield Sample(names.CONFIG_GOOD, live.config is not None and not live.reasons)
    yield Sample(names.CONFIG_TAKEN, live.loaded_at or 0)
    yield Sample(names.CONFIG_FAILING, live.unseen_reason is not None)
    if condition.events is not None:
        yield Sample(names.EVENTS_DROPPED, condition.events.total_dropped)
    yield Sample(names.CONFIG_REJECTED, live.total_refused)
    if live.digest is not None:
        yield Sample(names.CONFIG, 1, (live.digest, live.source))


def _of_discovery(condition: StatusSources) -> Iterator[Sample]:
    status = condition.discovery.status()
    source = (condition.discovery.source_name.partition(" ")[0].rstrip(":"),)
    if status.age_seconds is not None:
        yield Sample(names.DISCOVERY_AGE, status.age_seconds, source)
    if status.seen is not None:
        yield Sample(names.DISCOVERY_SEEN, status.seen, source)
    yield Sample(names.DISCOVERY_FAILING, status.reason is not None, source)
    yield Sample(names.DISCOVERY_LISTS, status.lists, source)
    yield Sample(names.DISCOVERY_FAILURES, status.failures, source)
