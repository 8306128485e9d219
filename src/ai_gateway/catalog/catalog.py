"""The models that are served: each id and alias of config.yml, and where asked for every local model there is."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.resident import HeldModel
from ai_gateway.balancing.settings import FleetSettings, PoolSettings
from ai_gateway.config.balancing_check import idle_keys
from ai_gateway.config.limits import LimitsSection
from ai_gateway.config.model_names import ModelNames, warnings
from ai_gateway.config.reconcile_check import reconcile_warnings
from ai_gateway.config.threads import pausing
from ai_gateway.config.types import Config, Model, Timeouts, model_name
from ai_gateway.reconcile.plans import DEFAULT_OWNER, Plan, defaults_of, plan_of, plans_of
from ai_gateway.wire.made_names import is_ours
from ai_gateway.wire.names import has_tag, is_cloud, ollama_name

MOST_DISCOVERED: Final = 4096  # entries that are kept; beyond it all are made anew as they are asked for

MODELS_AT_ONCE: Final = 200  # some 0.5 ms: then others may go on
MOST_LISTED: Final = 2000  # models that are found and not configured, in lists and metrics; each can be called


class ServedModel(msgspec.Struct, frozen=True):
    """One served model with all its settings resolved. `name` is sent to Ollama, `ollama_name` compares names.

    `key` is that of its pool: `ollama_name`, or what its made names begin with, if the gateway makes names for it. Then
    it has a `plan`. `defaults` are JSON values for calls that write text and set none.

    `id` is what rights, limits and metrics know the model by, whatever it was asked as: the config's id, or the
    Ollama name of one that is discovered.
    """

    id: str
    name: str
    ollama_name: str
    key: str
    version: str
    max_tokens: int | None
    pool: PoolSettings
    timeouts: Timeouts
    aliases: tuple[str, ...] = ()
    known_as: tuple[str, ...] = ()  # every name that it has, for patterns: ids, and Ollama's
    plan: Plan | None = None
    defaults: Mapping[str, msgspec.Raw] = {}


class Catalog:
    """Built whole from one config and never changed; a new config gives a new catalog. It remembers what it made of
    discovered names, so that each call need not make it again.

    `limits` are the config's, those of models by the ids of their models; `balancing` is for the fleet.
    """

    def __init__(self, config: Config, owner: str = DEFAULT_OWNER) -> None:
        self._config = config
        self._names = ModelNames(config.models)
        self.owner = config.reconcile.owner or owner
        self._by_id = {entry.id: entry for entry in _entries(config, self.owner)}
        self.plans = plans_of(entry.plan for entry in self._by_id.values() if entry.plan is not None)
        self._entries: dict[str, ServedModel] = {}
        for entry in self._by_id.values():
            self._entries.update((known_as, entry) for known_as in (entry.id, *entry.aliases))
        self._discovered: dict[str, ServedModel] = {}  # by Ollama name
        self.limits = self._limits()
        self.balancing = FleetSettings(
            pools={entry.key: entry.pool for entry in self._by_id.values()},
            shaped={key: plan.shaped for key, plan in self.plans.by_key.items()},
            tags={entry.id: entry.ollama_name for entry in self._by_id.values()},
            others=_pool(config, Model()),
            retry_share=config.balancing.retry_budget,
            starve_seconds=config.balancing.starve,
            loads=config.balancing.loads,
            is_foreign=config.balancing.foreign,
        )
        self.warnings = (*warnings(self._names), *idle_keys(config), *reconcile_warnings(config))

    def find(self, asked: str, fleet: Fleet) -> ServedModel | None:
        """The model of an id or alias, see ModelNames; with `catalog.discover` also by Ollama's own name."""
        entry = self._entries.get(asked)
        return entry if entry is not None else self._read(asked, fleet)

    def _read(self, asked: str, fleet: Fleet) -> ServedModel | None:
        model_id = self._names.find(asked)
        if model_id is None and self._config.catalog.discover:
            model_id = self._names.find_by_ollama(asked)
            if model_id is None:
                return self._discover(asked, fleet)
        return None if model_id is None else self._by_id[model_id]

    def entries(self, fleet: Fleet) -> Iterator[tuple[str, ServedModel]]:
        """Every id that is served, aliases too, with its model."""
        yield from self._entries.items()
        if not self._config.catalog.discover:
            return
        for asked in sorted(_most_held(fleet)):
            entry = None if self._names.find(asked) else self._read(asked, fleet)
            if entry is not None:
                yield asked, entry

    def models(self, fleet: Fleet) -> Iterator[ServedModel]:
        """Every model once."""
        seen = set()
        for _, entry in self.entries(fleet):
            if entry.id not in seen:
                seen.add(entry.id)
                yield entry

    def parts(self) -> list[object]:
        """All that it is made of, so that it can be let go of in pieces, large containers first."""
        large = [self._by_id, self._entries, self.balancing.pools, self.balancing.shaped, self.balancing.tags]
        plans = self.plans.by_key, self.plans.by_tag
        return [*large, *plans, *self._names.parts(), *self._by_id.values(), *self.plans.by_key.values()]

    def identity(self, asked: str) -> str | None:
        """The id of the model that a name means, whether an endpoint holds it now or not."""
        return self._names.identity(asked, self._config.catalog.discover)

    def _limits(self) -> LimitsSection | None:
        section = self._config.limits
        if section is None:
            return None
        models = {self.identity(name) or name: limits for name, limits in section.models.items()}
        return msgspec.structs.replace(section, models=models)

    def _discover(self, asked: str, fleet: Fleet) -> ServedModel | None:
        """By one spelling alone, with or without the tag `latest`: as the first endpoint that holds it lists it."""
        name = ollama_name(asked)
        if is_cloud(name) or is_ours(name):
            return None
        for endpoint in fleet.endpoints.values():
            held = (endpoint.held or {}).get(name)
            if held is not None and not held.is_remote and asked in (held.name, held.name.removesuffix(":latest")):
                return self._remembered(name, held)
        return None

    def _remembered(self, name: str, held: HeldModel) -> ServedModel:
        entry = self._discovered.get(name)
        if entry is None or entry.name != held.name:
            if len(self._discovered) >= MOST_DISCOVERED:
                self._discovered.clear()
            entry = self._discovered[name] = _entry(self._config, name, Model(ollama=held.name))
        return entry


def _entries(config: Config, owner: str) -> Iterator[ServedModel]:
    """Those of the config; other threads may go on between some of them."""
    for model_id, model in pausing(config.models.items(), MODELS_AT_ONCE):
        yield _entry(config, model_id, model, owner)


def _most_held(fleet: Fleet) -> set[str]:
    """Names of models on the fleet's disks; of too many those that most endpoints hold."""
    everything = (held.name for endpoint in fleet.endpoints.values() for held in (endpoint.held or {}).values())
    names = Counter(name for name in everything if not is_ours(name))
    if len(names) <= MOST_LISTED:
        return set(names)
    return set(sorted(names, key=lambda name: (-names[name], name))[:MOST_LISTED])


def _entry(config: Config, model_id: str, model: Model, owner: str = "") -> ServedModel:
    name = model_name(model_id, model)
    plan = plan_of(config, model_id, model, owner) if owner else None
    own = {key: value for key, value in msgspec.structs.asdict(model.timeouts).items() if value is not None}
    return ServedModel(
        id=model_id,
        name=name,
        ollama_name=ollama_name(name),
        key=ollama_name(name) if plan is None else plan.shaped.key,
        version=name.rpartition(":")[2],
        max_tokens=model.max_tokens,
        pool=_pool(config, model, "" if plan is None else model_id),
        timeouts=msgspec.structs.replace(config.timeouts, **own) if own else config.timeouts,
        aliases=model.aliases,
        known_as=_known_as((model_id, *model.aliases), name),
        plan=plan,
        defaults=defaults_of(model),
    )


def _pool(config: Config, model: Model, title: str = "") -> PoolSettings:
    return PoolSettings(
        slots=model.slots or config.balancing.slots,
        own_slots=model.slots,
        max_waiting=config.queue.max_waiting if model.max_waiting is None else model.max_waiting,
        policy=model.policy or config.balancing.policy,
        resident=model.resident,
        keep_alive=_keep_alive(model.keep_alive),
        load_seconds=model.timeouts.load or config.timeouts.load,
        absence_seconds=config.queue.wait_for_endpoints,
        title=title,
    )


def _keep_alive(text: str | None) -> str | int | None:
    """As Ollama reads it: a bare number is seconds, a text needs a unit."""
    if text is None:
        return None
    return int(text) if text.lstrip("-").isdigit() else str(text)  # msgspec writes no subclass of str


def _known_as(ids: tuple[str, ...], name: str) -> tuple[str, ...]:
    tag = name.rpartition(":")[2]
    tagged = [f"{one}:{tag}" for one in ids if not has_tag(one)]
    return tuple(dict.fromkeys((*ids, *tagged, name, name.removesuffix(":latest"))))
