"""The keys that say how calls find their endpoints, and which loads there are."""

import pytest
import yaml

from ai_gateway.catalog.catalog import Catalog
from ai_gateway.config.balancing_check import MOST_WARNINGS, idle_keys
from ai_gateway.config.loading import ConfigError, parse


def refused(text: str) -> str:
    """The one reason why a config is refused."""
    with pytest.raises(ConfigError) as caught:
        parse(text.encode())
    (reason,) = caught.value.reasons
    return str(reason)


@pytest.mark.parametrize(
    ("written", "sent"),
    [("10m", "10m"), ("1h30m", "1h30m"), ("0.5h", "0.5h"), ("-1", -1), ("'-1'", -1), ("300", 300), ("-1m", "-1m")],
)
def test_keep_alive_goes_to_ollama_as_its_api_takes_it(written: str, sent: str | int) -> None:
    """A number is seconds there, and a text needs a unit (api.Duration)."""
    config = parse(f"models: {{a: {{keep_alive: {written}}}}}".encode())
    assert Catalog(config).balancing.pools["a:latest"].keep_alive == sent


@pytest.mark.parametrize("written", ["0", "0s", "1d", "5 min", "true", "m", "''", "1.5", "[1m]"])
def test_a_keep_alive_that_ollama_could_not_use_is_refused(written: str) -> None:
    """Zero would unload the model as soon as it is loaded."""
    reason = refused(f"models: {{a: {{keep_alive: {written}}}}}")
    assert reason.startswith("models.a.keep_alive: ")
    assert "write one such as 10m" in reason


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("balancing: {policy: warmest}", "balancing.policy"),
        ("balancing: {loads: sometimes}", "balancing.loads"),
        ("balancing: {starve: 0}", "balancing.starve"),
        ("balancing: {foreign: 1}", "balancing.foreign"),
        ("balancing: {affinity_headers: ['a b']}", "balancing.affinity_headers[0]"),
        ("models: {a: {policy: warmest}}", "models.a.policy"),
        ("models: {a: {resident: -1}}", "models.a.resident"),
        ("models: {a: {timeouts: {load: 0}}}", "models.a.timeouts.load"),
        ("polling: {residents_timeout: never}", "polling.residents_timeout"),
    ],
)
def test_a_mistake_is_named_with_its_path(written: str, path: str) -> None:
    assert refused(written).startswith(f"{path}: ")


def test_more_copies_than_there_is_room_for_are_a_wish() -> None:
    """How many fit is known only by and by; as many as fit are kept."""
    assert parse(b"models: {a: {resident: 64}}").models["a"].resident == 64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "models: {a: {resident: 1, policy: round_robin}}",
            "resident has no effect: the gateway loads no model, since its",
        ),
        ("models: {a: {keep_alive: 5m}}\nbalancing: {loads: never}", "keep_alive has no effect"),
        ("models: {a: {resident: 1, keep_alive: 5m}}\nbalancing: {policy: least_in_flight}", "resident and keep_alive"),
    ],
)
def test_keys_without_effect_are_warned_of(text: str, words: str) -> None:
    (warning,) = Catalog(parse(text.encode())).warnings
    assert str(warning).startswith(f"models.a: {words}")


def test_keys_with_effect_are_not_warned_of() -> None:
    text = b"models: {a: {resident: 1, policy: warm}, b: {}}\nbalancing: {policy: round_robin}"
    assert list(idle_keys(parse(text))) == []


def test_the_number_of_warnings_is_bounded() -> None:
    models = {f"m{number}": {"resident": 1, "policy": "round_robin"} for number in range(50)}
    assert len(list(idle_keys(parse(yaml.safe_dump({"models": models}).encode())))) == MOST_WARNINGS + 1
