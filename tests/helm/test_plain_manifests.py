"""k8s/: the chart as plain manifests, and the sidecar for applications."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.binaries import binary
from tests.cluster.control_plane import ControlPlane
from tests.docs.pages import blocks
from tests.helm.pods import Pod, pods
from tests.helm.running import Object, kind
from tools.chart import manifests
from tools.chart.files import ROOT, metadata

from ai_gateway.config.loading import parse
from ai_gateway.telemetry import names

K8S = ROOT / "k8s"


def _built(folder: str | Path) -> list[Object]:
    """What `kubectl kustomize` makes of a folder."""
    command = [str(binary("kubectl")), "kustomize", str(K8S / folder)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [one for one in yaml.safe_load_all(text) if one]


def _sidecars(objects: list[Object]) -> list[tuple[Pod, dict[str, Any]]]:
    return [(pod, pod.container("ai-gateway")) for pod in pods(objects)]


@pytest.mark.cluster
def test_the_plain_manifests_are_those_that_the_chart_makes() -> None:
    assert manifests.FILE.read_text() == manifests.as_text(binary("helm4")), (
        "run: python -m tools.chart --manifests HELM"
    )


@pytest.mark.cluster
@pytest.mark.parametrize("folder", ["gateway", "example"])
def test_the_api_server_takes_them(judge: ControlPlane, folder: str) -> None:
    objects = _built(folder)
    given = yaml.safe_dump_all(objects)
    said = judge.kubectl("apply", "--dry-run=server", "--validate=strict", "--filename=-", input=given)
    assert len(said.splitlines()) == len(objects)


@pytest.mark.cluster
def test_the_sidecar_starts_first_and_lasts_as_long_as_the_application() -> None:
    sidecars = _sidecars(_built("example"))
    assert [pod.maker for pod, _ in sidecars] == ["Deployment/example", "Job/example-once"]
    for pod, sidecar in sidecars:
        assert pod.containers[0] == sidecar
        assert sidecar["restartPolicy"] == "Always"
        assert sidecar["startupProbe"]


@pytest.mark.cluster
def test_the_sidecar_serves_its_pod_alone_and_needs_no_token() -> None:
    objects = _built("example")
    assert not kind(objects, "Role")
    for pod, sidecar in _sidecars(objects):
        environment = {one["name"]: one["value"] for one in sidecar["env"]}
        assert environment["AI_GATEWAY_LISTEN"] == "127.0.0.1:8080"
        assert "AI_GATEWAY_CONFIGMAP" not in environment
        assert "AI_GATEWAY_PEERS_SERVICE" not in environment  # it tells others nothing, and never loads a model
        assert pod.spec["automountServiceAccountToken"] is False
        application = {one["name"]: one["value"] for one in pod.container("application")["env"]}
        assert application["OPENAI_BASE_URL"] == f"http://{environment['AI_GATEWAY_LISTEN']}/v1"


@pytest.mark.cluster
def test_the_sidecars_config_is_valid_and_looks_up_the_headless_service_beside_it() -> None:
    (config_map,) = (one for one in kind(_built("example"), "ConfigMap") if "config.yml" in one["data"])
    config = parse(config_map["data"]["config.yml"].encode())
    assert config.discovery is not None
    assert config.discovery.dns is not None
    headless = [one for one in kind(_built("gateway"), "Service") if one["spec"].get("clusterIP") == "None"]
    name, namespace = headless[0]["metadata"]["name"], headless[0]["metadata"]["namespace"]
    assert (config.discovery.dns.name, config_map["metadata"]["namespace"]) == (name, namespace)


def test_the_image_is_that_of_the_charts_version() -> None:
    texts = [file.read_text() for file in K8S.rglob("*.yaml")]
    images = {line.split()[1] for text in texts for line in text.splitlines() if line.strip().startswith("image:")}
    images |= {line.split()[2] for text in texts for line in text.splitlines() if line.strip().startswith("- image:")}
    assert images == {f"ai-gateway-ollama:{metadata()['appVersion']}"}


@pytest.mark.cluster
@pytest.mark.parametrize("file", ["keda-ollama.yaml", "hpa-ollama.yaml"])
def test_the_api_server_takes_the_autoscalers(judge: ControlPlane, file: str) -> None:
    """A ScaledObject by the definition of KEDA's own."""
    given = (K8S / "autoscaling" / file).read_text()
    assert "created" in judge.kubectl("apply", "--dry-run=server", "--validate=strict", "--filename=-", input=given)


def test_autoscalers_ask_for_metrics_that_there_are() -> None:
    """By their names; that the queries mean something, a real Prometheus says."""
    text = "".join(file.read_text() for file in (K8S / "autoscaling").iterdir())
    asked = set(re.findall(r"ai_gateway_\w+", text))
    assert asked == {names.DEMAND, names.QUEUED, names.SATURATION}


COUNTED = [
    {
        "op": "add",
        "path": "/spec/template/spec/containers/0/env/-",
        "value": {"name": "AI_GATEWAY_SERVICE", "value": "ai-gateway-ollama"},
    }
]


def _overlay(folder: Path, base: Path, **more: Any) -> Path:
    """A kustomization over another one."""
    folder.mkdir()
    made = {"resources": [os.path.relpath(base, folder.resolve())], **more}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(made))
    return folder


def _named(objects: list[Object]) -> Iterator[tuple[str, str]]:
    """Kind and name of whatever one object says of another."""
    for one in objects:
        for rule in one.get("rules", []):
            yield from (("ConfigMap", name) for name in rule.get("resourceNames", []))
        if "roleRef" in one:
            yield one["roleRef"]["kind"], one["roleRef"]["name"]
        yield from ((subject["kind"], subject["name"]) for subject in one.get("subjects", []))
    for pod in pods(objects):
        yield "ServiceAccount", pod.spec["serviceAccountName"]
        yield from (("ConfigMap", one["configMap"]["name"]) for one in pod.spec["volumes"] if "configMap" in one)
        environment = {one["name"]: one.get("value", "") for one in pod.container("gateway")["env"]}
        yield "ConfigMap", environment["AI_GATEWAY_CONFIGMAP"]
        yield "Service", environment["AI_GATEWAY_PEERS_SERVICE"]
        yield "Service", environment["AI_GATEWAY_SERVICE"]


@pytest.mark.cluster
@pytest.mark.parametrize(
    "names", [{"namePrefix": "team-"}, {"nameSuffix": "-blue"}, {"namePrefix": "a-", "nameSuffix": "-b"}], ids=str
)
def test_a_prefix_or_suffix_of_kustomize_reaches_every_name(
    judge: ControlPlane, tmp_path: Path, names: dict[str, str]
) -> None:
    """Also through a second overlay; what limits need is patched in as the chart has it."""
    counted = {"patches": [{"target": {"kind": "Deployment"}, "patch": yaml.safe_dump(COUNTED)}]}
    first = _overlay(tmp_path / "first", K8S / "gateway", namespace="llm", **names, **counted)
    objects = _built(_overlay(tmp_path / "second", first, namePrefix="more-"))
    there = {(one["kind"], one["metadata"]["name"]) for one in objects}
    named = list(_named(objects))
    assert len(named) == 12
    assert set(named) <= there
    assert {one["metadata"]["namespace"] for one in objects} == {"llm"}
    assert all(name.startswith(f"more-{names.get('namePrefix', '')}") for _, name in there)
    given = yaml.safe_dump_all(objects)
    said = judge.kubectl("apply", "--dry-run=server", "--validate=strict", "--filename=-", input=given)
    assert len(said.splitlines()) == len(objects)


@pytest.mark.cluster
def test_two_of_them_fit_into_a_namespace_as_the_docs_say(tmp_path: Path) -> None:
    """And Ollama's pods, which are both's, are still selected by Ollama's label alone."""
    shown = (block.text for block in blocks(ROOT / "docs" / "installation.md") if block.language == "yaml")
    (overlay,) = (yaml.safe_load(text) for text in shown if "nameSuffix: -blue" in text)
    assert overlay.pop("resources") == ["../ai-gateway-ollama/k8s/gateway"]
    objects = _built(_overlay(tmp_path / "over", K8S / "gateway", **overlay))
    (pod,) = pods(objects)
    selectors = [one["spec"]["selector"] for one in kind(objects, "Service")]
    assert [selector for selector in selectors if selector.get("gateway") == "blue"] == [pod.labels]
    assert {"app.kubernetes.io/name": "ollama"} in selectors
    (deployment,) = kind(objects, "Deployment")
    assert deployment["spec"]["selector"]["matchLabels"] == pod.labels


@pytest.mark.cluster
def test_the_example_goes_with_the_namespace_of_an_overlay(tmp_path: Path) -> None:
    """Its config names no namespace, so that the Service beside it is meant."""
    objects = _built(_overlay(tmp_path / "over", K8S / "example", namespace="llm"))
    assert {one["metadata"]["namespace"] for one in objects} == {"llm"}
    (config_map,) = (one for one in kind(objects, "ConfigMap") if "config.yml" in one["data"])
    config = parse(config_map["data"]["config.yml"].encode())
    assert config.discovery is not None
    assert config.discovery.dns is not None
    assert "." not in config.discovery.dns.name


@pytest.mark.cluster
def test_a_prefix_reaches_the_config_maps_of_sidecars(tmp_path: Path) -> None:
    objects = _built(_overlay(tmp_path / "over", K8S / "example", namePrefix="team-"))
    made = {one["metadata"]["name"] for one in kind(objects, "ConfigMap")}
    volumes = [volume for pod, _ in _sidecars(objects) for volume in pod.spec["volumes"]]
    named = {volume["configMap"]["name"] for volume in volumes if "configMap" in volume}
    assert named == made
    assert all(name.startswith("team-") for name in made)
