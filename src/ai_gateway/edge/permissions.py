"""What a caller may use. A model that is not for it looks to it like one that is not served."""

from ai_gateway.auth.patterns import permits
from ai_gateway.catalog.catalog import Entry
from ai_gateway.errors import ModelDenied, ModelNotFound
from ai_gateway.exchange import Caller


def may_use(caller: Caller, entry: Entry) -> bool:
    """Whether a model is for a caller, by its id or one of its aliases."""
    return not caller.models or permits(caller.models, entry.known_as)


def deny(asked: str, entry: Entry | None) -> ModelNotFound:
    """The refusal of a model that is not served (`entry` is None), or not to this caller: the client cannot tell."""
    kind = ModelNotFound if entry is None else ModelDenied
    return kind(f"Model {asked!r} is not served here; GET /v1/models lists those that are.", param="model")
