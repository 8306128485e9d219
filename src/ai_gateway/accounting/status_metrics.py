"""The metrics of the whole gateway at the moment of a scrape: program, config, discovery, fleet."""

import asyncio
from collections import Counter
from collections.abc import Iterator

from ai_gateway.accounting.fleet_metrics import fleet_metrics
from ai_gateway.accounting.status import StatusSources
from ai_gateway.telemetry import names
from ai_gateway.telemetry.sample import Sample
from ai_gateway.upstream.reports import STATES, Reports
from ai_gateway.version import __version__


def status_samples(sources: StatusSources) -> Iterator[Sample]:
    """All current samples."""
    yield Sample(names.BUILD, 1, (__version__,))
    yield Sample(names.TASKS, len(asyncio.all_tasks()))
    yield from (Sample(names.AUTH_FAILING, failing, (name,)) for name, failing in sources.auth_state.failing())
    yield from _of_config(sources)
    yield from _of_discovery(sources)
    yield from _of_gateways(sources.reports)
    yield from fleet_metrics(sources.fleet, sources.current.now.catalog, sources.clock())


def _of_config(sources: StatusSources) -> Iterator[Sample]:
    live = sources.live
    yield Sample(names.CONFIG_GOOD, live.config is not None and not live.reasons)
    yield Sample(names.CONFIG_TAKEN, live.loaded_at or 0)
    yield Sample(names.CONFIG_FAILING, live.unseen_reason is not None)
    if sources.events is not None:
        yield Sample(names.EVENTS_DROPPED, sources.events.total_dropped)
    yield Sample(names.CONFIG_REJECTED, live.total_refused)
    if live.digest is not None:
        yield Sample(names.CONFIG, 1, (live.digest, live.source))


def _of_discovery(sources: StatusSources) -> Iterator[Sample]:
    status = sources.discovery.status()
    source = (sources.discovery.source_name.partition(" ")[0].rstrip(":"),)
    if status.age_seconds is not None:
        yield Sample(names.DISCOVERY_AGE, status.age_seconds, source)
    if status.seen is not None:
        yield Sample(names.DISCOVERY_SEEN, status.seen, source)
    yield Sample(names.DISCOVERY_FAILING, status.reason is not None, source)
    yield Sample(names.DISCOVERY_LISTS, status.lists, source)
    yield Sample(names.DISCOVERY_FAILURES, status.failures, source)


def _of_gateways(reports: Reports) -> Iterator[Sample]:
    states = Counter(state for _, state, _ in reports.peers())
    yield from (Sample(names.PEERS, states[state], (state,)) for state in STATES)
    yield from (Sample(names.REPORT_FAILURES, count, (why,)) for why, count in reports.failures.items())
