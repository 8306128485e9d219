"""Pods with the labels of Ollama and no port: which of them are Ollama, and what is said of the others."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.node import Cluster
from tests.flow.waiting import until
from tests.kubernetes.objects import MODELS_MAP, OLLAMA, config_map
from tests.kubernetes.space import Space
from tests.kubernetes.test_node import OLLAMA_PODS, Outside, outside
from tests.kubernetes.watcher import config, names, watching
from tests.ollama import talk

from ai_gateway.app import Gateway

pytestmark = pytest.mark.cluster

Json = dict[str, Any]
NOBODY = 9  # the discard port: it refuses connections
PORTS = f"declares no port named 'http' and no port {NOBODY}"

MESH: Json = {"name": "istio-proxy", "image": "x", "ports": [{"name": "http-envoy-prom", "containerPort": 15090}]}
ELSEWHERE: Json = {"name": "ollama", "image": "x", "env": [{"name": "OLLAMA_HOST", "value": "0.0.0.0:7"}]}


def pod(name: str, owner: str | None, *containers: Json, annotations: Json | None = None) -> Json:
    """A pod of such an owner; without a word of its containers one that declares no port."""
    owners = [{"apiVersion": "apps/v1", "kind": owner, "name": "x", "uid": "u1", "controller": True}] if owner else []
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": OLLAMA, "ownerReferences": owners, "annotations": annotations or {}},
        "spec": {"nodeName": "node-1", "containers": list(containers or [{"name": "ollama", "image": "x"}])},
    }


PODS = (
    pod("deployment", "ReplicaSet"),
    pod("stateful", "StatefulSet", ELSEWHERE),
    pod("daemon", "DaemonSet", MESH, {"name": "ollama", "image": "x"}),
    pod("pulling", "Job"),
    pod("bare", None),
    pod("test-connection", None, annotations={"helm.sh/hook": "test-success"}),
)


def left_out(gateway: Gateway) -> dict[str, tuple[int, tuple[str, ...]]]:
    """How many for each reason, and their names."""
    return {group.reason: (group.count, group.pods) for group in gateway.discovery.status().left_out}


async def test_pods_that_are_kept_running_are_found_and_those_that_end_are_not(space: Space, tmp_path: Path) -> None:
    """As the API server sends them: a Deployment by `kubectl create`, a Job that pulls models, the chart's own test."""
    for number, content in enumerate(PODS):
        await asyncio.to_thread(space.write, "pods", content)
        await asyncio.to_thread(space.set_status, content["metadata"]["name"], f"127.1.0.{number + 1}")
    async with watching(tmp_path, space.kubeconfig(tmp_path), config(port=NOBODY)) as gateway:
        await until(lambda: names(gateway) == {"deployment", "stateful", "daemon"})
        places = {address.authority for address in gateway.fleet.endpoints}
        assert places == {"127.1.0.1:9", "127.1.0.2:7", "127.1.0.3:9"}
        assert left_out(gateway) == {
            f"{PORTS}, and the gateway assumes none for a pod of a Job": (1, (f"{space.name}/pulling",)),
            f"{PORTS}, and the gateway assumes none for a pod that nothing keeps running": (1, (f"{space.name}/bare",)),
            f"{PORTS}, and the gateway assumes none for a Helm hook": (1, (f"{space.name}/test-connection",)),
        }
        await asyncio.to_thread(space.delete_pod, "deployment")
        await until(lambda: left_out(gateway).get("is being deleted") == (1, (f"{space.name}/deployment",)))


async def test_labels_that_no_pod_has_are_named_with_the_namespace(space: Space, tmp_path: Path) -> None:
    await asyncio.to_thread(space.write, "pods", PODS[0])
    settings = config(label_selector="app=llm")
    async with watching(tmp_path, space.kubeconfig(tmp_path), settings) as gateway:
        await until(lambda: gateway.discovery.status().hint)
        standing = gateway.discovery.status()
        assert f"no pod in namespace {space.name} has the labels app=llm" in str(standing.hint)
        assert (standing.selector, standing.namespaces) == ("app=llm", (space.name,))
        assert standing.reason is None


SIMULATE = ("ai-gateway", "simulate", "--listen", "0.0.0.0:11434", "--models", "llama3:latest")

# What has the labels of the Deployment beside it, and is no Ollama. They sleep, so that all of them are ready.
OTHERS = """
apiVersion: batch/v1
kind: Job
metadata: {name: pulling}
spec:
  template:
    metadata: {labels: {app: ollama}}
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers: [{name: ollama, image: %(image)s, imagePullPolicy: Never, command: [sleep, "600"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: bare, labels: {app: ollama}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: ollama, image: %(image)s, imagePullPolicy: Never, command: [sleep, "600"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: test-connection, labels: {app: ollama}, annotations: {helm.sh/hook: test}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers: [{name: wget, image: %(image)s, imagePullPolicy: Never, command: [sleep, "600"]}]
"""


def discovering(**kubernetes: str) -> str:
    """A ConfigMap that says where to look."""
    content = {"models": {"llama3": None}, "discovery": {"kubernetes": kubernetes}}
    return yaml.safe_dump(config_map(yaml.safe_dump(content)))


async def test_a_deployment_by_kubectl_create_takes_calls_and_what_ends_does_not(
    cluster: Cluster, tmp_path: Path
) -> None:
    """By its label, and through a Service by `kubectl expose`, whose port has no name."""
    image = cluster.image("simulator")
    with outside(cluster, tmp_path, "undeclared", ["--configmap", MODELS_MAP]) as now:
        await now.kubectl("create", "deployment", "ollama", f"--image={image}", "--", *SIMULATE)
        await now.kubectl("apply", "-f", "-", input=OTHERS % {"image": image})
        await asyncio.to_thread(cluster.wait_for_rollout, "ollama", now.namespace)
        wait = ["wait", "pod", "--selector=app=ollama", "--for=condition=Ready", "--timeout=60s"]
        await now.kubectl(*wait)

        await now.kubectl("apply", "-f", "-", input=discovering())
        now.gateway.start()
        hint = (await discovery_field(now, "hint"))["hint"]
        assert f"no pod in namespace undeclared has the labels {OLLAMA_PODS}" in hint

        await now.kubectl("apply", "-f", "-", input=discovering(label_selector="app=ollama"))
        await talk.until(lambda: leaves_out(now, 3))
        groups = (await now.health())["discovery"]["left_out"]
        assert {pod for group in groups for pod in group["pods"] if not pod.startswith("undeclared/pulling-")} == {
            "undeclared/bare",
            "undeclared/test-connection",
        }
        await answers(now)

        await now.kubectl("delete", "job/pulling", "pod/bare", "pod/test-connection")  # a Service would take them
        await now.kubectl("expose", "deployment", "ollama", "--port=80", "--target-port=11434")
        await now.kubectl("apply", "-f", "-", input=discovering(mode="endpointslices", service="ollama"))
        await talk.until(lambda: says(now, "source", "kubernetes endpoint slices"))
        await answers(now)


async def discovery_field(now: Outside, key: str) -> Json:
    """What health says of discovery, once it says this."""
    await talk.until(lambda: says(now, key))
    discovery: Json = (await now.health())["discovery"]
    return discovery


async def says(now: Outside, key: str, value: object = None) -> bool:
    """Whether health says this of discovery, or anything."""
    found = (await now.health())["discovery"][key]
    return bool(found) if value is None else found == value


async def leaves_out(now: Outside, count: int) -> bool:
    """Whether so many pods are left out."""
    return bool(sum(group["count"] for group in (await now.health())["discovery"]["left_out"]) == count)


async def answers(now: Outside) -> None:
    """One pod takes calls, and it is that of the Deployment."""
    await talk.until(lambda: now.sees(1))
    (pod,) = await now.pods()
    assert pod.startswith("ollama-")
    await talk.until(lambda: is_ready(now))


async def is_ready(now: Outside) -> bool:
    """Whether the model is served: the pod was asked at its port."""
    return bool((await now.health())["models"]["llama3"]["state"] == "ready")
