"""The names that find a model of the config: its ids and aliases, and names that Ollama treats as the same."""

from collections.abc import Iterator, Mapping
from typing import Final

from ai_gateway.config.reason import ConfigReason
from ai_gateway.config.types import Config, Model, model_name
from ai_gateway.wire.names import DEFAULT_TAG, has_tag, is_cloud, ollama_name, plain

MOST_WARNINGS: Final = 20


class ModelNames:
    """The names of all models of one config, each with the id of its model. Never changed.

    An exact name means what the config says. Any other name is read as Ollama reads it: case, default host and
    default namespace do not count. It is compared with ids and aliases first, then with those plus the tag of their
    model. If it fits two models, it means the first one in the config.
    """

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._exact: dict[str, str] = {}
        self._ollama: dict[str, str] = {}
        tags = {}
        for model_id, model in models.items():
            self._exact.update((name, model_id) for name in (model_id, *model.aliases))
            name = model_name(model_id, model)
            tags[model_id] = name.rpartition(":")[2]
            self._ollama.setdefault(ollama_name(name), model_id)
        self._read: dict[str, str] = {}
        for name, model_id in self._exact.items():
            self._read.setdefault(plain(name), model_id)
        for name, model_id in self._exact.items():
            other = other_form(plain(name), tags[model_id])
            if other is not None:
                self._read.setdefault(other, model_id)

    def parts(self) -> list[object]:
        """All that it made, so that it can be freed a little at a time."""
        return [self._exact, self._read, self._ollama, *self._read, *self._ollama]

    def find(self, asked: str) -> str | None:
        """The id of the model that an id or alias stands for."""
        return self._exact.get(asked) or self._read.get(plain(asked))

    def find_by_ollama(self, asked: str) -> str | None:
        """The id of the model with this Ollama name, for catalogs with discovery; never for a cloud model."""
        name = ollama_name(asked)
        return None if is_cloud(name) else self._ollama.get(name)

    def identity(self, asked: str, are_discovered: bool) -> str | None:
        """The name of a model in limits and counts: its id, or its Ollama name if it is not in the config."""
        found = self.find(asked)
        if found is None and are_discovered:
            found = self.find_by_ollama(asked) or ollama_name(asked)
        return found

    def ambiguous_names(self) -> Iterator[tuple[str, str]]:
        """Pairs of names that Ollama treats as one, but that mean different models here; the winner comes first."""
        first: dict[str, str] = {}
        for name, model_id in self._exact.items():
            other = first.setdefault(plain(name), name)
            if self._exact[other] != model_id:
                yield other, name


def other_form(name: str, tag: str) -> str | None:
    """A plain name with the tag of its model if it has none, or without the default tag."""
    if not has_tag(name):
        return f"{name}:{plain(tag)}"
    bare, _, own = name.rpartition(":")
    return bare if own == DEFAULT_TAG else None


def check_limited(config: Config) -> Iterator[ConfigReason]:
    """With discovery you can set limits under any name of a model, but only under one of them."""
    if config.limits is None or not config.catalog.discover:
        return
    names = ModelNames(config.models)
    first: dict[str | None, str] = {}
    for name in config.limits.models:
        other = first.setdefault(names.identity(name, are_discovered=True), name)
        if other != name:
            yield ConfigReason(
                f"limits.models.{name}", f"is the same model as {other!r}: set limits for one of the two names only"
            )


def warnings(names: ModelNames) -> Iterator[ConfigReason]:
    """Likely mistakes in a valid config."""
    for number, (first, other) in enumerate(names.ambiguous_names()):
        if number == MOST_WARNINGS:
            yield ConfigReason("models", "there are more such names, which differ in case only")
            return
        yield ConfigReason(
            "models",
            f"{first!r} and {other!r} are the same name to Ollama, but mean different models here: each exact name "
            f"finds its own model, and any other spelling finds {first!r}",
        )
