"""What config.yml says should be on the endpoints, for each model for which the gateway makes names."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from ai_gateway.balancing.naming import Shaped
from ai_gateway.config.reconcile import Copies, Pull
from ai_gateway.config.threads import pausing
from ai_gateway.config.types import Config, Model, model_name
from ai_gateway.wire.made_names import key_of, spec_hash
from ai_gateway.wire.names import is_cloud, ollama_name, registry_of

DEFAULT_OWNER: Final = "default"
PLANS_AT_ONCE: Final = 500  # some 0.5 ms: then others may go on

# What Ollama's /v1 sets to 1.0 where a call names none, whatever the model's own parameters say.
_OVERRIDDEN: Final = ("temperature", "top_p")


class Plan(msgspec.Struct, frozen=True):
    """One model of the config. `name` is pulled, as the config writes it; `labels` are those of the pods to have it."""

    shaped: Shaped
    name: str
    parameters: Mapping[str, Any]
    system: str | None
    pull: Pull
    copies: Copies | None
    labels: Mapping[str, str]

    @property
    def is_derived(self) -> bool:
        """Whether a model is made of the tag; else its names are copies of it."""
        return bool(self.parameters or self.system)


class Plans(msgspec.Struct, frozen=True):
    """All of a config: by key, and by Ollama's name of the tag."""

    by_key: Mapping[str, Plan] = {}
    by_tag: Mapping[str, Sequence[Plan]] = {}


def plans_of(plans: Iterable[Plan]) -> Plans:
    """Takes a while for many: a thread does it."""
    by_key: dict[str, Plan] = {}
    by_tag: dict[str, list[Plan]] = {}
    for plan in pausing(plans, PLANS_AT_ONCE):
        by_key[plan.shaped.key] = plan
        by_tag.setdefault(plan.shaped.tag, []).append(plan)
    return Plans(by_key, by_tag)


def plan_of(config: Config, model_id: str, model: Model, owner: str) -> Plan | None:
    """None for a model that the gateway takes as it finds it: never pulled, and served under the name of its tag."""
    parameters, pull = model.parameters.given(), model.pull or config.reconcile.pull
    name = model_name(model_id, model)
    registry = registry_of(name)
    if registry is not None and registry not in config.reconcile.registries:
        pull = "never"
    if is_cloud(name) or (pull == "never" and not parameters and model.system is None):
        return None
    tag = ollama_name(name)
    spec, base = spec_hash(tag, parameters, model.system), spec_hash(tag, {}, None)
    shaped = Shaped(key_of(owner, model_id), model_id, tag, spec, base)
    return Plan(shaped, name, parameters, model.system, pull, model.copies, model.endpoints)


def defaults_of(model: Model) -> Mapping[str, msgspec.Raw]:
    """JSON values for calls that set none."""
    given = model.parameters.given()
    return {key: msgspec.Raw(msgspec.json.encode(given[key])) for key in _OVERRIDDEN if key in given}
