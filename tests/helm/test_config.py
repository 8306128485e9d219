"""What the chart writes into the ConfigMap is a config that the gateway takes."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.config.pem_files import write_ca, write_pair
from tests.helm.running import HELMS, Object, kind, rendered
from tests.helm.worlds import WORLDS, World, objects_of

from ai_gateway.config.loading import parse
from ai_gateway.config.state import ConfigState
from ai_gateway.config.types import Config

pytestmark = pytest.mark.cluster


def _text(objects: list[Object]) -> str | None:
    maps = [one for one in kind(objects, "ConfigMap") if one["metadata"]["name"].endswith("-models")]
    return str(maps[0]["data"]["config.yml"]) if maps else None


def _config(values: dict[str, Any]) -> Config:
    text = _text(rendered("helm4", values=values))
    assert text is not None
    return parse(text.encode())


@pytest.mark.parametrize("world", [world for world in WORLDS if "static" not in world[0]], ids="+".join)
def test_the_gateway_takes_it(world: World, tmp_path: Path) -> None:
    text = _text(objects_of(world))
    if text is None:
        assert "existing-configmap" in world
    else:
        for name in ("password", "dsn", "key"):
            (tmp_path / name).write_text("mounted from a Secret, 32 bytes or more")
        write_pair(tmp_path)
        write_ca(tmp_path, "ca.crt")
        for place in ("tls", "redis", "audit", "postgresql"):
            text = text.replace(f"/etc/ai-gateway-{place}", str(tmp_path))
        config = parse(text.encode())
        assert config.models or config.catalog.discover


OFF = {
    "auth": {"methods": ["none"]},
    "callers": "all",
    "limits": "none",
    "audit": {"mode": "best_effort"},
    "tls": "none",
}
PULLS = {"reconcile": {"pull": "if_missing"}}


def test_without_values_it_serves_what_the_ollamas_hold_and_says_what_is_off() -> None:
    text = _text(objects_of(("default",)))
    assert text is not None
    assert yaml.safe_load(text) == {"catalog": {"discover": True}, **OFF, **PULLS}


@pytest.mark.parametrize("helm", HELMS)
@pytest.mark.parametrize(
    ("config", "discovers"),
    [
        ({}, True),
        ({"limits": {"default": {"rpm": 6}}, "auth": {"methods": ["kubernetes"]}}, True),
        ({"models": {}, "catalog": {}, "content": ""}, True),
        ({"models": {"mine": {}}}, False),
        ({"catalog": {"discover": False}}, False),
        ({"catalog": {"discover": True}}, True),
        ({"models": {"mine": {}}, "catalog": {"discover": True}}, True),
        ({"content": "models: {mine: {}}"}, False),
        ({"content": "timeouts: {queue: 1m}"}, False),
    ],
    ids=str,
)
@pytest.mark.parametrize("placement", ["deployment", "ollama-sidecar"])
def test_models_are_discovered_while_the_values_name_none(
    helm: str, config: dict[str, Any], discovers: bool, placement: str
) -> None:
    text = _text(rendered(helm, values={"config": config, "placement": placement}))
    assert text is not None
    assert parse(text.encode()).catalog.discover is discovers


@pytest.mark.parametrize("helm", HELMS)
@pytest.mark.parametrize(
    ("values", "required"),
    [
        ({}, None),
        ({"config": {"auth": {"methods": ["kubernetes"]}, "callers": []}}, "auth,callers"),
        ({"config": {"limits": {"default": {"rpm": 6}}, "audit": {"mode": "strict"}}}, "limits,audit"),
        ({"config": {"limits": {}, "audit": {}, "auth": {}, "callers": None}}, None),
        ({"config": {"limits": None, "audit": None, "auth": None}}, None),
        ({"tls": {"enabled": True, "existingSecret": "ours"}}, "tls"),
        ({"config": {"content": "auth: {methods: [kubernetes]}\nlimits: none\n"}}, "auth"),
        ({"config": {"content": "models: {a: {}}", "auth": {"methods": ["kubernetes"]}}}, "auth"),
        ({"config": {"existingConfigMap": "ours"}}, None),
        ({"config": {"existingConfigMap": "ours", "auth": {"methods": ["kubernetes"]}, "callers": []}}, "auth,callers"),
        ({"config": {"existingConfigMap": "ours", "limits": {"default": {"rpm": 6}}}}, "limits"),
        ({"config": {"existingConfigMap": "ours"}, "tls": {"enabled": True, "existingSecret": "ours"}}, "tls"),
        ({"config": {"existingConfigMap": "ours"}, "auth": {"keysSecret": {"name": "ours"}}}, "auth"),
        ({"config": {"existingConfigMap": "ours"}, "limits": {"redis": {"existingSecret": "ours"}}}, "limits"),
        ({"config": {"existingConfigMap": "ours"}, "audit": {"key": {"existingSecret": "ours"}}}, "audit"),
        ({"config": {"existingConfigMap": "ours", "require": ["auth", "limits"]}}, "auth,limits"),
        (
            {"config": {"existingConfigMap": "ours", "require": ["limits"], "auth": {"methods": ["kubernetes"]}}},
            "auth,limits",
        ),
        (
            {"config": {"require": ["limits"], "callers": [], "auth": {"methods": ["kubernetes"]}}},
            "auth,callers,limits",
        ),
        ({"config": {"require": []}, "tls": {"enabled": True, "existingSecret": "ours"}}, None),
    ],
    ids=str,
)
def test_what_the_values_turn_on_must_be_in_the_file(helm: str, values: dict[str, Any], required: str | None) -> None:
    """Also after an edit of the ConfigMap, with the next start of a pod."""
    (deployment,) = kind(rendered(helm, values=values), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert environment.get("AI_GATEWAY_REQUIRE") == required


@pytest.mark.parametrize("name", ["auth", "callers", "limits", "audit"])
async def test_what_values_turn_off_is_written_in_words(name: str) -> None:
    """Running gateways take the change."""
    before = {"auth": {"methods": ["kubernetes"]}, "callers": [], "limits": {"default": {"rpm": 1}}}
    on = {"config": {**before, "audit": {"mode": "strict"}}}
    off = {"config": {**on["config"], name: {} if name != "callers" else "all"}}
    if name == "auth":
        off["config"]["callers"] = "all"
    live = ConfigState("the test", lambda config: None)
    for values in (on, off):
        text = _text(rendered("helm4", values=values))
        assert text is not None
        assert await live.submit(text.encode()) == []


def test_models_in_the_values_take_the_place_of_those() -> None:
    config = _config({"config": {"models": {"mine": {}}, "catalog": {"discover": True}}})
    assert list(config.models) == ["mine"]
    assert config.catalog.discover


def test_large_numbers_stay_whole() -> None:
    config = _config({"config": {"queue": {"max_waiting": 1000000}, "body": {"max_bytes": 20971520}}})
    assert (config.queue.max_waiting, config.body.max_bytes) == (1000000, 20971520)


def test_the_charts_own_ollama_is_found_by_its_release() -> None:
    found = _config({"ollama": {"enabled": True}}).discovery
    assert found is not None
    assert found.kubernetes is not None
    assert (
        found.kubernetes.label_selector == "app.kubernetes.io/name=ollama,app.kubernetes.io/instance=ai-gateway-ollama"
    )


def test_a_name_for_dns_is_looked_up_in_the_namespace_of_ollama() -> None:
    found = _config({"discovery": {"mode": "dns", "namespaces": ["gpu"], "serviceName": "ollama"}}).discovery
    assert found is not None
    assert found.dns is not None
    assert found.dns.name == "ollama.gpu.svc"


def test_the_file_of_keys_is_where_the_secret_is_mounted() -> None:
    config = _config({"config": {"auth": {"methods": ["keys"]}}, "auth": {"keysSecret": {"name": "ours"}}})
    assert config.auth.keys_file == "/etc/ai-gateway-keys/keys.yaml"


def test_no_rules_at_all_and_an_empty_list_of_them_are_not_the_same() -> None:
    auth = {"methods": ["kubernetes"]}
    assert _config({"config": {"auth": auth}}).callers is None
    assert _config({"config": {"auth": auth, "callers": []}}).callers == ()
