"""Finds calls that no gateway made which is known here: somebody uses the endpoint past them."""

from collections.abc import Collection, Mapping
from typing import Final

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.pool import Pool
from ai_gateway.balancing.resident import Loaded

GRACE_SECONDS: Final = 5.0  # a call that ended so long before the last poll may have moved the expiry still
TOLD_SECONDS: Final = 60.0  # how long it is told after it was seen last
CHECK: Final = "calls"  # in an endpoint's reasons


def used_by_others(
    endpoint: Endpoint, before: Mapping[str, Loaded], since: float, pools: Collection[Pool]
) -> list[str]:
    """Names of the runners whose expiry has moved since the poll of `since`, although no known call ran there.

    Ollama moves it when a runner's last call ends (server/sched.go).
    """
    return [
        one.entry.name
        for key, one in (endpoint.residency.loaded or {}).items()
        if _has_moved(before.get(key), one) and not _is_known(endpoint, key, since, pools)
    ]


def _has_moved(before: Loaded | None, now: Loaded) -> bool:
    return (
        before is not None and before.entry.expires_at is not None and now.entry.expires_at != before.entry.expires_at
    )


def _is_known(endpoint: Endpoint, key: str, since: float, pools: Collection[Pool]) -> bool:
    if endpoint.busy_on(key) or endpoint.ended_on(key) >= since - GRACE_SECONDS:
        return True
    residency = endpoint.residency
    if not (residency.served.is_idle or residency.is_called(key)):
        return True  # a version that is replaced: the gateway that writes lets its runner go
    loaded = (residency.loaded or {}).get(key)
    if loaded is not None and loaded.confirmed_at >= since - GRACE_SECONDS:
        return True
    # A call may be shorter than the time from one report to the next; but it is among the calls that came there.
    return any(pool.peer_rate > 0.0 and residency.key_of(pool.model) == key for pool in pools)
