"""What the API says of models that follow the config: how far each is, and which version is where."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.rollout import Rollout
from ai_gateway.catalog.catalog import ServedModel
from ai_gateway.reconcile.reconciler import Reconciler
from ai_gateway.reconcile.steps import KINDS, Step
from ai_gateway.wire.made_names import digest_part

MOST_SHOWN: Final = 100  # of tags and of models


def rollout_status(rollout: Rollout) -> dict[str, Any]:
    """How far one is."""
    return {
        "progress": None if rollout.progress is None else round(rollout.progress, 3),
        "seconds_left": None if rollout.seconds_left is None else round(rollout.seconds_left),
        "done": rollout.done,
        "total": rollout.total,
        "is_waited_for": rollout.is_waited_for,
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


def reconcile_status(reconciler: Reconciler, fleet: Fleet, now: float) -> dict[str, Any]:
    """What /v1/health says. `now` is monotonic seconds."""
    return {
        "owner": reconciler.owner,
        "writes": reconciler.may_write,
        "complaint": reconciler.why_not,
        "under_way": [_step(step, reconciler) for step in reconciler.under_way.values()],
        "failed": [
            {
                "model": _id(key, reconciler),
                "endpoint": endpoint.address.url,
                "reason": backoff.reason,
                "again_in_seconds": round(max(0.0, backoff.until - now), 1),
            }
            for (endpoint, key, _), backoff in reconciler.backoffs.items()
        ],
        "rollouts": {
            _id(key, reconciler): {"state": one.state, **rollout_status(one)}
            for key, one in islice((reconciler.open | reconciler.rollouts).items(), MOST_SHOWN)
        },
        "tags_left": list(islice(_tags_left(fleet), MOST_SHOWN)),
        "drift": {_id(key, reconciler): places for key, places in islice(_drift(fleet), MOST_SHOWN)},
        "seem_to_share_a_volume": sorted(sorted(pair) for pair in reconciler.shared_volume.seen),
    }


def _tags_left(fleet: Fleet) -> Iterator[dict[str, str]]:
    """Tags that no call needs, since all models made of them have their own names there. The gateway deletes only those
    of which it knows that it pulled them itself, so these stay."""
    naming = fleet.naming
    for endpoint in fleet.endpoints.values():
        residency = endpoint.residency
        for tag in endpoint.held or ():
            keys = naming.by_tag.get(tag, ()) if tag in naming.bases else ()
            if keys and all(residency.served.wanted(key, residency.digest_of) is not None for key in keys):
                yield {"endpoint": endpoint.address.url, "tag": tag}


def _drift(fleet: Fleet) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """Models whose endpoints have different contents of the version that the config asks for, with who has which."""
    found: dict[str, dict[str, list[str]]] = {}
    for endpoint in fleet.endpoints.values():
        residency = endpoint.residency
        for key in residency.served.names:
            wanted = residency.served.wanted(key, residency.digest_of)
            digest = residency.digest_of(fleet.naming.by_key[key].tag)
            part = digest_part(digest) if digest is not None else None if wanted is None else wanted.digest
            if part is not None:
                found.setdefault(key, {}).setdefault(part, []).append(endpoint.address.url)
    yield from ((key, places) for key, places in found.items() if len(places) > 1)


def _step(step: Step, reconciler: Reconciler) -> dict[str, Any]:
    return {"step": KINDS[type(step)], "model": _id(step.key, reconciler), "endpoint": step.endpoint.address.url}


def _id(key: str, reconciler: Reconciler) -> str:
    """The config's id of a model; of one that is not there any more, what its names begin with."""
    plan = reconciler.plans.get(key)
    return key if plan is None else plan.shaped.id
