"""A release of the chart in a namespace of a real cluster."""

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.node import Cluster
from tests.helm.running import helm
from tools.chart.files import CHART

NAME = "ai-gateway-ollama"
NEXT = "next"  # another tag of the image
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
GATEWAYS = f"app.kubernetes.io/name={NAME},app.kubernetes.io/component=gateway"  # and no pod of `helm test`
WAIT_SECONDS = 120


@dataclass
class Installed:
    """The namespace, and Helm and kubectl in it."""

    cluster: Cluster
    namespace: str
    version: str = "helm4"

    def helm(self, *arguments: str, input: str | None = None) -> str:
        """What Helm prints."""
        return helm(
            self.version, *arguments, f"--namespace={self.namespace}", kubeconfig=self.cluster.kubeconfig, input=input
        )

    def install(self, *arguments: str) -> str:
        """`helm install`, until everything is ready."""
        return self.helm("install", NAME, str(CHART), "--wait", f"--timeout={WAIT_SECONDS}s", *arguments)

    def upgrade(self, *arguments: str) -> str:
        """`helm upgrade`, until everything is ready."""
        return self.helm("upgrade", NAME, str(CHART), "--wait", f"--timeout={WAIT_SECONDS}s", *arguments)

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        """kubectl in the namespace, as the admin."""
        return self.cluster.kubectl("-n", self.namespace, *arguments, input=input)

    def edit(self, config_map: str, editor: Path) -> None:
        """`kubectl edit` with a program for an editor."""
        command = self.cluster.kubectl_command("-n", self.namespace, "edit", "configmap", config_map)
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "KUBE_EDITOR": str(editor)})

    def get(self, *arguments: str) -> dict[str, Any]:
        """An object or a list as JSON."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def pods(self, selector: str = GATEWAYS) -> dict[str, dict[str, Any]]:
        """Pods that are not leaving, by name."""
        items = self.get("pods", "-l", selector)["items"]
        return {pod["metadata"]["name"]: pod for pod in items if "deletionTimestamp" not in pod["metadata"]}

    def is_ready(self, count: int, selector: str = GATEWAYS) -> bool:
        """Whether exactly so many pods are there, all ready."""
        pods = self.pods(selector).values()
        return len(pods) == count and all(_is_ready(pod) for pod in pods)

    def until(self, happens: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
        """Waits for what the cluster does."""
        deadline = time.monotonic() + seconds
        while not happens():
            assert time.monotonic() < deadline, f"not within {seconds:g} s:\n{self.kubectl('get', 'pods,events')}"
            time.sleep(0.2)

    async def soon(self, happens: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
        """The same, beside a load."""
        await asyncio.to_thread(self.until, happens, seconds)

    @property
    def url(self) -> str:
        """The Service, as this machine reaches it: by its address, through the node's rules."""
        address = self.get("service", NAME)["spec"]["clusterIP"]
        return f"http://{address}:8080"

    def job(self, name: str, program: str, seconds: int = 60) -> str:
        """What an application prints that runs to its end in a pod, with the OpenAI SDK and the URL of the Service."""
        return self.run(application(name, program, self.cluster.image("application")), seconds)

    def run(self, job: dict[str, Any], seconds: int = 60) -> str:
        """What a Job prints; its words, too, if it fails."""
        name = f"job/{job['metadata']['name']}"
        self.kubectl("apply", "-f", "-", input=json.dumps(job))
        self.until(lambda: bool(self.get(name)["status"].get("conditions")), seconds)
        printed = self.kubectl("logs", name)
        assert self.get(name)["status"].get("succeeded") == 1, printed
        return printed


def application(name: str, program: str, image: str) -> dict[str, Any]:
    """A Job that passes the restricted level."""
    context = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    container = {
        "name": "application",
        "image": image,
        "imagePullPolicy": "Never",
        "args": ["-c", program],
        "env": [
            {"name": "OPENAI_BASE_URL", "value": f"http://{NAME}:8080/v1"},
            {"name": "OPENAI_API_KEY", "value": "unused"},
        ],
        "securityContext": context,
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": {"app": name}}, "spec": pod}},
    }


@contextmanager
def installed(cluster: Cluster, namespace: str) -> Iterator[Installed]:
    """An empty namespace; it and all in it are gone when the block is left."""
    with cluster.namespace(namespace, RESTRICTED):
        now = Installed(cluster, namespace)
        try:
            yield now
        finally:
            # A namespace that is deleted with patient pods in it looks for their end only every few minutes.
            now.kubectl("delete", "deployment,statefulset,job", "--all", "--cascade=orphan")
            now.kubectl("delete", "replicaset,pod", "--all", "--grace-period=1", "--wait=true", "--timeout=60s")


def _is_ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
