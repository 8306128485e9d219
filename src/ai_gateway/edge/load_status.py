"""What GET /v1/health says of loads: who decides on them, those under way, and those that failed."""

from typing import Any

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.load import Backoff, Load


def load_status(fleet: Fleet, now: float) -> dict[str, Any]:
    """Everything about loads. `now` is monotonic seconds."""
    leader = fleet.peers.leader or None
    return {
        "decides": fleet.decides,
        "leader": leader if fleet.may_load else None,
        "under_way": [_load(load, now) for load in fleet.loads.under_way()],
        "failed": [_failed(*place, backoff, now) for place, backoff in fleet.loads.backoffs.items()],
    }


def _load(load: Load, now: float) -> dict[str, Any]:
    return {
        "model": load.model,
        "endpoint": load.endpoint.address.url,
        "phase": load.phase,
        "seconds": round(now - load.began_at, 1),
        "in_place_of": None if load.victim is None else load.victim.name,
    }


def _failed(endpoint: Endpoint, key: str, backoff: Backoff, now: float) -> dict[str, Any]:
    names = (name for name in endpoint.held or () if endpoint.residency.key_of(name) == key)
    return {
        "model": next(names, key),
        "endpoint": endpoint.address.url,
        "reason": backoff.reason,
        "again_in_seconds": round(max(0.0, backoff.until - now), 1),
    }
