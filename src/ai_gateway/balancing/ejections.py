"""How many of a fleet's endpoints may be ejected: never more than half. If most fail, the gateway may be the cause."""

from collections.abc import Collection

from ai_gateway.balancing.endpoint import Endpoint


def may_eject(endpoint: Endpoint, endpoints: Collection[Endpoint]) -> bool:
    """Whether one more failure may eject it, beside those that are ejected already."""
    if endpoint.health.failures + 1 < endpoint.health.threshold:
        return False  # too early: of hundreds of new endpoints that are not up yet, each would count all others
    others = sum(other.health.is_ejected for other in endpoints if other is not endpoint)
    return others + 1 <= len(endpoints) // 2


def may_eject_model(endpoint: Endpoint, model: str, endpoints: Collection[Endpoint]) -> bool:
    """The same for one model, among the endpoints that have it."""
    peers = [other for other in endpoints if other.holds(model)]
    ejected = sum(other.model_health(model).is_ejected for other in peers)
    return ejected + 1 <= len(peers) // 2


def readmit_surplus(endpoints: Collection[Endpoint]) -> None:
    """Readmits endpoints of a shrinking fleet until half are ejected at most, those with the earliest end first."""
    ejected = [endpoint for endpoint in endpoints if endpoint.health.ejected_until is not None]
    if not ejected:
        return
    ejected.sort(key=lambda endpoint: endpoint.health.ejected_until or 0.0)
    for endpoint in ejected[: max(0, len(ejected) - len(endpoints) // 2)]:
        endpoint.health.readmit()
