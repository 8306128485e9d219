"""Promises of the running cluster: what tests of the gateway in pods rely on."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import TypeVar

import httpx
import pytest
from tests.cluster.images import image, write_archive
from tests.cluster.node import Cluster

Answer = TypeVar("Answer")

pytestmark = pytest.mark.cluster

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
PROBE = Template((Path(__file__).parent / "probe.yaml").read_text())
CONFIG_SECONDS = 20  # the kubelet looks every two, and the API's news takes a moment
CALLS_THE_API = """
import json, ssl, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount"
trust = ssl.create_default_context(cafile=f"{folder}/ca.crt")
wish = urllib.request.Request("https://kubernetes.default/version")
wish.add_header("Authorization", "Bearer " + open(f"{folder}/token").read())
print(json.load(urllib.request.urlopen(wish, context=trust))["gitVersion"])
"""


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace under the restricted pod security standard."""
    with cluster.namespace("starter", RESTRICTED) as name:
        yield name


@pytest.fixture(scope="module")
def simulated(cluster: Cluster, namespace: str) -> list[str]:
    """The addresses of three simulated Ollama pods."""
    cluster.start_simulated("simulated", namespace, replicas=3)
    return list(cluster.pod_addresses("app.kubernetes.io/instance=simulated", namespace).values())


@pytest.fixture(scope="module")
def probe(cluster: Cluster, namespace: str) -> str:
    """The name of a pod to try things in."""
    cluster.apply(PROBE.substitute(name="probe", base_image=cluster.image("base")), namespace)
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/probe", "--timeout=30s")
    return "probe"


def test_simulated_pods_are_reached_by_their_addresses(simulated: list[str]) -> None:
    replies = [httpx.get(f"http://{address}:11434/api/version", trust_env=False) for address in simulated]
    assert [reply.status_code for reply in replies] == [200, 200, 200]


def test_simulated_pods_have_the_models_of_the_real_one(simulated: list[str]) -> None:
    models = httpx.get(f"http://{simulated[0]}:11434/api/tags", trust_env=False).json()["models"]
    assert {model["name"] for model in models} == {"tiny:latest", "plain:latest", "slow:latest", "embed:latest"}


def test_the_real_ollama_answers_with_a_model_of_the_tests(cluster: Cluster, namespace: str) -> None:
    cluster.start_ollama("real", namespace, slots=2)
    (address,) = cluster.pod_addresses("app.kubernetes.io/instance=real", namespace).values()
    asked = [{"role": "user", "content": "hello"}]
    wish = {"model": "tiny", "messages": asked, "max_tokens": 8, "temperature": 0}  # else it may say nothing
    reply = httpx.post(f"http://{address}:11434/v1/chat/completions", json=wish, timeout=60, trust_env=False)
    assert reply.json()["choices"][0]["message"]["content"]


def test_an_image_can_be_added_while_the_cluster_runs(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    added = replace(image("base"), name="docker.io/local/added:test")
    with (tmp_path / "added.tar").open("wb") as archive:
        write_archive(added, archive)
    cluster.import_archive(tmp_path / "added.tar")
    cluster.apply(PROBE.substitute(name="added", base_image=added.name), namespace)
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/added", "--timeout=30s")


def test_a_service_is_found_by_name_and_leads_to_its_pods(
    cluster: Cluster, namespace: str, simulated: list[str], probe: str
) -> None:
    assert simulated
    cluster.kubectl("-n", namespace, "expose", "deployment", "simulated", "--port=80", "--target-port=http")
    asks = "import urllib.request as r; print(r.urlopen('http://simulated/api/version', timeout=5).status)"
    said = _until(lambda: _tried(cluster, namespace, probe, "python3", "-c", asks))
    assert said == "200\n"


def test_a_native_sidecar_has_started_before_the_pods_own_container(
    cluster: Cluster, namespace: str, probe: str
) -> None:
    assert cluster.kubectl("-n", namespace, "logs", probe, "-c", "probe") == "the sidecar was first\n"


def test_a_pod_calls_the_api_with_its_token_and_trusts_its_certificate(
    cluster: Cluster, namespace: str, probe: str
) -> None:
    assert _in_pod(cluster, namespace, probe, "python3", "-c", CALLS_THE_API).startswith("v1.")


def test_a_changed_configmap_is_soon_in_its_volume(cluster: Cluster, namespace: str, probe: str) -> None:
    patch = ["--type=merge", "-p", '{"data": {"greeting": "after"}}']
    cluster.kubectl("-n", namespace, "patch", "configmap", "probe", *patch)
    _until(lambda: _in_pod(cluster, namespace, probe, "cat", "/config/greeting") == "after")


def _in_pod(cluster: Cluster, namespace: str, pod: str, *command: str) -> str:
    return cluster.kubectl("-n", namespace, "exec", pod, "-c", "probe", "--", *command)


def _tried(cluster: Cluster, namespace: str, pod: str, *command: str) -> str:
    """What it prints, or nothing if it fails: kube-proxy takes a moment to know a new Service."""
    try:
        return _in_pod(cluster, namespace, pod, *command)
    except AssertionError:
        return ""


def _until(ask: Callable[[], Answer]) -> Answer:
    deadline = time.monotonic() + CONFIG_SECONDS
    while not (answer := ask()):
        assert time.monotonic() < deadline
    return answer
