"""What the API says of models that follow the config: how far each is, and which version is where."""

from typing import Any

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.rollout import Rollout
from ai_gateway.catalog.catalog import ServedModel
from ai_gateway.catalog.reconciler import Reconciler
from ai_gateway.catalog.steps import Step


def rollout_status(rollout: Rollout) -> dict[str, Any]:
    """How far one is."""
    return {
        "progress": None if rollout.progress is None else round(rollout.progress, 3),
        "seconds_left": None if rollout.seconds_left is None else round(rollout.seconds_left),
        "done": rollout.done,
        "total": rollout.total,
        "reason": rollout.reason,
    }


def versions(fleet: Fleet, entry: ServedModel) -> list[dict[str, Any]]:
    """Each endpoint with a version of the model: the one that calls get there, and the one that the config asks for."""
    return [_version(endpoint, entry.key) for endpoint in fleet.endpoints.values() if endpoint.holds(entry.key)]


def _version(endpoint: Endpoint, key: str) -> dict[str, Any]:
    residency = endpoint.residency
    wanted = residency.served.wanted(key, residency.digest_of)
    return {
        "endpoint": endpoint.address.authority,
        "serves": residency.name_for(key),
        "wanted": None if wanted is None else wanted.name,
        "is_loaded": endpoint.is_resident(key),
    }


def reconcile_status(reconciler: Reconciler, now: float) -> dict[str, Any]:
    """What /v1/health says. `now` is monotonic seconds."""
    return {
        "owner": reconciler.owner,
        "writes": reconciler.may_write,
        "complaint": reconciler.why_not,
        "under_way": [_step(step) for step in reconciler.under_way.values()],
        "failed": [
            {
                "model": key,
                "endpoint": endpoint.address.url,
                "reason": backoff.reason,
                "again_in_seconds": round(max(0.0, backoff.until - now), 1),
            }
            for (endpoint, key, _), backoff in reconciler.backoffs.items()
        ],
        "rollouts": {key: {"state": one.state, **rollout_status(one)} for key, one in reconciler.rollouts.items()},
    }


def _step(step: Step) -> dict[str, Any]:
    return {"step": type(step).__name__.lower(), "model": step.key, "endpoint": step.endpoint.address.url}
