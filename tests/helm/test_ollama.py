"""Ollama of the chart's own: what it pulls, where it is found, and how much of a node it may take."""

from typing import Any

import pytest
import yaml
from tests.cluster.control_plane import ControlPlane
from tests.helm.pods import Pod, gateways, pods
from tests.helm.releases import Release
from tests.helm.running import HELMS, Object, kind, rendered

from ai_gateway.config.loading import parse
from ai_gateway.config.types import model_name

pytestmark = pytest.mark.cluster

MODELS: dict[str, dict[str, Any]] = {
    "llama3": {},
    "llama3.2:3b": {},
    "qwen3:8b": {"version": "14b"},  # a tag in the id goes before
    "coder": {"ollama": "codellama", "version": "13b", "aliases": ["code"]},
    "tagged": {"ollama": "codellama:7b"},
    "hf": {"ollama": "hf.co/bartowski/Llama-3.2-1B-GGUF:Q4_K_M"},
    "hf-latest": {"ollama": "hf.co/bartowski/Llama-3.2-1B-GGUF"},
    "ours": {"ollama": "registry.example:5000/team/model"},
    "ours-tagged": {"ollama": "registry.example:5000/team/model:v2"},
    "team/model": {"version": "v3"},
    "Upper:Case": {},
    "again": {"ollama": "llama3"},
}
SIZES = [
    (None, 2 << 30),
    ("512MiB", 512 << 20),
    ("1GB", 10**9),
    ("3GiB", 3 << 30),
    ("2000000KiB", 2000000 << 10),
    ("700KB", 700_000),
    (123_456_789, 123_456_789),
    ("5000000B", 5_000_000),
]
UNITS = {"Mi": 1 << 20, "Gi": 1 << 30}


def _ollama(objects: list[Object]) -> Pod:
    (pod,) = (one for one in pods(objects) if one.maker.startswith("StatefulSet/"))
    return pod


def _pulled(objects: list[Object]) -> list[str]:
    arguments: list[str] = _ollama(objects).container("pull")["args"]
    return arguments[2:]  # behind the script and its name


def _limit(pod: Pod, volume: str) -> int:
    """Bytes."""
    (found,) = (one for one in pod.spec["volumes"] if one["name"] == volume)
    text = found["emptyDir"]["sizeLimit"]
    return int(text[:-2]) * UNITS[text[-2:]]


@pytest.mark.parametrize("placed", [{"ollama": {"enabled": True}}, {"placement": "ollama-sidecar"}], ids=str)
@pytest.mark.parametrize("version", HELMS)
def test_models_are_pulled_by_the_names_that_the_gateway_asks_for(version: str, placed: dict[str, Any]) -> None:
    config = parse(yaml.safe_dump({"models": MODELS}).encode())
    asked = {model_name(name, model) for name, model in config.models.items()}
    assert "llama3.2:3b" in asked
    left = {"reconcile": {"pull": "never"}}
    pulled = _pulled(rendered(version, values={**placed, "config": {"models": MODELS, **left}}))
    assert len(pulled) == len(asked)
    assert set(pulled) == asked
    text = yaml.safe_dump({"models": MODELS})
    assert set(_pulled(rendered(version, values={**placed, "config": {"content": text, **left}}))) == asked


def test_models_that_the_values_name_for_it_are_pulled_as_they_stand() -> None:
    values = {"ollama": {"enabled": True, "pull": {"models": ["llama3.2:3b", "phi"]}}}
    assert _pulled(rendered("helm4", values=values)) == ["llama3.2:3b", "phi"]


def test_what_a_pod_writes_beside_its_claims_is_bounded() -> None:
    """One pod that fills a node's disk takes all others there with it."""
    worlds: list[dict[str, Any]] = [
        {},
        {"placement": "ollama-sidecar", "ollama": {"persistence": {"enabled": False}}},
        {"ollama": {"enabled": True, "persistence": {"enabled": False}}},
        {"audit": {"postgresql": {"existingSecret": "a"}, "key": {"existingSecret": "b"}}},
    ]
    for values in worlds:
        found = [pod for pod in pods(rendered("helm4", values=values)) if pod.spec.get("volumes")]
        assert found
        for pod in found:
            volumes = [one for one in pod.spec["volumes"] if "emptyDir" in one and one["name"] != "models"]
            assert all("sizeLimit" in one["emptyDir"] for one in volumes), pod


@pytest.mark.parametrize(("said", "bytes_"), SIZES, ids=str)
def test_the_audit_has_room_for_its_size_and_a_quarter_more(said: str | int | None, bytes_: int) -> None:
    audit = {} if said is None else {"max_size": said}
    assert parse(yaml.safe_dump({"models": {"a": {}}, "audit": audit}).encode()).audit.max_size == bytes_
    for config in ({"audit": audit}, {"content": yaml.safe_dump({"models": {"a": {}}, "audit": audit})}):
        (pod,) = gateways(rendered("helm4", values={"config": config}))
        room = _limit(pod, "audit") - bytes_ * 5 // 4
        assert 256 << 20 <= room <= 257 << 20


def test_in_front_of_postgresql_the_audit_has_room_for_its_spool() -> None:
    audit = {"postgresql": {"existingSecret": "a"}, "key": {"existingSecret": "b"}}
    config = {"audit": {"spool_size": "1GiB"}}
    (pod,) = gateways(rendered("helm4", values={"audit": audit, "config": config}))
    assert 1 << 30 < _limit(pod, "audit") < 2 << 30


def test_the_room_of_the_audit_can_be_set_and_that_of_models_is_theirs() -> None:
    """Models in the pod are those that somebody asked for, however large they are."""
    values = {
        "placement": "ollama-sidecar",
        "audit": {"sizeLimit": "12Gi"},
        "ollama": {"persistence": {"enabled": False, "size": "60Gi"}},
    }
    pod = _ollama(rendered("helm4", values=values))
    assert _limit(pod, "audit") == 12 << 30
    assert [one for one in pod.spec["volumes"] if one["name"] == "models"] == [{"name": "models", "emptyDir": {}}]


def test_models_stay_when_the_release_goes_unless_somebody_says_otherwise() -> None:
    (usual,) = kind(rendered("helm4", values={"ollama": {"enabled": True}}), "StatefulSet")
    assert usual["spec"]["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    values = {"ollama": {"enabled": True, "persistence": {"whenDeleted": "Delete"}}}
    (told,) = kind(rendered("helm4", values=values), "StatefulSet")
    assert told["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Delete"


@pytest.mark.parametrize("version", HELMS)
def test_an_upgrade_changes_what_becomes_of_the_claims_in_place(plane: ControlPlane, version: str) -> None:
    """Most of a StatefulSet cannot be changed."""
    release = Release(plane, version)
    release.install("--set=ollama.enabled=true", "--set=ollama.persistence.whenDeleted=Delete")
    uid = release.kubectl("get", "statefulset", "--output=jsonpath={.items[*].metadata.uid}")
    release.upgrade("--set=ollama.enabled=true")
    (found,) = yaml.safe_load(release.kubectl("get", "statefulset", "--output=yaml"))["items"]
    assert found["metadata"]["uid"] == uid
    assert found["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"


def test_its_own_headless_service_leads_to_its_port_whatever_discovery_calls_it() -> None:
    objects = rendered("helm4", values={"ollama": {"enabled": True}, "discovery": {"portName": "api"}})
    (headless,) = (one for one in kind(objects, "Service") if one["spec"].get("clusterIP") == "None")
    assert _ollama(objects).port(headless["spec"]["ports"][0]["targetPort"]) == 11434
