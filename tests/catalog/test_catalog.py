"""Which models are served: the config's under their ids and aliases, and where wanted what endpoints hold."""

import random

import msgspec
import pytest

from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.resident import HeldModel
from ai_gateway.balancing.settings import PoolSettings
from ai_gateway.catalog.active import CurrentConfig, prepare
from ai_gateway.catalog.catalog import Catalog
from ai_gateway.config.loading import parse
from ai_gateway.config.types import Config
from ai_gateway.wire.address import Address


def fleet_with(*models: HeldModel) -> Fleet:
    """One endpoint that holds these."""
    fleet = Fleet(lambda: 0.0, random.Random(1))
    (endpoint,), _ = fleet.apply([Address("a")])
    fleet.saw_models(endpoint, {model.name.lower(): model for model in models})
    return fleet


def local(name: str) -> HeldModel:
    return HeldModel(name, "sha256:1", 1, 0)


EMPTY = fleet_with()
CODER = parse(b"models: {coder: {ollama: codellama, version: 13b, max_tokens: 2048, aliases: [code, c]}, llama3: }")


def test_a_model_is_found_by_its_id_and_its_aliases() -> None:
    """All lead to the same entry, which knows Ollama's name."""
    catalog = Catalog(CODER)
    entry = catalog.find("coder", EMPTY)
    assert entry is not None
    assert (entry.id, entry.name, entry.ollama_name, entry.version) == (
        "coder",
        "codellama:13b",
        "codellama:13b",
        "13b",
    )
    assert entry.max_tokens == 2048
    assert catalog.find("code", EMPTY) is entry
    assert catalog.find("c", EMPTY) is entry


def test_a_model_without_an_ollama_name_uses_its_id() -> None:
    """With the tag `latest`."""
    entry = Catalog(CODER).find("llama3", EMPTY)
    assert entry is not None
    assert (entry.name, entry.version) == ("llama3:latest", "latest")


@pytest.mark.parametrize(
    ("asked", "model_id"),
    [
        ("Coder", "coder"), ("coder:13b", "coder"), ("CODE:13B", "coder"), ("library/c", "coder"),
        ("llama3:latest", "llama3"), ("LLAMA3", "llama3"), ("registry.ollama.ai/library/llama3", "llama3"),
    ],
)  # fmt: skip
def test_a_name_is_read_as_ollama_reads_it(asked: str, model_id: str) -> None:
    """Ids and aliases, whatever the case, with their model's own tag."""
    entry = Catalog(CODER).find(asked, EMPTY)
    assert entry is not None
    assert entry.id == model_id


@pytest.mark.parametrize(
    "asked",
    [
        "coder ", "coder:latest", "codellama", "codellama:13b", "", "co\u212aer", "c\u00f6der", "../coder",
        "http://evil/coder", "llama3:8b", "llama3:cloud", "evil/llama3", "library/library/llama3", "\uff43oder",
    ],
)  # fmt: skip
def test_nothing_else_is_found(asked: str) -> None:
    """Ollama's own names are not served by themselves."""
    assert Catalog(CODER).find(asked, fleet_with(local("codellama:13b"), local("llama3:latest"))) is None


def test_settings_of_the_model_override_the_sections() -> None:
    """What the model does not say is as for all."""
    config = parse(
        b"balancing: {slots: 4}\nqueue: {max_waiting: 9}\ntimeouts: {queue: 7s, idle: 8s}\n"
        b"models: {a: {slots: 2, max_waiting: 0, timeouts: {idle: 1s}}, b: }"
    )
    a, b = (Catalog(config).find(name, EMPTY) for name in "ab")
    assert a is not None
    assert b is not None
    assert [a.pool.slots, a.pool.max_waiting, float(a.timeouts.idle), float(a.timeouts.queue)] == [2, 0, 1, 7]
    assert [b.pool.slots, b.pool.max_waiting, float(b.timeouts.idle), float(b.timeouts.queue)] == [4, 9, 8, 7]


def test_the_list_has_every_id_and_alias() -> None:
    """In the order of the config."""
    assert [name for name, _ in Catalog(CODER).entries(EMPTY)] == ["coder", "code", "c", "llama3"]


DISCOVERING = parse(b"catalog: {discover: true}\nmodels: {llama3: }")


def test_with_discovery_models_on_endpoints_are_served_under_their_own_names() -> None:
    """With or without the tag `latest`, as Ollama itself takes it."""
    catalog, fleet = Catalog(DISCOVERING), fleet_with(local("qwen3:8b"), local("me/x:latest"))
    for asked, name in (("qwen3:8b", "qwen3:8b"), ("me/x", "me/x:latest"), ("me/x:latest", "me/x:latest")):
        entry = catalog.find(asked, fleet)
        assert entry is not None
        assert (entry.id, entry.name) == (name, name)
    assert [name for name, _ in catalog.entries(fleet)] == ["llama3", "me/x:latest", "qwen3:8b"]
    assert [entry.id for entry in catalog.models(fleet)] == ["llama3", "me/x:latest", "qwen3:8b"]


@pytest.mark.parametrize("asked", ["QWEN3:8b", "qwen3", "registry.ollama.ai/library/qwen3:8b", "qwen3:8b ", "other"])
def test_a_discovered_model_has_one_spelling(asked: str) -> None:
    """Else limits and logs would know it under many names."""
    assert Catalog(DISCOVERING).find(asked, fleet_with(local("qwen3:8b"))) is None


@pytest.mark.parametrize(
    "model", [local("gpt-oss:120b-cloud"), local("x:cloud"), msgspec.structs.replace(local("stub:8b"), is_remote=True)]
)
def test_a_cloud_model_is_never_discovered(model: HeldModel) -> None:
    """Neither by its name nor as a stub that points elsewhere."""
    fleet = fleet_with(model)
    catalog = Catalog(DISCOVERING)
    assert catalog.find(model.name, fleet) is None
    assert [name for name, _ in catalog.entries(fleet)] == ["llama3"]


def test_a_cloud_model_is_served_where_the_config_lists_it() -> None:
    """You decided so in the config."""
    entry = Catalog(parse(b"models: {big: {ollama: gpt-oss, version: 120b-cloud}}")).find("big", EMPTY)
    assert entry is not None
    assert entry.name == "gpt-oss:120b-cloud"


def test_without_discovery_models_on_endpoints_are_not_served() -> None:
    """The default."""
    fleet = fleet_with(local("qwen3:8b"))
    assert Catalog(CODER).find("qwen3:8b", fleet) is None
    assert "qwen3:8b" not in dict(Catalog(CODER).entries(fleet))


def put_in_force(catalog: Catalog, fleet: Fleet) -> None:
    """As a reload does, all steps at once."""
    for _ in fleet.configure(catalog.balancing):
        pass


def test_the_settings_of_balancing_reach_the_fleet() -> None:
    """Those of a model its pool, whether a call came for it before or not."""
    fleet = fleet_with(local("llama3:latest"))
    before = fleet.pool("llama3:latest")
    config = b"models: {llama3: {slots: 3}, b: }\nbalancing: {retry_budget: 0.5}\nqueue: {max_waiting: 2}"
    put_in_force(Catalog(parse(config)), fleet)
    assert (before.settings, fleet.budget.share) == (PoolSettings(3, 3, 2), 0.5)
    assert fleet.pool("b:latest").settings == PoolSettings(1, None, 2)


def test_a_reload_changes_the_settings_of_a_discovered_models_pool() -> None:
    """At once: no call for it has to come first."""
    fleet = fleet_with(local("qwen3:8b"))
    put_in_force(Catalog(DISCOVERING), fleet)
    pool = fleet.pool("qwen3:8b")
    more = b"catalog: {discover: true}\nmodels: {llama3: }\nbalancing: {slots: 3}\nqueue: {max_waiting: 7}"
    put_in_force(Catalog(parse(more)), fleet)
    assert pool.settings == PoolSettings(3, None, 7)


def test_a_look_at_the_catalog_leaves_the_fleet_as_it_is() -> None:
    """No pool is made, exchanged or kept alive by a name that is looked up, nor by a list of all."""
    fleet = fleet_with(local("qwen3:8b"), local("me/x:latest"))
    catalog = Catalog(DISCOVERING)
    put_in_force(Catalog(parse(b"balancing: {slots: 9}")), fleet)
    pool = fleet.pool("qwen3:8b")
    before = (pool.settings, pool.used_at)
    assert catalog.find("qwen3:8b", fleet) is not None
    assert catalog.find("me/x", fleet) is not None
    assert len(list(catalog.models(fleet))) == len(list(catalog.entries(fleet))) == 3
    assert list(fleet.pools()) == [pool]
    assert (pool.settings, pool.used_at) == before


def test_a_request_keeps_the_catalog_that_it_read() -> None:
    """A reload swaps one reference."""
    current = CurrentConfig(CODER)
    before = current.now
    current.swap(prepare(Config()))
    assert before.catalog.find("coder", EMPTY) is not None
    assert current.now.catalog.find("coder", EMPTY) is None


def test_an_old_config_is_let_go_of_piece_by_piece() -> None:
    """Each of its models and rules, and what holds them: all at once they would stop every call."""
    text = "models: {a: , b: }\ncallers: [{match: {group: x}}, {match: {group: y}}]\nauth: {methods: [kubernetes]}"
    active = prepare(parse(text.encode()))
    config, parts = active.config, {id(part) for part in active.parts()}
    assert config.callers is not None
    expected = [config.models, config.callers, active.catalog.balancing.pools, *config.models.values(), *config.callers]
    assert all(id(part) in parts for part in expected)
