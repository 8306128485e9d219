"""The gateway beside something else in a pod: beside each Ollama, and beside an application."""

import asyncio
from datetime import datetime
from typing import Any

import httpx
import pytest
from tests.cluster.node import Cluster
from tests.kubernetes.figures import tell
from tests.kubernetes.talkers import Talkers
from tests.ollama.talk import until
from tests.release.installed import NAME, Installed, installed
from tools.chart.files import ROOT

pytestmark = pytest.mark.cluster

TOKENS_PER_SECOND = 20
HEADLESS = """
apiVersion: v1
kind: Service
metadata: {name: ai-gateway-ollama-pods}
spec:
  clusterIP: None
  selector: {app.kubernetes.io/name: ollama}
  ports: [{name: http, port: 11434}]
"""


def beside_ollama(release: Installed) -> list[str]:
    """Values: three Ollama pods, simulated, each with a gateway."""
    repository, _, tag = release.cluster.image("simulator-load").rpartition(":")
    values = {
        "placement": "ollama-sidecar",
        "ollama.replicaCount": 3,
        "ollama.image.repository": repository,
        "ollama.image.tag": tag,
        "ollama.image.pullPolicy": "Never",
        "ollama.numParallel": 16,
        "ollama.pull.enabled": "false",
        "ollama.persistence.enabled": "false",
        "ollama.resources.requests.cpu": "50m",
        "ollama.resources.requests.memory": "64Mi",
        "config.models.llama3.version": "latest",
    }
    return [argument for key, value in values.items() for argument in ("--set", f"{key}={value}")]


async def test_an_ollama_pod_with_its_gateway_is_deleted_under_load(
    release: Installed, request: pytest.FixtureRequest
) -> None:
    """0 cut streams and 0 failed calls, through whichever gateway and on whichever Ollama they run."""
    await asyncio.to_thread(release.install, *beside_ollama(release))
    health = await _health(release)
    addresses = sorted(endpoint["address"] for endpoint in health["endpoints"])
    assert len(addresses) == 3
    assert "http://127.0.0.1:11434" in addresses  # its own Ollama
    talkers = Talkers(release.url, "llama3")
    talkers.begin_calls(4, 0.2)
    talkers.begin_streams(18, 30 * TOKENS_PER_SECOND)
    await until(lambda: _streaming(talkers, 18))
    victim = f"{NAME}-ollama-0"
    uid = (await asyncio.to_thread(release.get, "pod", victim))["metadata"]["uid"]
    await asyncio.to_thread(release.kubectl, "delete", "pod", victim, "--wait=false")
    await talkers.close()
    assert [stream.error for stream in talkers.streams if stream.error] == []
    assert talkers.failures == []
    await release.soon(lambda: _is_replaced(release, victim, uid))
    tell(request, f"{len(talkers.streams)} streams and {talkers.answered} calls while a pod of three was deleted")


async def _streaming(talkers: Talkers, count: int) -> bool:
    return sum(stream.chunks > 1 for stream in talkers.streams) >= count


def _is_replaced(release: Installed, name: str, uid: str) -> bool:
    pods = release.pods("app.kubernetes.io/name=ollama")
    return name in pods and pods[name]["metadata"]["uid"] != uid


async def _health(release: Installed) -> dict[str, Any]:
    async with httpx.AsyncClient(trust_env=False) as client:
        content: dict[str, Any] = (await client.get(f"{release.url}/v1/health")).json()
        return content


def test_an_application_has_its_gateway_before_it_starts_and_a_job_ends_beside_it(cluster: Cluster, image: str) -> None:
    """`kubectl apply -k k8s/example`: no rights, no API server, the Ollama pods by DNS."""
    assert image.endswith(":0.1.0"), "the example names the version"
    with installed(cluster, "ai") as release:  # the example's own namespace
        cluster.start_simulated("ollama", "ai", replicas=2, models="llama3:latest", tokens_per_second=200)
        release.kubectl("apply", "-f", "-", input=HEADLESS)
        release.kubectl("apply", "-k", str(ROOT / "k8s" / "example"))
        release.kubectl("wait", "--for=condition=complete", "job/example-once", "--timeout=90s")
        assert len(release.kubectl("logs", "job/example-once", "-c", "application").split()) > 5
        release.kubectl("rollout", "status", "deployment/example", "--timeout=90s")
        (pod,) = release.pods("app.kubernetes.io/name=example").values()
        sidecar, application = pod["status"]["initContainerStatuses"][0], pod["status"]["containerStatuses"][0]
        assert sidecar["name"] == "ai-gateway"
        assert _since(sidecar) <= _since(application)
        assert pod["spec"]["automountServiceAccountToken"] is False


def _since(container: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(container["state"]["running"]["startedAt"])
