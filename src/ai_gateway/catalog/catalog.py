"""The models that are served: each id and alias of config.yml, and where asked for every local model there is."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

from ai_gateway.balancing.fleet import Fleet
from ai_gateway.config.beside import breathe
from ai_gateway.config.types import Config, Model, Timeouts, model_name
from ai_gateway.wire.names import canonical, is_cloud

MODELS_AT_ONCE: Final = 200  # some 0.5 ms: then others may go on
MOST_LISTED: Final = 2000  # models that are found and not configured, in lists and metrics; each can be called


class Entry(msgspec.Struct, frozen=True):
    """One served model with all its settings resolved. `name` is sent to Ollama, `canonical` compares names."""

    id: str
    name: str
    canonical: str
    version: str
    max_tokens: int | None
    slots: int  # where an endpoint does not tell
    own_slots: int | None  # at most, wherever it runs
    max_waiting: int
    timeouts: Timeouts
    aliases: tuple[str, ...] = ()
    known_as: tuple[str, ...] = ()  # every id that clients may ask for it by
    label: str = ""  # its one name in metrics: the config's id, or Ollama's name where the config has none


class Catalog:
    """Built whole from one config, never changed; a new config gives a new catalog."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._entries: dict[str, Entry] = {}
        self._named: set[str] = set()  # canonical names whose limits the config sets
        self.models: list[Entry] = []  # those of the config, each once
        for number, (model_id, model) in enumerate(config.models.items()):
            if number % MODELS_AT_ONCE == MODELS_AT_ONCE - 1:
                breathe()
            entry = _entry(config, model_id, model)
            self._named.add(entry.canonical)
            self.models.append(entry)
            self._entries.update((known_as, entry) for known_as in (model_id, *model.aliases))

    def find(self, asked: str, fleet: Fleet) -> Entry | None:
        """The model of an id or alias, spelt exactly; with `catalog.discover` also by Ollama's own name."""
        entry = self._entries.get(asked)
        if entry is None and self._config.catalog.discover:
            return self._discovered(asked, fleet)
        return entry

    def entries(self, fleet: Fleet) -> Iterator[tuple[str, Entry]]:
        """Every id that is served, aliases too, with its model."""
        yield from self._entries.items()
        if self._config.catalog.discover:
            for name in sorted(_most_held(fleet) - self._entries.keys()):
                entry = self._discovered(name, fleet)
                if entry is not None:
                    yield name, entry

    def apply_to(self, fleet: Fleet) -> None:
        """Brings the pools' limits up to this catalog; calls that wait are bound to slots that this adds."""
        for _ in self.steps_to(fleet):
            pass

    def steps_to(self, fleet: Fleet) -> Iterator[None]:
        """The same in steps, between which others may go on; one step at least."""
        yield
        fleet.named = frozenset(self._named)
        for number, entry in enumerate(self.models, 1):
            pool = fleet.pool(entry.canonical).limit(entry.slots, entry.max_waiting, entry.own_slots)
            if pool.waiting:
                pool.dispatch()
            if number % MODELS_AT_ONCE == 0:
                yield
        fleet.budget.share = self._config.balancing.retry_budget

    def _discovered(self, asked: str, fleet: Fleet) -> Entry | None:
        name = canonical(asked)
        if is_cloud(name):
            return None
        for endpoint in fleet.endpoints.values():
            held = (endpoint.held or {}).get(name)
            if held is not None and not held.is_remote and asked in (held.name, held.name.removesuffix(":latest")):
                found = _entry(self._config, asked, Model(ollama=held.name), held.name)
                if name not in self._named:
                    fleet.pool(name).limit(found.slots, found.max_waiting, found.own_slots)
                return found
        return None


def _most_held(fleet: Fleet) -> set[str]:
    """Names of models on the fleet's disks; of too many those that most endpoints hold."""
    names = Counter(held.name for endpoint in fleet.endpoints.values() for held in (endpoint.held or {}).values())
    if len(names) <= MOST_LISTED:
        return set(names)
    return set(sorted(names, key=lambda name: (-names[name], name))[:MOST_LISTED])


def _entry(config: Config, model_id: str, model: Model, label: str | None = None) -> Entry:
    name = model_name(model_id, model)
    own = {key: value for key, value in msgspec.structs.asdict(model.timeouts).items() if value is not None}
    return Entry(
        id=model_id,
        name=name,
        canonical=canonical(name),
        version=name.rpartition(":")[2],
        max_tokens=model.max_tokens,
        slots=model.slots or config.balancing.slots,
        own_slots=model.slots,
        max_waiting=config.queue.max_waiting if model.max_waiting is None else model.max_waiting,
        timeouts=msgspec.structs.replace(config.timeouts, **own) if own else config.timeouts,
        aliases=model.aliases,
        known_as=(model_id, *model.aliases) if label is None else (label, label.removesuffix(":latest")),
        label=label or model_id,
    )
