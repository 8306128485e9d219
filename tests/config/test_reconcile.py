"""What config.yml says of models on disks: what is refused with its path, what is warned of, and what has no effect."""

import pytest

from ai_gateway.catalog.catalog import Catalog
from ai_gateway.config.loading import ConfigError, parse
from ai_gateway.config.reconcile_check import reconcile_warnings


def reasons(text: str) -> list[str]:
    """Why a config is refused."""
    with pytest.raises(ConfigError) as caught:
        parse(text.encode())
    return [str(reason) for reason in caught.value.reasons]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("models: {a: {copies: some}}", "models.a.copies: "),
        ("models: {a: {copies: 0}}", "models.a.copies: "),
        ("models: {a: {pull: often}}", "models.a.pull: "),
        ("models: {a: {system: ''}}", "models.a.system: "),
        ("models: {a: {endpoints: {gpu: 1}}}", "models.a.endpoints"),
        ("models: {a: {parameters: {num_ctx: '8'}}}", "models.a.parameters.num_ctx: expected a whole number, got text"),
        ("models: {a: {parameters: {num_ctx: 0}}}", "models.a.parameters.num_ctx: "),
        ("models: {a: {parameters: {temperature: warm}}}", "models.a.parameters.temperature: "),
        ("models: {a: {parameters: {tempreature: 1}}}", "models.a.parameters: unknown key `tempreature`"),
        ("models: {a: {parameters: {stop: 3}}}", "models.a.parameters.stop: "),
        ("reconcile: {prune: 0}", "reconcile.prune: "),
        ("reconcile: {pulls: 0}", "reconcile.pulls: "),
        ("reconcile: {mode: sometimes}", "reconcile.mode: "),
        ("reconcile: {owner: ''}", "reconcile.owner: "),
        ("reconcile: {insecure_registries: [a]}", "reconcile.insecure_registries: 'a' is not in `registries`"),
        ("models: {a: {ollama: 'big:cloud', pull: if_missing}}", "models.a.pull: 'big:cloud' is a cloud model"),
        ("models: {a: {ollama: 'big:x-cloud', system: Hi}}", "models.a.system: 'big:x-cloud' is a cloud model"),
        ("models: {a: {ollama: 'r.test:5/t/m', pull: always}}", "models.a.pull: needs r.test:5 in reconcile.registries"),
        ("models: {a: {ollama: 'ai-gateway-x/m:1'}}", "models.a: 'ai-gateway-x/m:1' cannot be served"),
    ],
)
def test_a_mistake_is_refused_by_its_path(text: str, reason: str) -> None:
    assert any(one.startswith(reason) for one in reasons(text)), reasons(text)


def test_a_cloud_model_is_left_alone_where_all_others_are_pulled() -> None:
    catalog = Catalog(parse(b"models: {a: {ollama: 'big:cloud'}, b: }\nreconcile: {pull: if_missing}"))
    assert [plan.shaped.id for plan in catalog.plans.values()] == ["b"]


def test_a_registry_that_is_not_named_is_not_pulled_from() -> None:
    config = parse(b"models: {a: {ollama: 'r.test:5/t/m'}}\nreconcile: {pull: if_missing}")
    assert Catalog(config).plans == {}
    (warning,) = reconcile_warnings(config)
    assert str(warning) == "models.a: is not pulled where it is missing: r.test:5 is not in reconcile.registries"
    named = parse(b"models: {a: {ollama: 'r.test:5/t/m'}}\nreconcile: {pull: if_missing, registries: ['r.test:5']}")
    assert [plan.pull for plan in Catalog(named).plans.values()] == ["if_missing"]


def test_without_these_keys_no_model_is_followed() -> None:
    assert Catalog(parse(b"models: {a: , b: {max_tokens: 7, resident: 1}}")).plans == {}


def test_two_contexts_of_one_file_are_warned_of() -> None:
    config = parse(b"models: {a: {ollama: m, parameters: {num_ctx: 1024}}, b: {ollama: m}}")
    (warning,) = reconcile_warnings(config)
    assert str(warning).startswith("models.b.parameters.num_ctx: differs from that of 'a'")


def test_what_has_no_effect_is_warned_of() -> None:
    (warning,) = reconcile_warnings(parse(b"models: {a: {copies: 2, endpoints: {gpu: large}}}"))
    assert str(warning) == "models.a: copies and endpoints have no effect: the model is not pulled (`pull`)"
