"""The fleet's metrics at the moment of a scrape: per model for dashboards and autoscalers, and per endpoint."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from ai_gateway.accounting.rollout_metrics import unnamed_bytes
from ai_gateway.balancing.endpoint import Endpoint, State
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.pool import Pool
from ai_gateway.catalog.catalog import Catalog, ServedModel
from ai_gateway.telemetry import names
from ai_gateway.telemetry.sample import Sample

STATES: Final[tuple[State, ...]] = ("up", "unknown", "down", "ejected", "draining")


def fleet_metrics(fleet: Fleet, catalog: Catalog, now: float) -> Iterator[Sample]:
    """Every served model has its lines, also one without calls. `now` is monotonic seconds."""
    yield Sample(names.RETRY_BUDGET, fleet.budget.left)
    yield Sample(names.RETRIES_IN_FLIGHT, fleet.budget.retries)
    entries = list(catalog.models(fleet))
    for entry in entries:
        yield from _of_model(entry, fleet, now)
    yield from _by_state(fleet)
    for labels, endpoint in _labelled([*fleet.endpoints.values(), *fleet.leaving]):
        yield from _of_endpoint(labels, endpoint, now)
        if endpoint.held is not None:
            yield Sample(names.ENDPOINT_UNNAMED, unnamed_bytes(endpoint.residency, catalog.owner), labels)
        for entry in entries:
            if endpoint.is_resident(entry.key):
                yield Sample(names.ENDPOINT_RESIDENT, 1, (*labels, entry.id))


def _of_model(entry: ServedModel, fleet: Fleet, now: float) -> Iterator[Sample]:
    label = (entry.id,)
    pool = fleet.peek(entry.key)
    used, free = _slots(pool, now)
    yield Sample(names.IN_FLIGHT, pool.in_flight, label)
    yield Sample(names.QUEUED, pool.waiting, label)
    yield Sample(names.DEMAND, pool.in_flight + pool.waiting, label)
    yield Sample(names.COLD_WAIT, pool.cold_wait_seconds, label)
    yield Sample(names.SLOTS, used, (*label, "used"))
    yield Sample(names.SLOTS, free, (*label, "free"))
    yield Sample(names.SATURATION, _saturation(pool, used, free), label)


def _slots(pool: Pool, now: float) -> tuple[int, int]:
    """Used and free slots of the model. Free ones are where a call may go now: an endpoint that is ejected for it has
    none, nor has one that must load it first."""
    used = free = 0
    able = set(pool.able)
    for endpoint in pool.endpoints_with():
        slots = pool.slots_of(endpoint)
        taken = endpoint.busy(pool.model)
        used += taken
        if endpoint in able and endpoint.takes(pool.model, slots, now):
            free += slots - taken
    return used, free


def _saturation(pool: Pool, used: int, free: int) -> float:
    if used + free:
        return used / (used + free)
    is_unused = not pool.able and not pool.waiting and bool(pool.endpoints_with())  # held, but loaded nowhere
    return 0.0 if is_unused else 1.0


def _by_state(fleet: Fleet) -> Iterator[Sample]:
    states = Counter(endpoint.state for endpoint in fleet.endpoints.values())
    states["draining"] += len(fleet.leaving)
    for state in STATES:
        yield Sample(names.ENDPOINTS, states[state], (state,))


def _of_endpoint(labels: tuple[str, str], endpoint: Endpoint, now: float) -> Iterator[Sample]:
    if not endpoint.is_draining:  # a draining endpoint is not down, however long its streams run
        yield Sample(names.ENDPOINT_UP, endpoint.state == "up", labels)
        yield Sample(names.ENDPOINT_EJECTED, endpoint.health.is_ejected, labels)
    yield Sample(names.ENDPOINT_IN_FLIGHT, endpoint.total_in_flight, labels)
    yield Sample(names.ENDPOINT_ATTEMPTS, endpoint.total_attempts, labels)
    yield Sample(names.ENDPOINT_FAILURES, endpoint.total_failures, labels)
    yield Sample(names.ENDPOINT_LOADS, endpoint.total_loads, labels)
    yield Sample(names.ENDPOINT_UNLOADS, endpoint.total_unloads, labels)
    yield Sample(names.ENDPOINT_SPEED, endpoint.speed, labels)
    if endpoint.seen_at is not None:
        yield Sample(names.ENDPOINT_POLL_AGE, now - endpoint.seen_at, labels)


def _labelled(endpoints: Iterable[Endpoint]) -> Iterator[tuple[tuple[str, str], Endpoint]]:
    """Endpoints with HOST:PORT and pod. If two have the same labels, the second gets its URL instead.

    No two may have the same labels: Prometheus would refuse the whole scrape.
    """
    seen: set[tuple[str, str]] = set()
    for endpoint in endpoints:
        pod = "" if endpoint.pod is None else f"{endpoint.pod.namespace}/{endpoint.pod.name}"
        labels = (endpoint.address.authority, pod)
        if labels in seen:
            labels = (endpoint.address.url, pod)
        if labels not in seen:
            seen.add(labels)
            yield labels, endpoint
