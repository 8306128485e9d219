"""GET /metrics on the admin port: how config and discovery fare."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from ai_gateway.balancing.endpoint import State
from ai_gateway.edge.asgi import Receive, Scope, Send, exchange_of, reply
from ai_gateway.edge.health import Condition
from ai_gateway.telemetry.metrics import Reading, as_text
from ai_gateway.version import __version__

STATES: Final[tuple[State, ...]] = ("up", "unknown", "down", "ejected", "draining")


class Metrics:
    """Reads what the condition says at the moment of the scrape."""

    def __init__(self, condition: Condition) -> None:
        self._condition = condition

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = as_text(readings(self._condition))
        kind = b"text/plain; version=0.0.4; charset=utf-8"
        headers = [(b"content-type", kind), (b"content-length", str(len(content)).encode())]
        body = b"" if scope["method"] == "HEAD" else content
        await reply(exchange_of(scope), send, 200, headers, body)


def readings(condition: Condition) -> Iterator[Reading]:
    """Everything that is measured now."""
    yield Reading("build_info", "gauge", "The version that runs.", 1, {"version": __version__})
    yield from _of_config(condition)
    yield from _of_discovery(condition)


def _of_config(condition: Condition) -> Iterator[Reading]:
    live = condition.live
    is_good = live.config is not None and not live.complaints
    yield Reading(
        "config_last_reload_successful", "gauge", "Whether the newest content of the config is in force.", is_good
    )
    yield Reading(
        "config_last_reload_success_timestamp_seconds",
        "gauge",
        "When the config in force was taken, in Unix seconds.",
        live.loaded_at or 0,
    )
    failing = live.trouble is not None
    yield Reading("config_failing", "gauge", "Whether a change of the config could not be seen now.", failing)
    if condition.events is not None:
        dropped = condition.events.total_dropped
        yield Reading("events_dropped_total", "counter", "Kubernetes Events that could not be sent.", dropped)
    yield Reading("config_rejected_total", "counter", "Contents that were no valid config.", live.total_refused)
    if live.digest is not None:
        labels = {"hash": live.digest, "source": live.source}
        yield Reading("config_info", "gauge", "The config in force.", 1, labels)


def _of_discovery(condition: Condition) -> Iterator[Reading]:
    states = Counter(endpoint.state for endpoint in condition.fleet.endpoints.values())
    states["draining"] += len(condition.fleet.leaving)
    for state in STATES:
        yield Reading("endpoints", "gauge", "Endpoints by state.", states[state], {"state": state})
    standing = condition.discovery.standing()
    labels = {"source": condition.discovery.source_name.partition(" ")[0]}
    if standing.age_seconds is not None:
        meaning = "Seconds since discovery heard from whoever it asks; a quiet watch hears about once a minute."
        yield Reading("discovery_age_seconds", "gauge", meaning, standing.age_seconds, labels)
    if standing.seen is not None:
        meaning = "Pods or endpoints that were looked at, ready or not."
        yield Reading("discovery_seen", "gauge", meaning, standing.seen, labels)
    failing = standing.complaint is not None
    yield Reading("discovery_failing", "gauge", "Whether discovery has a complaint now.", failing, labels)
    yield Reading("discovery_lists_total", "counter", "Whole lists that were taken.", standing.lists, labels)
    yield Reading("discovery_failures_total", "counter", "Requests that failed.", standing.failures, labels)
