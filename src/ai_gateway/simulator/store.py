"""The models on an endpoint's disk, and the blobs they may be made from. It outlives a restart."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ai_gateway.simulator.models import Model, sha256
from ai_gateway.simulator.names import Name, parse_name
from ai_gateway.simulator.refusals import Refusal
from ai_gateway.simulator.registry import Registry
from ai_gateway.simulator.settings import Settings


class Store:
    """Changes by pull, create, copy and delete. `clock` is Unix time.

    `partial` has the bytes of layers that are not whole yet: a pull goes on with them. `downloaded` counts bytes.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float], registry: Registry | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self.registry = Registry() if registry is None else registry
        self.partial: dict[str, int] = {}  # by digest
        self.downloaded: Counter[str] = Counter()  # by digest
        self._models: dict[str, Model] = {}
        self._layers: set[str] = set()  # digests of those that are whole
        self._blobs: set[str] = set()  # sha256:<hex> of uploads
        started_at = clock()
        for age, text in enumerate(settings.models):
            self.add(self.describe(valid_name(text), started_at - age))

    def describe(self, name: Name, modified_at: float | None = None) -> Model:
        """The model for a name in the registry, as of now."""
        capabilities = next(
            (kinds for text, kinds in self._settings.capabilities.items() if _is_same(text, name)), None
        )
        return self.registry.describe(name, self._clock() if modified_at is None else modified_at, capabilities)

    def add(self, model: Model) -> None:
        """Adds a model, or replaces the one of the same name."""
        before = self._models.get(model.name.key)
        self._models[model.name.key] = model
        self._layers |= set(model.layers)
        self._drop_unused(before)

    def find(self, text: str) -> Model | None:
        """The model with a client's name; None if it is not here."""
        name = parse_name(text)
        return None if name is None else self._models.get(name.key)

    def listed(self) -> list[Model]:
        """All models, the newest first."""
        return sorted(self._models.values(), key=lambda model: model.modified_at, reverse=True)

    def is_in_registry(self, name: Name) -> bool:
        """Whether a pull would find it."""
        models = (valid_name(text).model for text in self._settings.models)
        return self.registry.has(name, {*self._settings.registry, *models})

    @property
    def pull_bytes_per_second(self) -> float:
        """Of one pull; 0 is at once."""
        rate = self.registry.bytes_per_second
        return self._settings.pull_bytes_per_second if rate is None else rate

    def has_layer(self, digest: str) -> bool:
        """Whether a layer is here, whole."""
        return digest in self._layers

    def download(self, digest: str, size: int, count: int) -> int:
        """Adds bytes to a layer; returns how many of it are here. A whole one stays as long as a model has it."""
        if digest in self._layers:
            return size  # another pull was quicker
        here = self.partial.get(digest, 0)
        self.downloaded[digest] += min(count, size - here)
        self.partial[digest] = min(size, here + count)
        if here + count >= size:
            del self.partial[digest]
            self._layers.add(digest)
        return min(size, here + count)

    def drop_layer(self, digest: str) -> None:
        """It is not what its digest says, and has to be downloaded anew."""
        self.partial.pop(digest, None)
        self._layers.discard(digest)

    def restart(self) -> None:
        """As Ollama does when it starts: what belongs to no model goes, and what is not whole."""
        self.partial.clear()
        self._layers &= self._used()

    def wipe(self) -> None:
        """The disk is lost."""
        self._models.clear()
        self._blobs.clear()
        self.restart()

    def _used(self) -> set[str]:
        return {layer for model in self._models.values() for layer in model.layers}

    def _drop_unused(self, former: Model | None) -> None:
        if former is not None:
            self._layers -= set(former.layers) - self._used()

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
        self._drop_unused(model)

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
