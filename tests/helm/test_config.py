"""What the chart writes into the ConfigMap is a config that the gateway takes."""

from pathlib import Path
from typing import Any

import pytest
from tests.helm.chart import ROOT
from tests.helm.running import Object, kind, rendered
from tests.helm.worlds import WORLDS, World, objects_of

from ai_gateway.config.loading import parse
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
        for name in ("tls.crt", "tls.key", "password", "ca.crt", "dsn", "key"):
            (tmp_path / name).write_text("mounted from a Secret")
        for place in ("tls", "redis", "audit", "postgresql"):
            text = text.replace(f"/etc/ai-gateway-{place}", str(tmp_path))
        assert parse(text.encode()).models


def test_without_values_it_is_the_repositorys_own() -> None:
    assert _text(objects_of(("default",))) == (ROOT / "config.yml").read_text()


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
