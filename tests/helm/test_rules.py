"""Rules of our own for everything that the chart renders."""

import json
from collections import Counter
from collections.abc import Iterator

import pytest
import yaml
from tests.cluster.control_plane import ControlPlane
from tests.helm.pods import Pod, gateways, pods, selects
from tests.helm.running import kind, rendered
from tests.helm.worlds import WORLDS, World, objects_of

pytestmark = pytest.mark.cluster
every_world = pytest.mark.parametrize("world", WORLDS, ids="+".join)


def _all_pods() -> Iterator[Pod]:
    """Each once, however many worlds make it."""
    seen = set()
    for world in WORLDS:
        for pod in pods(objects_of(world)):
            written = json.dumps(pod.spec, sort_keys=True)
            if written not in seen:
                seen.add(written)
                yield pod


def test_every_pod_passes_the_restricted_level(judge: ControlPlane) -> None:
    """Kubernetes' own admission says so: each pod is made, as far as a dry run goes, where nothing else may be."""
    judge.kubectl("create", "namespace", "strict")
    judge.kubectl("label", "namespace", "strict", "pod-security.kubernetes.io/enforce=restricted")
    for account in ("default", "llm", "prepared", "ai-gateway-ollama", "llm-gateway"):
        judge.kubectl("create", "serviceaccount", account, "--namespace=strict")
    made = [_as_pod(pod, number) for number, pod in enumerate(_all_pods())]
    judge.kubectl("apply", "--dry-run=server", "--filename=-", input=yaml.safe_dump_all(made))


def _as_pod(pod: Pod, number: int) -> dict[str, object]:
    claims = [{"name": "models", "emptyDir": {}}] if pod.maker.startswith("StatefulSet") else []
    volumes = {volume["name"]: volume for volume in [*claims, *pod.spec.get("volumes", [])]}
    spec = {**pod.spec, "volumes": list(volumes.values())}
    spec.pop("runtimeClassName", None)  # none is defined there
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"pod-{number}", "namespace": "strict", "labels": dict(pod.labels)},
        "spec": spec,
    }


@every_world
def test_every_container_reads_its_root_only_and_has_a_bounded_image(world: World) -> None:
    for pod in pods(objects_of(world)):
        for container in pod.containers:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, (pod, container["name"])
            image = container["image"]
            assert "@sha256:" in image or ":" in image.rpartition("/")[2], image
            assert not image.endswith(":latest")


@every_world
def test_no_environment_names_a_variable_twice(world: World) -> None:
    for pod in pods(objects_of(world)):
        for container in pod.containers:
            names = Counter(variable["name"] for variable in container.get("env", []))
            assert set(names.values()) <= {1}, (pod, container["name"])


@every_world
def test_every_mount_has_its_volume_and_no_sub_path(world: World) -> None:
    """A file under a `subPath` never changes in a running pod."""
    for one in objects_of(world):
        claims = {claim["metadata"]["name"] for claim in one.get("spec", {}).get("volumeClaimTemplates", [])}
        for pod in pods([one]):
            volumes = {volume["name"] for volume in pod.spec.get("volumes", [])} | claims
            for mount in (mount for container in pod.containers for mount in container.get("volumeMounts", [])):
                assert mount["name"] in volumes, (pod, mount)
                assert "subPath" not in mount


@every_world
def test_no_two_objects_have_one_name_and_no_name_is_too_long(world: World) -> None:
    names = Counter(
        (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in objects_of(world)
    )
    assert set(names.values()) == {1}
    assert all(len(name) <= 63 for _, _, name in names)


@every_world
def test_services_and_budgets_select_the_gateways_and_no_test_pod(world: World) -> None:
    objects = objects_of(world)
    gateway_pods = gateways(objects)
    assert len(gateway_pods) == 1
    others = [pod for pod in pods(objects) if pod not in gateway_pods]
    for one in [*kind(objects, "Service"), *kind(objects, "PodDisruptionBudget")]:
        if one["metadata"]["name"].endswith("-pods"):
            continue  # the headless one over Ollama
        assert selects(one["spec"]["selector"], gateway_pods[0].labels), one["metadata"]["name"]
        assert not any(selects(one["spec"]["selector"], pod.labels) for pod in others)


@every_world
def test_the_services_ports_lead_to_ports_of_the_gateway(world: World) -> None:
    objects = objects_of(world)
    for service in kind(objects, "Service"):
        if not service["metadata"]["name"].endswith("-pods"):
            assert [gateways(objects)[0].port(port["targetPort"]) for port in service["spec"]["ports"]]


@every_world
def test_the_grace_period_is_longer_than_the_drain(world: World) -> None:
    for pod in gateways(objects_of(world)):
        environment = {one["name"]: one.get("value", "") for one in pod.container("gateway")["env"]}
        drain = [int(environment[f"AI_GATEWAY_DRAIN_{name}"].rstrip("s")) for name in ("DELAY", "GRACE")]
        assert pod.spec["terminationGracePeriodSeconds"] > sum(drain)


@every_world
def test_a_change_of_the_models_changes_no_pod(world: World) -> None:
    """The gateway follows its ConfigMap; no checksum of it stands in a pod. Ollama's pull list is another thing."""
    if world == ("default",):
        changed = rendered("helm4", values={"config": {"models": {"other": {}}}})
        assert [pod.spec for pod in pods(changed)] == [pod.spec for pod in pods(objects_of(world))]
    for pod in pods(objects_of(world)):
        assert not any("checksum" in key for key in (*pod.labels, *pod.spec))


@every_world
def test_a_token_is_mounted_for_the_gateway(world: World) -> None:
    """With it each gateway at least finds the others."""
    for pod in gateways(objects_of(world)):
        environment = {one["name"] for one in pod.container("gateway")["env"]}
        is_mounted = bool({"mount", "auth-kubernetes"}.intersection(world))
        assert pod.spec["automountServiceAccountToken"] is True
        assert ("AI_GATEWAY_CONFIGMAP" in environment) is not is_mounted


@every_world
def test_each_gateway_finds_itself_among_those_of_its_service(world: World) -> None:
    """By the uid of its pod; the Service that is named selects this pod, and no other pods than gateways."""
    objects = objects_of(world)
    for pod in gateways(objects):
        environment = {one["name"]: one for one in pod.container("gateway")["env"]}
        named = environment["AI_GATEWAY_PEERS_SERVICE"]["value"]
        services = [one for one in kind(objects, "Service") if one["metadata"]["name"] == named]
        (selector,) = [one["spec"]["selector"] for one in services if one["metadata"]["namespace"] == pod.namespace]
        assert selects(selector, pod.labels)
        assert all(other in gateways(objects) for other in pods(objects) if selects(selector, other.labels))
        field = environment["AI_GATEWAY_POD_UID"]["valueFrom"]["fieldRef"]
        assert field["fieldPath"] == "metadata.uid"


def test_replicas_are_left_to_the_autoscaler() -> None:
    for world in [("autoscaling",), ("keda",), ("ollama-sidecar", "autoscaling"), ("ollama-sidecar", "keda")]:
        (workload,) = [one for one in objects_of(world) if one["kind"] in ("Deployment", "StatefulSet")]
        assert "replicas" not in workload["spec"]


def test_one_replica_has_no_disruption_budget_and_two_have() -> None:
    assert not kind(objects_of(("default",)), "PodDisruptionBudget")
    assert kind(objects_of(("replicas",)), "PodDisruptionBudget")
    assert kind(objects_of(("ollama-sidecar",)), "PodDisruptionBudget")


def test_an_entry_of_the_users_environment_takes_the_place_of_the_charts() -> None:
    (pod,) = gateways(objects_of(("environment",)))
    values = {one["name"]: one.get("value") for one in pod.container("gateway")["env"]}
    assert values["AI_GATEWAY_DRAIN_GRACE"] == "60s"
    assert values["AI_GATEWAY_DRAIN_DELAY"] == "10s"
