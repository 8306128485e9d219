"""Which name on an endpoint stands for a model of the config, where the gateway makes names: see wire/made_names.py.

Each gateway finds it for each endpoint by what that endpoint lists and has loaded, so an endpoint changes to a new
version when its own load is done, and nothing is agreed on.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from ai_gateway.wire.made_names import Made, digest_part, is_ours, read_made

MOST_FORMER: Final = 4  # tags of earlier configs that are remembered for one model


class Shaped(msgspec.Struct, frozen=True):
    """A model of the config for which names are made: their `key`, the config's id, the tag, and the spec's hash."""

    key: str
    id: str
    tag: str
    spec: str


class Naming:
    """All such models, for all endpoints. Changed by the fleet, with each config.

    `by_tag` has the keys by tag, those of earlier configs of this process too: after an edit calls go on to the former
    tag until there is something better. `bases` are tags that calls mean through these models alone.
    """

    def __init__(self) -> None:
        self.by_key: Mapping[str, Shaped] = {}
        self.by_tag: dict[str, list[str]] = {}
        self.bases: frozenset[str] = frozenset()
        self.former: dict[str, tuple[str, ...]] = {}
        self._tags: Mapping[str, str] = {}  # by id, of the last config

    def configure(self, shaped: Mapping[str, Shaped], tags: Mapping[str, str]) -> None:
        """Takes a config's; `tags` has the tag of each id, also of those for which no names are made."""
        former = {}
        for key, one in shaped.items():
            earlier = (self._tags.get(one.id, one.tag), *self.former.get(key, ()))
            former[key] = tuple(dict.fromkeys(tag for tag in earlier if tag != one.tag))[:MOST_FORMER]
        self.by_key, self.former, self._tags = shaped, former, tags
        self.by_tag = {}
        for key, one in shaped.items():
            for tag in (one.tag, *former[key]):
                self.by_tag.setdefault(tag, []).append(key)
        plain = {tag for model_id, tag in tags.items()} - {one.tag for one in shaped.values()}
        plain |= {tags[model_id] for model_id in tags.keys() - {one.id for one in shaped.values()}}
        self.bases = frozenset(self.by_tag.keys() - plain)

    def pool_of(self, name: str) -> str:
        """Whose calls a name on an endpoint serves: the key of a model, or the name itself."""
        made = read_made(name)
        if made is not None:
            return made.key
        return self.by_tag[name][0] if name in self.bases else name


class Served:
    """The names of one endpoint by the keys of the models that they stand for. Changed by its residency."""

    __slots__ = ("_naming", "_tags", "made", "names")

    def __init__(self, naming: Naming) -> None:
        self._naming = naming
        self.made: dict[str, list[Made]] = {}  # the newest first
        self._tags: dict[str, set[str]] = {}
        self.names: dict[str, str] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no names are made, so that each stands for itself."""
        return not self._naming.by_key

    def know(self, listed: Iterable[str], loaded: Iterable[str]) -> None:
        """Takes what is on the disk, and what is loaded and may be there. A tag counts only where it is listed."""
        self.made, self._tags = {}, {}
        by_key, by_tag = self._naming.by_key, self._naming.by_tag
        for name in (*listed, *filter(is_ours, loaded)):
            made = read_made(name)
            if made is not None and made.key in by_key:
                self.made.setdefault(made.key, []).append(made)
            for key in by_tag.get(name, ()):
                self._tags.setdefault(key, set()).add(name)
        for found in self.made.values():
            found.sort(key=_number, reverse=True)

    def wanted(self, key: str, digests: Callable[[str], str | None]) -> Made | None:
        """The name that the config asks for here, if it is made: of its spec, and of the digest that the tag has."""
        shaped = self._naming.by_key[key]
        newest = next((one for one in self.made.get(key, ()) if one.spec == shaped.spec), None)
        digest = digests(shaped.tag)
        return newest if newest is None or digest is None or newest.digest == digest_part(digest) else None

    def choose(self, is_resident: Callable[[str], bool], digests: Callable[[str], str | None]) -> None:
        """Finds the names anew: what is loaded comes first, then what the config asks for, then what is newest.

        `digests` gives a listed name's digest, None for a name that is not listed.
        """
        self.names = {}
        for key, found in self.made.items():
            wanted = self.wanted(key, digests)
            order = found if wanted is None else [wanted, *(one for one in found if one is not wanted)]
            self.names[key] = next((one for one in order if is_resident(one.name)), order[0]).name
        for key in self._tags.keys() - self.made.keys():
            tags = (self._naming.by_key[key].tag, *self._naming.former[key])
            self.names[key] = next(tag for tag in tags if tag in self._tags[key])

    def called(self, names: Iterable[str]) -> set[str]:
        """Those of an endpoint's names by which calls mean them, not by the key of a model."""
        return {name for name in names if not is_ours(name) and name not in self._naming.bases}


def _number(made: Made) -> int:
    return made.number
