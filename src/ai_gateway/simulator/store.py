"""The models on an endpoint's disk, and the blobs they may be made from. It outlives a restart."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ai_gateway.simulator.models import Model, describe, sha256
from ai_gateway.simulator.names import Name, parse_name
from ai_gateway.simulator.refusals import Refusal
from ai_gateway.simulator.settings import Settings


class Store:
    """Changes by pull, create, copy and delete. `clock` is Unix time."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._models: dict[str, Model] = {}
        self._blobs: set[str] = set()  # sha256:<hex> of uploads
        started_at = clock()
        for age, text in enumerate(settings.models):
            self.add(self.describe(valid_name(text), started_at - age))

    def describe(self, name: Name, modified_at: float | None = None) -> Model:
        """The model for a name in the registry, as of now."""
        capabilities = next(
            (kinds for text, kinds in self._settings.capabilities.items() if _is_same(text, name)), None
        )
        return describe(name, self._clock() if modified_at is None else modified_at, capabilities)

    def add(self, model: Model) -> None:
        """Adds a model, or replaces the one of the same name."""
        self._models[model.name.key] = model

    def find(self, text: str) -> Model | None:
        """The model with a client's name; None if it is not here."""
        name = parse_name(text)
        return None if name is None else self._models.get(name.key)

    def listed(self) -> list[Model]:
        """All models, the newest first."""
        return sorted(self._models.values(), key=lambda model: model.modified_at, reverse=True)

    def is_in_registry(self, name: Name) -> bool:
        """Whether a pull would find it."""
        registry = self._settings.registry
        known = (*registry, *(valid_name(text).model for text in self._settings.models))
        return "*" in registry or name.model in known

    def copy(self, source: str, destination: str) -> None:
        """Adds the same model under another name. Raises `Refusal`."""
        origin, target = parse_name(source), parse_name(destination)
        if origin is None:
            raise Refusal(400, f'source "{source}" is invalid')
        if target is None:
            raise Refusal(400, f'destination "{destination}" is invalid')
        model = self._models.get(origin.key)
        if model is None:
            raise Refusal(404, f'model "{source}" not found')
        self.add(replace(model, name=target, modified_at=self._clock()))

    def delete(self, text: str) -> None:
        """Removes a model. Raises `Refusal` 404."""
        model = self.find(text)
        if model is None:
            raise Refusal(404, f"model '{text}' not found")
        del self._models[model.name.key]

    def derive(self, name: Name, base: Model, changes: dict[str, Any]) -> Model:
        """A model made from another one: same weights, so the same runner, but a digest of its own.

        Equal changes of one model have equal digests, as their manifests are equal.
        """
        parameters = {**base.parameters, **(changes.get("parameters") or {})}
        made = replace(
            base,
            name=name,
            digest=sha256(f"{base.digest}:{sorted(map(str, changes.items()))}"),
            modified_at=self._clock(),
            parent=base.name.short,
            parameters=parameters,
            system=str(changes.get("system") or base.system),
            template=str(changes.get("template") or base.template),
        )
        self.add(made)
        return made

    def described_by_blob(self, model: Model, digest: str) -> Model:
        """A model whose weights are an upload."""
        return replace(model, weights=digest.removeprefix("sha256:"), parent="")

    def has_blob(self, digest: str) -> bool:
        """Whether an upload with this digest is here."""
        return digest in self._blobs

    def add_blob(self, digest: str, content: bytes) -> bool:
        """Keeps an upload's digest; False if it was here. Raises `Refusal` 400 if the content differs."""
        found = "sha256:" + hashlib.sha256(content).hexdigest()
        if found != digest.replace("-", ":"):
            raise Refusal(400, f'digest mismatch, expected "{digest}", got "{found}"')
        is_new = found not in self._blobs
        self._blobs.add(found)
        return is_new


def valid_name(text: str) -> Name:
    """A name, or `Refusal` 400."""
    name = parse_name(text)
    if name is None:
        raise Refusal(400, "invalid model name")
    return name


def _is_same(text: str, name: Name) -> bool:
    other = parse_name(text)
    return other is not None and (other.key == name.key or (":" not in text and other.model == name.model))
