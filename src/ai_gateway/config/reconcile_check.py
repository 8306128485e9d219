"""Checks of what config.yml says of models on endpoints' disks that its types cannot make."""

from collections.abc import Iterator
from typing import Final

from ai_gateway.config.reason import ConfigReason
from ai_gateway.config.types import Config, Model, model_name
from ai_gateway.wire.made_names import PREFIX, is_ours
from ai_gateway.wire.names import is_cloud, ollama_name, registry_of

MOST_WARNINGS: Final = 10

_KEYS: Final = ("pull", "copies", "endpoints", "parameters", "system")


def check_reconcile(config: Config) -> Iterator[ConfigReason]:
    """Every reason to refuse it."""
    section = config.reconcile
    for host in section.insecure_registries:
        if host not in section.registries:
            yield ConfigReason("reconcile.insecure_registries", f"{host!r} is not in `registries`: add it there")
    for model_id, model in config.models.items():
        name = model_name(model_id, model)
        if is_ours(ollama_name(name)):
            yield ConfigReason(f"models.{model_id}", f"{name!r} cannot be served: gateways make names with {PREFIX!r}")
        keys = _given(model)
        if not keys and section.pull == "never":
            continue
        if is_cloud(name):
            if keys:
                yield ConfigReason(f"models.{model_id}.{keys[0]}", f"{name!r} is a cloud model: it is on no disk")
            continue
        registry = registry_of(name)
        if model.pull in ("always", "if_missing") and registry is not None and registry not in section.registries:
            yield ConfigReason(f"models.{model_id}.pull", f"needs {registry} in reconcile.registries: add it there")


def reconcile_warnings(config: Config) -> Iterator[ConfigReason]:
    """Likely mistakes in a valid config, up to a number."""
    found = list(_likely_mistakes(config))
    yield from found[:MOST_WARNINGS]
    if len(found) > MOST_WARNINGS:
        yield ConfigReason("models", "there are more such models")


def _likely_mistakes(config: Config) -> Iterator[ConfigReason]:
    first: dict[str, tuple[str, int | None]] = {}
    for model_id, model in config.models.items():
        tag, context = ollama_name(model_name(model_id, model)), model.parameters.num_ctx
        other, its_context = first.setdefault(tag, (model_id, context))
        if context != its_context:
            yield ConfigReason(
                f"models.{model_id}.parameters.num_ctx",
                f"differs from that of {other!r}, and both are made of {tag}: where one is loaded, Ollama unloads the "
                "other; put them on different endpoints (`endpoints`)",
            )
        registry, pull = registry_of(model_name(model_id, model)), model.pull or config.reconcile.pull
        if pull != "never" and registry is not None and registry not in config.reconcile.registries:
            yield ConfigReason(
                f"models.{model_id}",
                f"is not pulled where it is missing: {registry} is not in reconcile.registries",
            )
        idle = [key for key in ("copies", "endpoints") if getattr(model, key)]
        is_made = bool(model.parameters.given() or model.system)
        if idle and not is_made and pull == "never":
            are_idle = " and ".join(idle) + (" have" if len(idle) > 1 else " has")
            yield ConfigReason(f"models.{model_id}", f"{are_idle} no effect: the model is not pulled (`pull`)")


def _given(model: Model) -> list[str]:
    defaults = Model()
    return [key for key in _KEYS if getattr(model, key) != getattr(defaults, key) and getattr(model, key) != "never"]
