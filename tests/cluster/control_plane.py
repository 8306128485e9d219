"""A real Kubernetes API without a node: etcd and kube-apiserver as two processes on loopback, ready in four seconds.

Pods exist as soon as somebody writes them, and are in the state that somebody writes; nothing runs. RBAC is on.
"""

import json
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from tests.cluster.binaries import binary
from tests.cluster.configuration import flags
from tests.cluster.credentials import Credentials
from tests.cluster.part import Part
from tests.ports import free_port

SERVICE_SUBNET = "10.96.0.0/24"  # only written into Services here; nothing routes to it
CALL_SECONDS = 30.0


class ControlPlane:
    """etcd and kube-apiserver with all their state in one folder; any number of them run side by side.

    `admin_kubeconfig` may do everything. Changes with every outage that a test asks for.
    """

    def __init__(self, folder: Path) -> None:
        etcd_port, api_port = free_port(), free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.url = f"https://127.0.0.1:{api_port}"
        self._etcd_url = f"http://127.0.0.1:{etcd_port}"
        self._credentials = Credentials(folder, self.url)
        self._credentials.write(["127.0.0.1"])
        self.ca_file = self._credentials.ca_file
        self.admin_token = self._credentials.token("admin")
        self.admin_kubeconfig = self._credentials.kubeconfig("admin.kubeconfig", self.admin_token)
        values = {"folder": folder, "etcd_port": etcd_port, "api_port": api_port, "service_subnet": SERVICE_SUBNET}
        apiserver = [*flags("kube-apiserver.flags", values), *flags("kube-apiserver-alone.flags", values)]
        self._etcd = Part("etcd", [str(binary("etcd")), *flags("etcd.flags", values)], folder, self._etcd_is_ready)
        self._apiserver = Part(
            "kube-apiserver", [str(binary("kube-apiserver")), *apiserver], folder, self._apiserver_is_ready
        )
        self._etcd_client = httpx.Client(base_url=self._etcd_url, trust_env=False, timeout=CALL_SECONDS)
        self.client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.admin_token}"},
            verify=ssl.create_default_context(cafile=str(self.ca_file)),
            trust_env=False,
            timeout=CALL_SECONDS,
        )

    def __repr__(self) -> str:
        return f"Kubernetes API at {self.url}, kubeconfig {self.admin_kubeconfig}"

    def __enter__(self) -> Self:
        try:
            self._etcd.start()
            self._apiserver.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends both processes at once: nothing of them is kept, and a polite end waits for open watches."""
        self._apiserver.kill()
        self._etcd.kill()
        self.client.close()
        self._etcd_client.close()

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        """What kubectl prints, run as the admin; `input` is its standard input. Its words on stderr if it fails."""
        return kubectl(self.admin_kubeconfig, *arguments, input=input)

    def kubeconfig_for(self, token: str) -> Path:
        """A kubeconfig with that bearer token; the same path for the same token."""
        return self._credentials.kubeconfig(f"{abs(hash(token)):x}.kubeconfig", token)

    def service_account_token(self, namespace: str, name: str, seconds: int = 3600, audience: str | None = None) -> str:
        """A token of an existing ServiceAccount from the TokenRequest API, which refuses less than 600 seconds.

        Without an audience it is for the API server itself.
        """
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        audiences = {} if audience is None else {"audiences": [audience]}
        reply = self.client.post(path, json={"spec": {"expirationSeconds": seconds, **audiences}})
        token: str = _said(reply)["status"]["token"]
        return token

    def kill_apiserver(self) -> None:
        """An outage: connections end without a word, and new ones are refused."""
        self._apiserver.kill()

    def start_apiserver(self) -> None:
        """The end of an outage: the same address, the same objects, nothing remembered of older watches."""
        self._apiserver.start()

    def pause_apiserver(self) -> None:
        """Connections stay open, and nothing is answered on them."""
        self._apiserver.pause()

    def resume_apiserver(self) -> None:
        """It goes on where it was paused."""
        self._apiserver.resume()

    def compact_etcd(self) -> None:
        """Forgets all old versions, as Kubernetes does every few minutes: a watch from an old resourceVersion is told
        410 Gone. The API server's own memory of them must go too, so it is killed and started again."""
        self._apiserver.kill()
        ask = {"key": "AA==", "range_end": "AA==", "limit": 1}  # one NUL byte as both: every key there is
        revision = _said(self._etcd_client.post("/v3/kv/range", json=ask))["header"]["revision"]
        _said(self._etcd_client.post("/v3/kv/compaction", json={"revision": revision, "physical": True}))
        self._apiserver.start()

    def _etcd_is_ready(self) -> bool:
        return _answers(self._etcd_client, "/health")

    def _apiserver_is_ready(self) -> bool:
        return _answers(self.client, "/readyz")


def kubectl(kubeconfig: Path, *arguments: str, input: str | None = None) -> str:
    """What kubectl prints. AssertionError with what it says on stderr if it fails."""
    command = kubectl_command(kubeconfig, *arguments)
    ended = subprocess.run(command, input=input, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"kubectl {' '.join(arguments)}: {ended.stderr}"
    return ended.stdout


def kubectl_command(kubeconfig: Path, *arguments: str) -> list[str]:
    """The command line of a kubectl that uses that kubeconfig, whatever `$KUBECONFIG` says."""
    cache = kubeconfig.parent / "kubectl-cache"  # not in the user's home; a port's next API server is another one
    return [str(binary("kubectl")), f"--kubeconfig={kubeconfig}", f"--cache-dir={cache}", *arguments]


def _answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == 200
    except httpx.TransportError:
        return False


def _said(reply: httpx.Response) -> Mapping[str, Any]:
    assert reply.is_success, reply.text
    said: Mapping[str, Any] = json.loads(reply.content)
    return said
