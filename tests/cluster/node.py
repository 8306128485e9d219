"""A running Kubernetes with a node, as tests use it: the one of `make cluster`, or a contributor's own.

`$AI_GATEWAY_CLUSTER` may name the kubeconfig of a cluster that has the images of `python -m tests.cluster images`.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster import starting
from tests.cluster.binaries import binary
from tests.cluster.configuration import filled
from tests.cluster.control_plane import kubectl, kubectl_command
from tests.cluster.images import image_name, import_archive
from tests.cluster.layout import Layout, this_machines

EXISTING = "AI_GATEWAY_CLUSTER"
MODELS = "tiny,plain,slow,embed"
ROLLOUT_SECONDS = 60
GONE_SECONDS = 60
POLL_SECONDS = 0.05


class Cluster:
    """A cluster with a node. `logs` holds a file for each part; a contributor's own cluster has none to show."""

    def __init__(self, kubeconfig: Path, files: Layout | None = None) -> None:
        self.kubeconfig = kubeconfig
        self.logs = files.logs if files else None
        self._files = files

    def __repr__(self) -> str:
        return f"cluster of {self.kubeconfig}, logs in {self.logs}"

    @property
    def host_address(self) -> str:
        """This machine, as pods see it: what listens there they can reach."""
        assert self._files is not None, "known of a cluster that the tests have started"
        return self._files.host_address

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        """What kubectl prints, run as the admin; AssertionError with its words on stderr if it fails."""
        return kubectl(self.kubeconfig, *arguments, input=input)

    def kubectl_command(self, *arguments: str) -> list[str]:
        """The command line of such a call, for one that goes on while the test does: `logs -f`, `port-forward`."""
        return kubectl_command(self.kubeconfig, *arguments)

    def get(self, *arguments: str) -> dict[str, Any]:
        """What `kubectl get ... -o json` tells."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def apply(self, manifest: str, namespace: str = "default") -> None:
        """Applies YAML text."""
        self.kubectl("-n", namespace, "apply", "-f", "-", input=manifest)

    def wait_for_rollout(self, deployment: str, namespace: str = "default", seconds: int = ROLLOUT_SECONDS) -> None:
        """Until all its pods are the newest and ready; AssertionError with its pods and events if that takes long."""
        try:
            self.kubectl("-n", namespace, "rollout", "status", f"deployment/{deployment}", f"--timeout={seconds}s")
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self._reason(namespace)}") from failure

    def pod_addresses(self, selector: str, namespace: str = "default") -> dict[str, str]:
        """The address of each pod that is not leaving, by the pod's name."""
        pods = self.get("pods", "-n", namespace, "-l", selector)["items"]
        living = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in living if "podIP" in pod["status"]}

    def image(self, name: str) -> str:
        """What to write in a manifest for one of the images `base`, `ollama`, `simulator`, `application`."""
        return image_name(name)

    def import_archive(self, archive: Path) -> None:
        """Gives the node an image from an OCI archive, under the name that is written in there. Use a name with a
        host, such as `docker.io/local/...`, which is what the kubelet looks for."""
        assert self._files is not None, "a contributor's own cluster gets its images otherwise"
        with archive.open("rb") as content:
            import_archive(self._files.containerd_socket, lambda stream: shutil.copyfileobj(content, stream))

    def tag(self, reference: str, other: str) -> None:
        """Gives an image of the node another name as well."""
        assert self._files is not None, "a contributor's own cluster gets its images otherwise"
        ctr = [str(binary("ctr")), "-a", str(self._files.containerd_socket), "-n", "k8s.io", "images", "tag", "--force"]
        subprocess.run([*ctr, reference, other], check=True, capture_output=True)

    def start_ollama(self, name: str, namespace: str = "default", **shape: object) -> None:
        """A Deployment of the real Ollama, ready. `shape`: `replicas` 1, `slots` 1, `grace_seconds` 1, `models`, the
        folder with its models: that of the image, or one that does not exist."""
        values = {"replicas": 1, "slots": 1, "grace_seconds": 1, "models": "/models", **shape}
        self._deploy("pods/ollama.yaml", name, namespace, {"image": image_name("ollama"), **values})

    def start_simulated(self, name: str, namespace: str = "default", **shape: object) -> None:
        """A Deployment of simulated Ollama, ready. `shape`: `replicas` 1, `slots` 16, `tokens_per_second` 20,
        `answer_tokens` 40, `models` (with commas; by default the names of the real one's), `grace_seconds` 1."""
        usual = {"replicas": 1, "slots": 16, "tokens_per_second": 20, "answer_tokens": 40, "grace_seconds": 1}
        values = {**usual, "models": MODELS, **shape}
        self._deploy("pods/simulated.yaml", name, namespace, {"image": image_name("simulator"), **values})

    @contextmanager
    def without_api(self) -> Iterator[None]:
        """The API server answers nobody as long as the block lasts; connections stay open."""
        assert self._files is not None, "a contributor's own cluster is left alone"
        flag = f"--tls-cert-file={self._files.state / 'api.crt'}".encode()
        commands = {int(one.parent.name): one.read_bytes().split(b"\0") for one in Path("/proc").glob("[0-9]*/cmdline")}
        (pid,) = (pid for pid, words in commands.items() if flag in words)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextmanager
    def namespace(self, name: str, labels: Mapping[str, str] | None = None) -> Iterator[str]:
        """A namespace whose pods can be started; it and all in it are gone when the block is left."""
        wish = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}}
        self.kubectl("create", "-f", "-", input=json.dumps(wish))
        try:
            self._wait_for_service_account(name)
            yield name
        finally:
            self.kubectl("delete", "namespace", name, f"--timeout={GONE_SECONDS}s")

    def _deploy(self, file: str, name: str, namespace: str, values: Mapping[str, object]) -> None:
        self.apply(filled(file, {"name": name, **values}), namespace)
        self.wait_for_rollout(name, namespace)

    def _wait_for_service_account(self, namespace: str) -> None:
        """Pods are refused before their namespace has its ServiceAccount and the API's CA, a moment after it exists."""
        deadline = time.monotonic() + ROLLOUT_SECONDS
        wanted = ("serviceaccount/default", "configmap/kube-root-ca.crt")
        command = self.kubectl_command("-n", namespace, "get", *wanted)
        while subprocess.run(command, check=False, capture_output=True).returncode != 0:
            assert time.monotonic() < deadline, f"namespace {namespace} got no ServiceAccount"
            time.sleep(POLL_SECONDS)

    def _reason(self, namespace: str) -> str:
        return self.kubectl("-n", namespace, "get", "pods,events", "-o", "wide")


def running_cluster() -> Cluster:
    """The cluster of `$AI_GATEWAY_CLUSTER`, else that of `make cluster`. AssertionError says why there is none."""
    if existing := os.environ.get(EXISTING):
        return Cluster(Path(existing).resolve())
    files = this_machines()
    found = starting.reasons(files)
    assert not found, f"{'; '.join(found)}; run: make cluster"
    return Cluster(files.kubeconfig, files)


@contextmanager
def cluster_for_tests() -> Iterator[Cluster]:
    """The running cluster, with the images of this checkout; if none runs, one until the block is left."""
    if os.environ.get(EXISTING):
        yield running_cluster()
        return
    files = this_machines()
    is_ours = bool(starting.reasons(files))
    starting.up(files)
    try:
        yield running_cluster()
    finally:
        if is_ours:
            left = starting.down(files)
            assert not left, left
