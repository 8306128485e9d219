"""One model has one identity, whatever it is asked as: limits, rights, caps and its pool stand on it."""

import random
import timeit
from functools import partial

import pytest
from tests.cost import assert_cheap

from ai_gateway.auth.patterns import permits
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.resident import HeldModel
from ai_gateway.catalog.catalog import MOST_DISCOVERED, Catalog
from ai_gateway.config.limits import RateLimits
from ai_gateway.config.loading import parse
from ai_gateway.wire.address import Address
from ai_gateway.wire.names import ollama_name

DISCOVER = "catalog: {discover: true}\n"


def fleet_with(*endpoints: tuple[str, ...]) -> Fleet:
    """Endpoints that hold models of these names."""
    fleet = Fleet(lambda: 0.0, random.Random(1))
    new, _ = fleet.apply([Address(f"host-{number}") for number in range(len(endpoints))])
    for endpoint, names in zip(new, endpoints, strict=True):
        fleet.saw_models(endpoint, {ollama_name(name): HeldModel(name, f"sha256:{name}", 1, 0) for name in names})
    return fleet


def found(content: str, *asked: str, held: tuple[str, ...] = ()) -> list[str | None]:
    """The id that each name leads to."""
    catalog, fleet = Catalog(parse(content.encode())), fleet_with(held)
    entries = [catalog.find(name, fleet) for name in asked]
    return [None if entry is None else entry.id for entry in entries]


def test_an_id_has_its_own_version_for_a_tag() -> None:
    """And no other; `latest` need not be said where it is the version."""
    asked = ("llama3", "llama3:8b", "LLAMA3:8B", "library/llama3", "llama3:latest", "llama3:70b")
    assert found("models: {llama3: {version: 8b}}", *asked) == ["llama3"] * 4 + [None, None]
    assert found("models: {llama3: {version: latest}}", "llama3:latest", "Llama3:LATEST") == ["llama3", "llama3"]
    assert found("models: {'llama3:latest': }", "llama3", "Library/Llama3") == ["llama3:latest"] * 2
    assert found("models: {'llama3.2:3b': }", "LLAMA3.2:3B", "llama3.2", "llama3.2:3b:latest") == [
        "llama3.2:3b",
        None,
        None,
    ]
    assert found("models: {x: {ollama: 'llama3:8b'}}", "x:8b", "x:latest", "llama3:8b") == ["x", None, None]


def test_an_exact_name_overrides_other_spellings() -> None:
    """Then what is spelt like an id or alias, then what has a tag more or less; of equals the first."""
    content = "models: {llama3: {version: 8b}, Llama3: , 'llama3:8b': {ollama: mistral}}"
    assert found(content, "llama3", "Llama3", "llama3:8b", "LLAMA3", "Llama3:8B", "LLAMA3:LATEST") == [
        "llama3",
        "Llama3",
        "llama3:8b",
        "llama3",
        "llama3:8b",
        "Llama3",
    ]


def test_ollamas_name_of_a_model_is_that_model_where_models_are_discovered() -> None:
    """Without that it gets 404. Such a name has no other cap and no other pool."""
    models = "models: {coder: {ollama: codellama, version: 13b, max_tokens: 7}, llama3: {max_tokens: 9}}"
    asked = ("codellama:13b", "CodeLlama:13b", "registry.ollama.ai/library/codellama:13b")
    assert found(models, *asked, held=("codellama:13b",)) == [None] * 3
    assert found(DISCOVER + models, *asked, held=("codellama:13b",)) == ["coder"] * 3
    catalog, fleet = Catalog(parse((DISCOVER + models).encode())), fleet_with(("codellama:13b", "llama3:latest"))
    entry = catalog.find("llama3:latest", fleet)
    assert entry is not None
    assert entry is catalog.find("llama3", fleet)
    assert (entry.id, entry.max_tokens) == ("llama3", 9)


def test_of_two_ids_of_one_model_ollamas_name_means_the_first() -> None:
    """Whoever may not use that one may not use it by this name either."""
    content = DISCOVER + "models: {big: {ollama: llama3}, small: {ollama: llama3, max_tokens: 9}}"
    assert found(content, "llama3", "llama3:latest", "small", held=("llama3:latest",)) == ["big", "big", "small"]
    entry = Catalog(parse(content.encode())).find("llama3", fleet_with(("llama3:latest",)))
    assert entry is not None
    assert not permits((("small",),), entry.known_as)


def test_a_name_of_the_cloud_is_found_by_the_config_alone() -> None:
    content = DISCOVER + "models: {big: {ollama: gpt-oss, version: 120b-cloud}}"
    assert found(content, "gpt-oss:120b-cloud", "big:120b-cloud", "big", held=("gpt-oss:120b-cloud",)) == [
        None,
        "big",
        "big",
    ]


def test_a_discovered_model_is_one_however_endpoints_spell_it() -> None:
    """Else an endpoint could give it a new budget with every look."""
    catalog = Catalog(parse(DISCOVER.encode()))
    fleet = fleet_with(("Me/X:latest",), ("me/x:latest",))
    entries = [catalog.find(name, fleet) for name in ("Me/X", "Me/X:latest", "me/x", "me/x:latest")]
    assert {entry.id for entry in entries if entry is not None} == {"me/x:latest"}
    assert None not in entries
    assert [entry.id for entry in catalog.models(fleet)] == ["me/x:latest"]


def test_the_list_has_no_second_spelling_of_an_id() -> None:
    """Ollama's name of an id that is called otherwise is one more id of it."""
    content = DISCOVER + "models: {coder: {ollama: codellama, version: 13b}, llama3: }"
    catalog, fleet = Catalog(parse(content.encode())), fleet_with(("codellama:13b", "llama3:latest", "qwen3:8b"))
    assert [name for name, _ in catalog.entries(fleet)] == ["coder", "llama3", "codellama:13b", "qwen3:8b"]
    assert [entry.id for entry in catalog.models(fleet)] == ["coder", "llama3", "qwen3:8b"]


@pytest.mark.parametrize("pattern", ["coder", "code", "coder:13b", "codellama:13b", "codellama*", "*:13b", "c*e"])
def test_a_pattern_fits_a_model_by_any_of_its_names(pattern: str) -> None:
    content = "models: {coder: {ollama: codellama, version: 13b, aliases: [code]}}"
    entry = Catalog(parse(content.encode())).find("coder", fleet_with())
    assert entry is not None
    assert permits(((pattern,),), entry.known_as)
    assert not permits(((pattern,), ("llama3",)), entry.known_as)


def test_with_discovery_limits_may_use_any_name_of_a_model() -> None:
    """They are the model's: nobody gets rid of them by another name of it."""
    models = "models: {coder: {ollama: codellama, version: 13b, aliases: [code]}}\n"
    for name in ("coder", "code", "CODER:13b", "codellama:13b"):
        config = parse(f"{DISCOVER}{models}limits: {{models: {{'{name}': {{rpm: 1}}}}}}".encode())
        limits = Catalog(config).limits
        assert limits is not None
        assert limits.models == {"coder": RateLimits(rpm=1)}
    config = parse(f"{DISCOVER}limits: {{models: {{Me/X: {{rpm: 1}}}}}}".encode())
    limits = Catalog(config).limits
    assert limits is not None
    assert limits.models == {"me/x:latest": RateLimits(rpm=1)}


def test_usage_before_startup_has_the_same_identity() -> None:
    """No endpoint has listed its models yet."""
    catalog = Catalog(parse((DISCOVER + "models: {coder: {ollama: codellama, version: 13b}}").encode()))
    asked = ("CODER", "codellama:13b", "qwen3:8b", "Me/X")
    assert [catalog.identity(name) for name in asked] == ["coder", "coder", "qwen3:8b", "me/x:latest"]
    assert Catalog(parse(b"models: {coder: }")).identity("qwen3:8b") is None


def test_requested_names_are_never_cached() -> None:
    """Nor what endpoints hold without number."""
    catalog = Catalog(parse((DISCOVER + "models: {llama3: }").encode()))
    for number in range(MOST_DISCOVERED + 2):
        name = f"m{number}:latest"
        assert catalog.find(name, fleet_with((name,))) is not None
        assert catalog.find(f"unknown-{number}", EMPTY) is None
    assert len(catalog._discovered) <= MOST_DISCOVERED


EMPTY = fleet_with()


def test_a_name_is_found_quickly() -> None:
    """Every call asks: an id is one lookup, another spelling some microseconds."""
    catalog = Catalog(parse((DISCOVER + "models: {llama3: }").encode()))
    fleet = fleet_with(("qwen3:8b",))
    for asked, most_us in (("llama3", 5), ("LLAMA3", 30), ("qwen3:8b", 80)):
        find = partial(catalog.find, asked, fleet)
        assert_cheap(partial(timeit.timeit, find, number=1000), most_us / 1000)
