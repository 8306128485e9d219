"""By which names a model of the config is found: its ids and aliases, and what Ollama reads as the same."""

from collections.abc import Iterator, Mapping
from typing import Final

from ai_gateway.config.reason import ConfigReason
from ai_gateway.config.types import Config, Model, model_name
from ai_gateway.wire.names import DEFAULT_TAG, has_tag, is_cloud, ollama_name, plain

MOST_TOLD: Final = 20


class ModelNames:
    """The names of all models of one config, each with the id of its model. Never changed.

    Spelt exactly a name means what the config says. Else it is read as Ollama reads it, whatever the case and with or
    without its default host and namespace: first like an id or alias, then like one with its model's own tag. Where
    two models could be meant, it is the one that stands first in the config.
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
        """Every name that was made for it, so that it can be let go of in pieces."""
        return [*self._read, *self._ollama]

    def find(self, asked: str) -> str | None:
        """The id of the model that an id or alias means."""
        return self._exact.get(asked) or self._read.get(plain(asked))

    def find_by_ollama(self, asked: str) -> str | None:
        """The id of the model that Ollama's name means, where models are found by it; never by a name of the cloud."""
        name = ollama_name(asked)
        return None if is_cloud(name) else self._ollama.get(name)

    def identity(self, asked: str, are_discovered: bool) -> str | None:
        """What limits and counts know a model by: its id, or the canonical name of one that is not in the config."""
        found = self.find(asked)
        if found is None and are_discovered:
            found = self.find_by_ollama(asked) or ollama_name(asked)
        return found

    def equal_ones(self) -> Iterator[tuple[str, str]]:
        """Names of different models that differ in case alone, or in what Ollama leaves out; the first stands first."""
        first: dict[str, str] = {}
        for name, model_id in self._exact.items():
            other = first.setdefault(plain(name), name)
            if self._exact[other] != model_id:
                yield other, name


def other_form(name: str, tag: str) -> str | None:
    """A plain name with its model's own tag where it has none, or without the tag that need not be said."""
    if not has_tag(name):
        return f"{name}:{plain(tag)}"
    bare, _, own = name.rpartition(":")
    return bare if own == DEFAULT_TAG else None


def check_limited(config: Config) -> Iterator[ConfigReason]:
    """Where models are discovered, limits stand under any name of a model: but under one alone."""
    if config.limits is None or not config.catalog.discover:
        return
    names = ModelNames(config.models)
    first: dict[str | None, str] = {}
    for name in config.limits.models:
        other = first.setdefault(names.identity(name, are_discovered=True), name)
        if other != name:
            yield ConfigReason(f"limits.models.{name}", f"is the same model as {other!r}: give it limits once")


def warnings(names: ModelNames) -> Iterator[ConfigReason]:
    """What a config is not refused for, and is a mistake all the same."""
    for number, (first, other) in enumerate(names.equal_ones()):
        if number == MOST_TOLD:
            yield ConfigReason("models", "there are more names that are equal but for case")
            return
        yield ConfigReason(
            "models",
            f"{first!r} and {other!r} are equal to Ollama, and lead to different models: each is found by its exact "
            f"name, and any other spelling finds {first!r}",
        )
