"""GET /v1/models and /v1/models/{model}: the served models and their states, answered from memory."""

from collections.abc import Sequence
from typing import Any

from ai_gateway.accounting.status import StatusSources
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.catalog.active import CurrentConfig
from ai_gateway.catalog.catalog import ServedModel
from ai_gateway.catalog.permissions import deny, may_use, refuse_unloaded, sees_endpoints
from ai_gateway.catalog.states import holders_of, model_state
from ai_gateway.edge.asgi import Receive, Scope, Send, exchange_of, reply_json
from ai_gateway.edge.rollout_status import rollout_status, versions
from ai_gateway.upstream.details import ModelDetails


class ListModels:
    """Every id of the catalog, aliases too. A model that no endpoint holds has `started_at` (Unix seconds)."""

    def __init__(self, current: CurrentConfig, fleet: Fleet, started_at: int) -> None:
        self._current = current
        self._fleet = fleet
        self._started_at = started_at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refuse_unloaded(self._current.now)
        entries = self._current.now.catalog.entries(self._fleet)
        caller = exchange_of(scope).caller
        data = [
            model_object(known_as, entry, self._fleet, self._started_at)
            for known_as, entry in entries
            if may_use(caller, entry)
        ]
        await reply_json(scope, send, {"object": "list", "data": data})


class ShowModel:
    """One model: OpenAI's fields, and Ollama's own."""

    def __init__(self, sources: StatusSources, details: ModelDetails, started_at: int) -> None:
        self._sources = sources
        self._current = sources.current
        self._fleet = sources.fleet
        self._details = details
        self._started_at = started_at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = exchange_of(scope).ids.asked_model = scope["path_params"]["model"]
        entry = self._current.now.catalog.find(asked, self._fleet)
        if entry is None:
            refuse_unloaded(self._current.now)
        if entry is None or not may_use(exchange_of(scope).caller, entry):
            raise deny(asked, entry)
        exchange_of(scope).ids.model = entry.name
        shown = model_object(asked, entry, self._fleet, self._started_at)
        await reply_json(scope, send, {**shown, **await self._facts(entry, sees_endpoints(exchange_of(scope).caller))})

    async def _facts(self, entry: ServedModel, is_detailed: bool) -> dict[str, Any]:
        holders = holders_of(self._fleet, entry)
        facts: dict[str, Any] = {
            "ollama": entry.name,
            "state": model_state(self._fleet, entry),
            "in_place": self._is_in_place(entry, holders),
        }
        rollout = self._fleet.rollout_of(entry.key)
        if rollout is not None and rollout.state != "done":
            facts |= rollout_status(rollout)
        if is_detailed and entry.plan is not None:
            facts["versions"] = versions(self._fleet, entry)
        if is_detailed:
            facts["config"] = self._sources.live.digest
            facts["complaint"] = None if entry.plan is None else self._sources.reconciler.why_not
            loaded = [endpoint for endpoint in holders if endpoint.is_resident(entry.key)]
            facts["endpoints"] = [endpoint.address.authority for endpoint in holders]
            facts["loaded_on"] = [endpoint.address.authority for endpoint in loaded]
        held = holders[0].held_model(entry.key) if holders else None
        if held is None:
            return facts
        details = await self._details.of(holders[0], held)
        return facts | {
            "digest": held.digest,
            "size": held.size,
            "family": held.family,
            "parameter_size": held.parameter_size,
            "quantization": held.quantization,
            "context_length": details.context_length,
            "capabilities": list(details.capabilities),
        }

    def _is_in_place(self, entry: ServedModel, holders: Sequence[Endpoint]) -> bool:
        if self._sources.readiness.is_starting:
            return False
        return bool(holders) if entry.plan is None else self._sources.reconciler.is_in_place(entry.plan)


def model_object(known_as: str, entry: ServedModel, fleet: Fleet, started_at: int) -> dict[str, Any]:
    """A model as OpenAI's API lists it, with its version."""
    held = [endpoint.held_model(entry.key) for endpoint in fleet.endpoints.values()]
    created = max((model.modified for model in held if model is not None), default=0)
    listed: dict[str, Any] = {
        "id": known_as,
        "object": "model",
        "created": created or started_at,
        "owned_by": "library",
        "version": entry.version,
    }
    if entry.plan is None:
        return listed
    listed["state"] = model_state(fleet, entry)
    rollout = fleet.rollout_of(entry.key)
    if rollout is not None and rollout.state != "done" and rollout.progress is not None:
        listed["progress"] = round(rollout.progress, 3)
    return listed
