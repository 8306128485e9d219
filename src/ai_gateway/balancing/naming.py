"""Which name on an endpoint stands for a model of the config, where the gateway makes names: see wire/made_names.py.

Each gateway finds it for each endpoint by what that endpoint lists and has loaded, so an endpoint changes to a new
version when its own load is done, and nothing is agreed on.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import Final

import msgspec

from ai_gateway.wire.made_names import Made, digest_part, is_ours, read_made

MODELS_AT_ONCE: Final = 500  # of those that are configured in one step
MOST_FORMER: Final = 16  # tags of earlier configs that are remembered for one model


class Shaped(msgspec.Struct, frozen=True):
    """A model of the config for which names are made: their `key`, the config's id, the tag, and the spec's hash.

    `base` is the hash of the tag as it is, the same one where nothing else is asked for.
    """

    key: str
    id: str
    tag: str
    spec: str
    base: str


class Naming:
    """All such models, for all endpoints. Changed by the fleet, with each config.

    `by_tag` has the keys by tag, those of earlier configs of this process too: after an edit calls go on to the former
    tag until there is something better. `bases` are tags that calls mean through these models alone, `plain` are those
    that they mean by themselves.
    """

    def __init__(self) -> None:
        self.by_key: Mapping[str, Shaped] = {}
        self.by_tag: dict[str, list[str]] = {}
        self.bases: frozenset[str] = frozenset()
        self.plain: Set[str] = frozenset()
        self.former: dict[str, tuple[str, ...]] = {}
        self._tags: Mapping[str, str] = {}  # by id, of the last config

    def configure(self, shaped: Mapping[str, Shaped], tags: Mapping[str, str]) -> Iterator[None]:
        """Takes a config's in steps, all at once with the last; `tags` has the tag of each id, shaped or not."""
        former: dict[str, tuple[str, ...]] = {}
        by_tag: dict[str, list[str]] = {}
        ids, plain = set(), set()
        for number, (key, one) in enumerate(shaped.items(), 1):
            earlier = (self._tags.get(one.id, one.tag), *self.former.get(key, ()))
            ids.add(one.id)
            former[key] = tuple(dict.fromkeys(tag for tag in earlier if tag != one.tag))[:MOST_FORMER]
            for tag in (one.tag, *former[key]):
                by_tag.setdefault(tag, []).append(key)
            if number % MODELS_AT_ONCE == 0:
                yield
        for number, (model_id, tag) in enumerate(tags.items(), 1):
            if model_id not in ids:
                plain.add(tag)
            if number % MODELS_AT_ONCE == 0:
                yield
        self.by_key, self.former, self._tags, self.by_tag = shaped, former, tags, by_tag
        self.bases, self.plain = frozenset(by_tag.keys() - plain), plain

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

    def kept(self, digests: Callable[[str], str | None]) -> Iterator[str]:
        """The made names that are to stay: for each model what the config asks for, what that was made of, and the
        newest other one."""
        for key, made in self.made.items():
            wanted, base = self.wanted(key, digests), self._naming.by_key[key].base
            yield from (one.name for one in [one for one in made if one != wanted][:1])
            if wanted is not None:
                yield wanted.name
                yield from (one.name for one in made if (one.spec, one.digest) == (base, wanted.digest))

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

    def others(self, name: str) -> list[str]:
        """The other versions here of the model that a made name is of, the newest first; none for any other name."""
        made = read_made(name)
        return [] if made is None else [one.name for one in self.made.get(made.key, ()) if one.name != name]

    def called(self, names: Iterable[str]) -> set[str]:
        """Those of an endpoint's names by which calls mean them, not by the key of a model."""
        return {name for name in names if not is_ours(name) and name not in self._naming.bases}


def _number(made: Made) -> int:
    return made.number
