"""The pod of `helm test`, and the Job that takes it away: what the values say of them, and whom their labels reach."""

from typing import Any

import pytest
from tests.helm.pods import Pod, pods, selects
from tests.helm.running import HELMS, kind, rendered
from tests.helm.worlds import SINGLE, World, objects_of

pytestmark = pytest.mark.cluster

SCHEDULING: dict[str, Any] = {
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "edge", "operator": "Exists"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}]
            }
        },
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}
            ]
        },
    },
    "priorityClassName": "system-cluster-critical",
    "runtimeClassName": "gvisor",
}


def tried(**values: Any) -> list[Pod]:
    """The pod, and the one that the Job would make."""
    return [pod for pod in pods(rendered("helm4", values=values)) if pod.maker.endswith("-test")]


def flags(**values: Any) -> list[str]:
    """The arguments of the program in the pod behind the URL."""
    pod, _ = tried(**values)
    arguments: list[str] = pod.container("test")["args"]
    return arguments[2:]


@pytest.mark.parametrize("version", HELMS)
def test_helm_takes_away_a_pod_that_failed_and_leaves_one_that_succeeded_to_the_job(version: str) -> None:
    """Helm 3 would take that away before `--logs` asks for its lines, and fail."""
    objects = [one for one in rendered(version) if one["metadata"]["name"] == "ai-gateway-ollama-test"]
    assert [one["kind"] for one in objects] == ["Pod", "Job"]
    pod, job = (one["metadata"]["annotations"] for one in objects)
    assert pod == {
        "helm.sh/hook": "test",
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-failed",
        "helm.sh/hook-output-log-policy": "hook-succeeded,hook-failed",
    }
    assert (job["helm.sh/hook"], job["helm.sh/hook-weight"]) == ("test", "1")
    spec = objects[1]["spec"]
    assert spec["manualSelector"]
    assert spec["ttlSecondsAfterFinished"] <= 30
    assert selects(spec["selector"], objects[0]["metadata"]["labels"])


def test_both_pods_are_the_same() -> None:
    """The Job makes one of its own only where the first is gone."""
    pod, of_job = tried(**SCHEDULING)
    assert (pod.spec, pod.labels) == (of_job.spec, of_job.labels)


def test_it_runs_where_the_gateway_may_run_and_beside_whom_it_likes() -> None:
    pod, _ = tried(**SCHEDULING)
    for key in ("nodeSelector", "tolerations", "priorityClassName", "runtimeClassName"):
        assert pod.spec[key] == SCHEDULING[key]
    assert list(pod.spec["affinity"]) == ["nodeAffinity"]


def test_its_labels_annotations_and_resources_are_values() -> None:
    """None of them takes its place in the policies, or Helm's word that it is a test."""
    tests = {
        "podLabels": {"sidecar.istio.io/inject": "false", "app.kubernetes.io/component": "gateway"},
        "podAnnotations": {"a/b": "c", "helm.sh/hook": "post-install", "helm.sh/hook-delete-policy": "hook-succeeded"},
        "resources": {"limits": {"memory": "1Gi"}},
    }
    (one, *_) = (one for one in rendered("helm4", values={"tests": tests}) if one["metadata"]["name"].endswith("-test"))
    assert one["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
    assert one["metadata"]["labels"]["app.kubernetes.io/component"] == "test"
    annotations = one["metadata"]["annotations"]
    assert (annotations["a/b"], annotations["helm.sh/hook"]) == ("c", "test")
    assert "hook-failed" in annotations["helm.sh/hook-delete-policy"]
    assert one["spec"]["containers"][0]["resources"]["limits"] == {"memory": "1Gi"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ["60"]),
        ({"tests": {"timeoutSeconds": 5}}, ["5"]),
        ({"tests": {"requireEndpoints": False}}, ["60", "--without-ollama"]),
        ({"keda": {"enabled": True}}, ["60", "--without-ollama"]),
        ({"ollama": {"enabled": True}}, ["60"]),
        ({"ollama": {"enabled": True, "replicaCount": 0}}, ["60", "--without-ollama"]),
        ({"ollama": {"replicaCount": 0}}, ["60"]),  # the chart runs none: this number is about nothing
    ],
    ids=str,
)
def test_an_ollama_is_asked_for_unless_it_may_be_scaled_to_zero(values: dict[str, Any], expected: list[str]) -> None:
    assert flags(**values) == expected


@pytest.mark.parametrize("world", SINGLE, ids="+".join)
def test_no_service_budget_or_workload_takes_it_for_its_own(world: World) -> None:
    """Nor is it taken for an Ollama."""
    objects = objects_of(world)
    selectors = [one["spec"]["selector"] for one in kind(objects, "Service")]
    for other in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
        selectors += [one["spec"]["selector"] for one in kind(objects, other)]
    found = [pod for pod in pods(objects) if pod.maker.endswith("-test")]
    assert not [pod for pod in found for selector in selectors if selector and selects(selector, pod.labels)]
