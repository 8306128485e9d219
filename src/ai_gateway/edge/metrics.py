"""GET /metrics on the admin port: everything that is measured, at the moment of the scrape."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence

from ai_gateway.edge.asgi import Receive, Scope, Send, exchange_of, header, reply
from ai_gateway.edge.fleet_readings import fleet_readings
from ai_gateway.edge.health import Condition
from ai_gateway.telemetry import names
from ai_gateway.telemetry.metrics import OPEN, PLAIN, as_text, process_readings
from ai_gateway.telemetry.reading import Reading
from ai_gateway.version import __version__

# Whoever measures something says so by a function: all its numbers, now.
Told = Callable[[], Iterable[Reading]]


class Metrics:
    """Asks everyone who measures, and writes what they say. Prometheus' plain text unless OpenMetrics is asked for."""

    def __init__(self, told: Sequence[Told]) -> None:
        self._told = tuple(told)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open = _wants_open(header(scope, b"accept") or b"")
        readings = self.read()
        # Thousands of lines take a while to write, and calls must not wait for it.
        content = await asyncio.to_thread(_written, readings, is_open)
        kind = (OPEN if is_open else PLAIN).encode()
        headers = [(b"content-type", kind), (b"content-length", str(len(content)).encode())]
        body = b"" if scope["method"] == "HEAD" else content
        await reply(exchange_of(scope), send, 200, headers, body)

    def add(self, *told: Told) -> None:
        """Others who measure something, too."""
        self._told = (*self._told, *told)

    def read(self) -> list[Reading]:
        """All numbers of one moment: nothing changes while they are taken."""
        return [reading for told in self._told for reading in told()]


def _written(readings: list[Reading], is_open: bool) -> bytes:
    return as_text([*readings, *process_readings()], is_open=is_open)


def _wants_open(accept: bytes) -> bool:
    """Whether OpenMetrics 1.0 is among what a client takes; Prometheus lists it first where it can read it."""
    for choice in accept.decode("latin-1").lower().split(","):
        kind, *parameters = (part.strip() for part in choice.split(";"))
        given = dict(parameter.partition("=")[::2] for parameter in parameters)
        if kind == "application/openmetrics-text" and given.get("version", "1.0.0") == "1.0.0":
            return given.get("q", "1").strip("0.") != ""
    return False


def readings(condition: Condition) -> Iterator[Reading]:
    """What the condition says: of the program, its config, discovery and the fleet."""
    yield Reading(names.BUILD, 1, (__version__,))
    yield Reading(names.TASKS, len(asyncio.all_tasks()))
    yield from (Reading(names.AUTH_FAILING, failing, (name,)) for name, failing in condition.guard.failing())
    yield from _of_config(condition)
    yield from _of_discovery(condition)
    yield from fleet_readings(condition)


def _of_config(condition: Condition) -> Iterator[Reading]:
    live = condition.live
    yield Reading(names.CONFIG_GOOD, live.config is not None and not live.complaints)
    yield Reading(names.CONFIG_TAKEN, live.loaded_at or 0)
    yield Reading(names.CONFIG_FAILING, live.trouble is not None)
    if condition.events is not None:
        yield Reading(names.EVENTS_DROPPED, condition.events.total_dropped)
    yield Reading(names.CONFIG_REJECTED, live.total_refused)
    if live.digest is not None:
        yield Reading(names.CONFIG, 1, (live.digest, live.source))


def _of_discovery(condition: Condition) -> Iterator[Reading]:
    standing = condition.discovery.standing()
    source = (condition.discovery.source_name.partition(" ")[0].rstrip(":"),)
    if standing.age_seconds is not None:
        yield Reading(names.DISCOVERY_AGE, standing.age_seconds, source)
    if standing.seen is not None:
        yield Reading(names.DISCOVERY_SEEN, standing.seen, source)
    yield Reading(names.DISCOVERY_FAILING, standing.complaint is not None, source)
    yield Reading(names.DISCOVERY_LISTS, standing.lists, source)
    yield Reading(names.DISCOVERY_FAILURES, standing.failures, source)
