"""What config.yml says of models on disks: what is refused with its path, what is warned of, and what has no effect."""

import pytest
import yaml

from ai_gateway.catalog.catalog import Catalog
from ai_gateway.config.loading import ConfigError, parse
from ai_gateway.config.reconcile_check import MODELS_AT_ONCE, MOST_WARNINGS, check_reconcile, reconcile_warnings
from ai_gateway.wire.made_names import is_of, read_made
from ai_gateway.wire.names import is_model_name


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
        (
            "models: {a: {ollama: 'r.test:5/t/m', pull: always}}",
            "models.a.pull: needs r.test:5 in reconcile.registries",
        ),
        ("models: {a: {copies: -1}}", "models.a.copies: "),
        ("models: {a: {copies: true}}", "models.a.copies: "),
        ("models: {a: {pull: true}}", "models.a.pull: "),
        ("models: {a: {endpoints: {gpu: true}}}", "models.a.endpoints"),
        ("models: {a: {endpoints: {gpu: null}}}", "models.a.endpoints"),
        ("models: {a: {endpoints: [gpu]}}", "models.a.endpoints: "),
        ("models: {a: {parameters: []}}", "models.a.parameters: "),
        ("models: {a: {parameters: {num_ctx: true}}}", "models.a.parameters.num_ctx: "),
        ("models: {a: {parameters: {num_ctx: 8192.5}}}", "models.a.parameters.num_ctx: "),
        ("models: {a: {parameters: {num_ctx: 99999999999999999999}}}", "models.a.parameters.num_ctx: "),
        ("models: {a: {parameters: {temperature: .nan}}}", "models.a.parameters.temperature: "),
        ("models: {a: {parameters: {temperature: .inf}}}", "models.a.parameters.temperature: "),
        ("models: {a: {parameters: {top_k: [1]}}}", "models.a.parameters.top_k: "),
        ("models: {a: {parameters: {stop: ''}}}", "models.a.parameters.stop: is empty"),
        ("models: {a: {parameters: {stop: [x, '']}}}", "models.a.parameters.stop: is empty"),
        ("models: {a: {parameters: {stop: [a, 1]}}}", "models.a.parameters.stop"),
        ("models: {a: {system: 7}}", "models.a.system: "),
        ("reconcile: {registries: ['']}", "reconcile.registries: '' is not a host"),
        ("reconcile: {registries: ['http://a']}", "reconcile.registries: 'http://a' is not a host"),
        ("reconcile: {registries: [a/b]}", "reconcile.registries: 'a/b' is not a host"),
        ("reconcile: {pull_interval: 0}", "reconcile.pull_interval: "),
        ("reconcile: {owner: 7}", "reconcile.owner: "),
        ("models: {a: {ollama: 'ai-gateway-x/m:1'}}", "models.a: 'ai-gateway-x/m:1' cannot be served"),
    ],
)
def test_a_mistake_is_refused_by_its_path(text: str, reason: str) -> None:
    assert any(one.startswith(reason) for one in reasons(text)), reasons(text)


def test_a_cloud_model_is_left_alone_where_all_others_are_pulled() -> None:
    catalog = Catalog(parse(b"models: {a: {ollama: 'big:cloud'}, b: }\nreconcile: {pull: if_missing}"))
    assert [plan.shaped.id for plan in catalog.plans.by_key.values()] == ["b"]


def test_a_registry_that_is_not_named_is_not_pulled_from() -> None:
    config = parse(b"models: {a: {ollama: 'r.test:5/t/m'}}\nreconcile: {pull: if_missing}")
    assert Catalog(config).plans.by_key == {}
    (warning,) = reconcile_warnings(config)
    assert str(warning) == "models.a: is not pulled where it is missing: r.test:5 is not in reconcile.registries"
    named = parse(b"models: {a: {ollama: 'r.test:5/t/m'}}\nreconcile: {pull: if_missing, registries: ['r.test:5']}")
    assert [plan.pull for plan in Catalog(named).plans.by_key.values()] == ["if_missing"]


def test_without_these_keys_no_model_is_followed() -> None:
    assert Catalog(parse(b"models: {a: , b: {max_tokens: 7, resident: 1}}")).plans.by_key == {}


@pytest.mark.parametrize("option", ["num_ctx: 1024", "num_batch: 64", "num_gpu: 0", "num_thread: 2", "use_mmap: false"])
def test_two_ways_to_load_one_file_are_warned_of(option: str) -> None:
    """Ollama has one runner for a file."""
    config = parse(f"models: {{a: {{ollama: m, parameters: {{{option}, top_k: 7}}}}, b: {{ollama: m}}}}".encode())
    (warning,) = reconcile_warnings(config)
    assert str(warning).startswith(f"models.b.parameters.{option.partition(':')[0]}: differs from that of 'a'")


def test_what_has_no_effect_is_warned_of() -> None:
    (warning,) = reconcile_warnings(parse(b"models: {a: {copies: 2, endpoints: {gpu: large}}}"))
    assert str(warning) == "models.a: copies and endpoints have no effect: the model is not pulled (`pull`)"


@pytest.mark.parametrize(
    "given", ["parameters: {}", "parameters: null", "parameters: {num_ctx: null}", "parameters: {stop: []}"]
)
def test_parameters_that_set_nothing_shape_nothing(given: str) -> None:
    """They are the same model as without them: no other hash, so no rollout."""
    plain, other = (
        Catalog(parse(f"models: {{a: {{pull: if_missing{more}}}}}".encode())).plans for more in ("", f", {given}")
    )
    assert plain == other


@pytest.mark.parametrize("owner", ["A b/ü", "..", "-", "x" * 128, "ns.name", "模型"])
def test_an_owner_with_any_letters_makes_names_that_ollama_takes(owner: str) -> None:
    """And that are read as names of that owner again."""
    config = parse(yaml.safe_dump({"models": {"a": {"pull": "always"}}, "reconcile": {"owner": owner}}).encode())
    (key,) = Catalog(config).plans.by_key
    made = read_made(f"{key}:0123456789-1-0123456789ab")
    assert made is not None
    assert is_of(made, owner)
    assert not is_of(made, "default")
    assert is_model_name(made.name)


def test_two_contexts_of_one_file_on_different_endpoints_are_well() -> None:
    """What the warning advises ends it; labels of other names do not keep them apart."""
    one = {"ollama": "m", "parameters": {"num_ctx": 1024}, "endpoints": {"gpu": "a"}}
    for labels, warnings in (({"gpu": "b"}, 0), ({"zone": "b"}, 1), ({"gpu": "a"}, 1)):
        models = {"a": one, "b": {"ollama": "m", "endpoints": labels}}
        config = parse(yaml.safe_dump({"models": models, "reconcile": {"pull": "if_missing"}}).encode())
        assert len(list(reconcile_warnings(config))) == warnings


def test_warnings_are_as_many_as_people_read() -> None:
    """Each model is compared with a few others, however many are made of one file."""
    models = "".join(f"  m{number}: {{ollama: m, parameters: {{num_ctx: {number + 1}}}}}\n" for number in range(3000))
    found = list(reconcile_warnings(parse(f"models:\n{models}".encode())))
    assert (len(found), str(found[-1])) == (MOST_WARNINGS + 1, "models: there are more such models")


def test_checks_of_many_models_let_other_threads_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop waits for the interpreter while a thread checks a config."""
    config = parse(("models:\n" + "".join(f"  m{number}: {{}}\n" for number in range(40_000))).encode())
    pauses: list[None] = []
    monkeypatch.setattr("ai_gateway.config.threads.pause_for_others", lambda: pauses.append(None))
    assert list(check_reconcile(config)) == []
    assert len(pauses) == 40_000 // MODELS_AT_ONCE
    assert list(reconcile_warnings(config)) == []
    assert len(pauses) == 2 * 40_000 // MODELS_AT_ONCE
