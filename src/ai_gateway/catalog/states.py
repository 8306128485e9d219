"""One word for how a model fares on the fleet, and one for how Ollama fares as a whole."""

from typing import Literal

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.catalog.catalog import Catalog, ServedModel

ModelState = Literal["ready", "loading", "pulling", "updating", "failed", "missing", "unavailable"]
OllamaState = Literal["ok", "degraded", "unavailable"]


def holders_of(fleet: Fleet, entry: ServedModel) -> list[Endpoint]:
    """The endpoints that are up and hold the model."""
    return [e for e in fleet.endpoints.values() if e.is_usable and e.holds(entry.key)]


def model_state(fleet: Fleet, entry: ServedModel) -> ModelState:
    """One word for whether a call for the model would be answered now.

    `pulling`: it is on its way to the first endpoint. `updating`: another version serves until a new one is there.
    `failed`: that does not go on, `reason` of its rollout tells why; what was there serves. `ready`: an endpoint holds
    it. `loading`: calls wait or run for it and none has it loaded yet. `missing`:
    endpoints are up, none holds it. `unavailable`: no endpoint that holds it is up.
    """
    holders = holders_of(fleet, entry)
    if not holders:
        endpoints = fleet.endpoints.values()
        is_elsewhere = any(endpoint.holds(entry.key) for endpoint in endpoints)
        if is_elsewhere or not any(endpoint.is_usable for endpoint in endpoints):
            return "unavailable"
        rollout = fleet.rollout_of(entry.key)
        return rollout.state if rollout is not None and rollout.state in ("pulling", "failed") else "missing"
    rollout = fleet.rollout_of(entry.key)
    if rollout is not None and rollout.state in ("updating", "failed"):
        return rollout.state
    if any(endpoint.is_resident(entry.key) for endpoint in holders):
        return "ready"
    pool = fleet.peek(entry.key)
    return "loading" if pool.waiting or pool.in_flight else "ready"


def ollama_state(fleet: Fleet, catalog: Catalog) -> OllamaState:
    """`unavailable`: no endpoint is up. `degraded`: some endpoint or some model is missing."""
    endpoints = fleet.endpoints.values()
    if not any(endpoint.is_usable for endpoint in endpoints):
        return "unavailable"
    states = {model_state(fleet, entry) for _, entry in catalog.entries(fleet)}
    all_up = all(endpoint.state == "up" for endpoint in endpoints)
    return "ok" if all_up and states <= {"ready", "loading"} else "degraded"
