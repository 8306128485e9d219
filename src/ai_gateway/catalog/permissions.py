"""What a caller may use. A model that is not for it looks to it like one that is not served."""

from typing import Final

from ai_gateway.auth.patterns import permits
from ai_gateway.catalog.active import ActiveConfig, CurrentConfig
from ai_gateway.catalog.catalog import ServedModel
from ai_gateway.errors import BackendUnavailable, ModelDenied, ModelNotFound, NotAllowed
from ai_gateway.exchange import Caller
from ai_gateway.wire.operations import OPERATIONS

# Routes by the words of `routes`; the others are for everyone who is let in.
_ROUTES: Final = {
    **{row.path: row.name for row in OPERATIONS.values()},
    "/v1/models": "models",
    "/v1/models/{model}": "models",
    "/v1/audit/logs": "audit",
}


def check_route(caller: Caller, route: str) -> None:
    """Raises NotAllowed where a key or rule names routes, and not this one, known by its pattern."""
    word = _ROUTES.get(route)
    if caller.routes is not None and word is not None and word not in caller.routes:
        raise NotAllowed(f"You may not use {route}; a rule of this gateway says so.", code="route_not_allowed")


def may_use(caller: Caller, entry: ServedModel) -> bool:
    """Whether a model is for a caller: a rule may mean it by any of its names."""
    return not caller.models or permits(caller.models, entry.known_as)


def sees_endpoints(caller: Caller) -> bool:
    """Whether a caller sees where models run: everyone without authentication, else only admins."""
    return caller.is_admin or caller.method == "none"


def may_read_audit(current: CurrentConfig, caller: Caller) -> bool:
    """Admins may. Without authentication everyone may, if the config explicitly says so."""
    return caller.is_admin or (caller.method == "none" and current.now.config.audit.allow_unauthenticated_reads)


def refuse_unloaded(in_force: ActiveConfig) -> None:
    """Raises BackendUnavailable while there is no valid config: the models and their callers are not known then."""
    if not in_force.is_loaded:
        raise BackendUnavailable("The gateway has no valid config yet; GET /v1/health says what is wrong with it.")


def deny(asked: str, entry: ServedModel | None) -> ModelNotFound:
    """The refusal of a model that is not served (`entry` is None), or not to this caller: the client cannot tell."""
    kind = ModelNotFound if entry is None else ModelDenied
    return kind(f"Model {asked!r} is not served here; GET /v1/models lists those that are.", param="model")


def no_model() -> ModelNotFound:
    """The error for a caller who may use none of the served models."""
    return ModelDenied("No model that you may use is served here; GET /v1/models lists those that are.", param="model")
