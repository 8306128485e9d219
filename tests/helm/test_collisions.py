"""Where the user's entry and the chart's own could have one name, a list still has each name once."""

from typing import Any

import pytest
from tests.cluster.control_plane import ControlPlane
from tests.helm.judging import judged_by_server_side_apply
from tests.helm.pods import gateways, pods
from tests.helm.running import HELMS, Object, kind, refusal, rendered

pytestmark = pytest.mark.cluster
every_helm = pytest.mark.parametrize("version", HELMS)

SIDECAR = {"placement": "ollama-sidecar"}


def _given(version: str, judge: ControlPlane, values: dict[str, Any]) -> list[Object]:
    """What server-side apply takes."""
    objects = rendered(version, values=values)
    judged_by_server_side_apply(judge, objects)
    return objects


@every_helm
def test_a_pull_secret_is_named_once_and_by_either_form(judge: ControlPlane, version: str) -> None:
    values = {
        "imagePullSecrets": ["here", {"name": "both"}, None, {"name": None}],
        "global": {"imagePullSecrets": [{"name": "both"}, "everywhere", "here"]},
        "ollama": {"enabled": True},
    }
    for pod in pods(_given(version, judge, values)):
        assert [one["name"] for one in pod.spec["imagePullSecrets"]] == ["both", "everywhere", "here"], pod.maker


@every_helm
@pytest.mark.parametrize("placement", ["deployment", "ollama-sidecar"])
def test_a_volume_of_the_user_takes_the_place_of_the_charts(judge: ControlPlane, version: str, placement: str) -> None:
    values = {
        "placement": placement,
        "extraVolumes": [
            {"name": "tmp", "emptyDir": {"medium": "Memory"}},
            {"name": "more", "emptyDir": {}},
            {"name": "more", "emptyDir": {"sizeLimit": "1Gi"}},
        ],
        "extraVolumeMounts": [
            {"name": "more", "mountPath": "/var/lib/ai-gateway/"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    (pod,) = gateways(_given(version, judge, values))
    volumes = {one["name"]: one for one in pod.spec["volumes"]}
    assert len(volumes) == len(pod.spec["volumes"])
    assert volumes["tmp"]["emptyDir"] == {"medium": "Memory"}
    assert volumes["more"]["emptyDir"] == {"sizeLimit": "1Gi"}
    mounts = [(one["name"], one["mountPath"]) for one in pod.container("gateway")["volumeMounts"]]
    assert sorted(mounts) == [("config", "/etc/ai-gateway"), ("more", "/var/lib/ai-gateway/"), ("tmp", "/tmp")]


@every_helm
def test_a_variable_that_the_user_names_twice_has_the_later_value(judge: ControlPlane, version: str) -> None:
    twice = [{"name": "HOME", "value": "/a"}, {"name": "HOME", "value": "/b"}, {"name": "EMPTY", "value": None}]
    values = {"extraEnv": twice, "ollama": {"enabled": True, "extraEnv": twice}}
    for pod in pods(_given(version, judge, values)):
        for container in pod.containers:
            homes = [one["value"] for one in container.get("env", []) if one["name"] == "HOME"]
            assert homes == ([] if container["name"] == "test" else ["/b"]), pod.maker


@every_helm
def test_an_address_that_is_named_twice_has_the_names_of_both(judge: ControlPlane, version: str) -> None:
    aliases = [{"ip": "10.0.0.9", "hostnames": ["a"]}, {"ip": "fd00::9", "hostnames": ["c"]}]
    values = {"hostAliases": [*aliases, {"ip": "10.0.0.9", "hostnames": ["b", "a"]}], "ollama": {"enabled": True}}
    for pod in pods(_given(version, judge, values)):
        assert {one["ip"]: one["hostnames"] for one in pod.spec["hostAliases"]} == {
            "10.0.0.9": ["a", "b"],
            "fd00::9": ["c"],
        }


@every_helm
def test_a_handler_of_the_user_takes_the_place_of_the_probes(judge: ControlPlane, version: str) -> None:
    """Helm adds the default's handler to it, and Kubernetes takes one only."""
    values = {"livenessProbe": {"exec": {"command": ["true"]}}, "startupProbe": {"tcpSocket": {"port": "admin"}}}
    (pod,) = gateways(_given(version, judge, values))
    assert "httpGet" not in pod.container("gateway")["livenessProbe"]
    assert pod.container("gateway")["startupProbe"]["tcpSocket"] == {"port": "admin"}


@every_helm
def test_recreate_needs_no_word_about_the_rolling_update(judge: ControlPlane, version: str) -> None:
    (deployment,) = kind(_given(version, judge, {"strategy": {"type": "Recreate"}}), "Deployment")
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}


REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"extraContainers": [{"name": "gateway"}]}, ["extraContainers", '"gateway"']),
    ({"extraInitContainers": [{"name": "gateway"}]}, ["extraInitContainers", '"gateway"']),
    ({"extraContainers": [{"name": "a"}, {"name": "a"}]}, ["extraContainers", '"a"']),
    ({"extraContainers": [{"name": "a"}], "extraInitContainers": [{"name": "a"}]}, ["extraContainers", '"a"']),
    ({**SIDECAR, "extraContainers": [{"name": "ollama"}]}, ["extraContainers", '"ollama"']),
    ({**SIDECAR, "extraInitContainers": [{"name": "pull"}]}, ["extraInitContainers", '"pull"']),
    ({**SIDECAR, "extraVolumes": [{"name": "models", "emptyDir": {}}]}, ["extraVolumes", "models"]),
    ({**SIDECAR, "extraVolumes": [{"name": "ollama-tmp", "emptyDir": {}}]}, ["extraVolumes", "ollama-tmp"]),
    ({"ports": {"api": 9090}}, ["ports.admin", "ports.api"]),
    ({**SIDECAR, "ports": {"admin": 11434}}, ["discovery.port", "ports.admin"]),
    ({"extraContainers": [{"name": "a", "ports": [{"containerPort": 8080}]}]}, ["container a", "ports.api"]),
    ({"podLabels": {"app.kubernetes.io/component": "mine"}}, ["podLabels", '"gateway"']),
    ({"ollama": {"podLabels": {"app.kubernetes.io/name": "mine"}}}, ["ollama.podLabels", '"ollama"']),
]


@pytest.mark.parametrize(("values", "named"), REFUSED, ids=lambda one: "-".join(one) if isinstance(one, list) else "")
def test_where_neither_can_win_both_are_named(values: dict[str, Any], named: list[str]) -> None:
    for version in HELMS:
        said = refusal(version, values)
        assert [word for word in named if word not in said] == [], said


def test_a_container_that_comes_before_may_use_the_ports() -> None:
    before = [{"name": "a", "image": "a:1", "ports": [{"containerPort": 8080}]}]
    assert rendered(
        "helm4", values={"extraInitContainers": before, "podLabels": {"app.kubernetes.io/component": "gateway"}}
    )
