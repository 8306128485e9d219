"""Checks of what config.yml says of models on endpoints' disks that its types cannot make."""

import re
from collections.abc import Iterator
from typing import Final

from ai_gateway.config.reason import ConfigReason
from ai_gateway.config.threads import pausing
from ai_gateway.config.types import Config, Model, model_name
from ai_gateway.wire.made_names import PREFIX, is_ours
from ai_gateway.wire.names import is_cloud, ollama_name, registry_of

MOST_WARNINGS: Final = 10
MOST_COMPARED: Final = 8  # models of one file
MODELS_AT_ONCE: Final = 100  # some 0.5 ms: then other threads may go on

_HOST: Final = re.compile(r"[A-Za-z0-9.\-]+(:[0-9]+)?|\[[0-9a-fA-F:]+\](:[0-9]+)?")
_KEYS: Final = ("pull", "copies", "endpoints", "parameters", "system")
_DEFAULTS: Final = Model()
_OF_A_RUNNER: Final = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "use_mmap")


def check_reconcile(config: Config) -> Iterator[ConfigReason]:
    """Every reason to refuse it."""
    section = config.reconcile
    for host in section.registries:
        if not _HOST.fullmatch(host):
            yield ConfigReason("reconcile.registries", f"{host!r} is not a host: write one such as registry:5000")
    for host in section.insecure_registries:
        if host not in section.registries:
            yield ConfigReason("reconcile.insecure_registries", f"{host!r} is not in `registries`: add it there")
    for model_id, model in pausing(config.models.items(), MODELS_AT_ONCE):
        name = model_name(model_id, model)
        if is_ours(ollama_name(name)):
            yield ConfigReason(f"models.{model_id}", f"{name!r} cannot be served: gateways make names with {PREFIX!r}")
        if "" in model.parameters.given().get("stop", ()):
            yield ConfigReason(f"models.{model_id}.parameters.stop", "is empty: that would end each answer at once")
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
    same: dict[str, list[str]] = {}
    for model_id, model in pausing(config.models.items(), MODELS_AT_ONCE):
        tag = ollama_name(model_name(model_id, model))
        others = same.setdefault(tag, [])
        found = ((key, one) for one in others for key in _differing(config.models[one], model))
        key, other = next(found, ("", ""))
        if len(others) < MOST_COMPARED:
            others.append(model_id)
        if key:
            yield ConfigReason(
                f"models.{model_id}.parameters.{key}",
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


def _differing(one: Model, other: Model) -> Iterator[str]:
    """The options for which two models of one file, which has one runner, ask for different ones where both may be."""
    is_apart = any(other.endpoints.get(name, value) != value for name, value in one.endpoints.items())
    if not is_apart:
        yield from (key for key in _OF_A_RUNNER if getattr(one.parameters, key) != getattr(other.parameters, key))


def _given(model: Model) -> list[str]:
    return [key for key in _KEYS if getattr(model, key) not in (getattr(_DEFAULTS, key), "never")]
