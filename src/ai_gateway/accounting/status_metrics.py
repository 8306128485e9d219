"""What is measured of the gateway as a whole, at the moment of a scrape: the program, its config, discovery, fleet."""

import asyncio
from collections.abc import Iterator

from ai_gateway.accounting.fleet_metrics import fleet_metrics
from ai_gateway.accounting.status import StatusSources
from ai_gateway.telemetry import names
from ai_gateway.telemetry.sample import Sample
from ai_gateway.version import __version__


def status_samples(condition: StatusSources) -> Iterator[Sample]:
    """All of it, now."""
    yield Sample(names.BUILD, 1, (__version__,))
    yield Sample(names.TASKS, len(asyncio.all_tasks()))
    yield from (Sample(names.AUTH_FAILING, failing, (name,)) for name, failing in condition.auth_state.failing())
    yield from _of_config(condition)
    yield from _of_discovery(condition)
    yield from fleet_metrics(condition.fleet, condition.current.now.catalog, condition.clock())


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
