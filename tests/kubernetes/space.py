"""A namespace of one's own in a real API server, with the gateway's ServiceAccount and its rights."""

import os
import subprocess
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import yaml
from tests.cluster.binaries import binary
from tests.cluster.control_plane import ControlPlane
from tests.kubernetes.objects import ACCOUNT, Json, binding, documented_roles, pod, status

WRITERS = 8
MERGE = {"content-type": "application/merge-patch+json"}


class Space:
    """The namespace. Its methods write objects as the admin does, and wait for nothing."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.name = f"t-{uuid.uuid4().hex[:8]}"
        self._post("/api/v1/namespaces", {"metadata": {"name": self.name}})
        for account in ("default", ACCOUNT):
            self._post(self._core("serviceaccounts"), {"metadata": {"name": account}})
        for role in documented_roles():
            self.grant(role)
        self.token = plane.service_account_token(self.name, ACCOUNT)

    def kubeconfig(self, folder: Path, token_file: Path | None = None) -> Path:
        """A kubeconfig of the gateway's ServiceAccount, in this namespace; the token may stand in a file beside it."""
        content = yaml.safe_load(self.plane.kubeconfig_for(self.token).read_text())
        content["contexts"][0]["context"]["namespace"] = self.name
        if token_file is not None:
            token_file.write_text(self.token)
            content["users"][0]["user"] = {"tokenFile": str(token_file)}
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(content))
        return path

    def grant(self, role: Json) -> None:
        """Writes a Role, over one of the same name if there is one, and binds it to the gateway."""
        name = role["metadata"]["name"]
        place = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.name}"
        known = self.plane.client.get(f"{place}/roles/{name}")
        if known.status_code == 200:
            self._said(self.plane.client.patch(f"{place}/roles/{name}", json={"rules": role["rules"]}, headers=MERGE))
            return
        self._post(f"{place}/roles", role)
        self._post(f"{place}/rolebindings", binding(role, self.name))

    def new_account(self) -> str:
        """The gateway's ServiceAccount is made anew, so that its old tokens are worth nothing; a token of the new."""
        self.delete("serviceaccounts", ACCOUNT)
        self._post(self._core("serviceaccounts"), {"metadata": {"name": ACCOUNT}})
        return self.plane.service_account_token(self.name, ACCOUNT)

    def let_in(self, other: "Space") -> None:
        """Gives the gateway of another namespace the rights of this one's."""
        place = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.name}/rolebindings"
        for role in documented_roles():
            self._post(place, binding(role, other.name))

    def revoke(self, role: Json) -> None:
        """Takes everything that a Role gives."""
        self.grant({**role, "rules": []})

    def add_pod(
        self, name: str, port: int, ip: str = "127.0.0.1", is_ready: bool = True, env: Mapping[str, str] | None = None
    ) -> None:
        """A pod with its status."""
        self._post(self._core("pods"), pod(name, port, env=env))
        self.set_status(name, ip, is_ready)

    def add_pods(self, count: int, port: int) -> None:
        """Ready pods `pod-0`, `pod-1`, ... with an address of 127.0.0.0/8 each, several written at a time."""
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(lambda number: self.add_pod(f"pod-{number}", port, address_of(number)), range(count)))

    def set_status(self, name: str, ip: str = "127.0.0.1", is_ready: bool = True) -> None:
        """Writes as a kubelet would."""
        place = f"{self._core('pods')}/{name}/status"
        self._said(self.plane.client.patch(place, json=status(ip, is_ready), headers=MERGE))

    def delete_pod(self, name: str, grace_seconds: int = 30) -> None:
        """Asks it to end. With a grace it stays, terminating: there is no kubelet."""
        place = f"{self._core('pods')}/{name}"
        self._said(self.plane.client.delete(place, params={"gracePeriodSeconds": grace_seconds}))

    def write(self, plural: str, content: Json, group: str = "") -> None:
        """Creates or replaces an object of the core group, or of another (`discovery.k8s.io/v1`)."""
        root = self._core(plural) if not group else f"/apis/{group}/namespaces/{self.name}/{plural}"
        replaced = self.plane.client.put(f"{root}/{content['metadata']['name']}", json=content)
        if replaced.status_code == 404:
            self._post(root, content)
        else:
            self._said(replaced)

    def delete(self, plural: str, name: str) -> None:
        """Deletes an object of the core group."""
        self._said(self.plane.client.delete(f"{self._core(plural)}/{name}"))

    def events(self) -> list[Json]:
        """All Events of the namespace."""
        items: list[Json] = self._said(self.plane.client.get(self._core("events"))).json()["items"]
        return items

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        """What kubectl prints in this namespace, as the admin."""
        return self.plane.kubectl("--namespace", self.name, *arguments, input=input)

    def edit(self, name: str, editor: Path) -> None:
        """`kubectl edit configmap NAME` with a program for an editor."""
        kubectl = ["--namespace", self.name, "edit", "configmap", name]
        command = [str(binary("kubectl")), f"--kubeconfig={self.plane.admin_kubeconfig}", *kubectl]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "KUBE_EDITOR": str(editor)})

    def _core(self, plural: str) -> str:
        return f"/api/v1/namespaces/{self.name}/{plural}"

    def _post(self, place: str, content: Json) -> None:
        self._said(self.plane.client.post(place, json=content))

    def _said(self, reply: httpx.Response) -> httpx.Response:
        assert reply.is_success, reply.text
        return reply


def address_of(number: int) -> str:
    """The address of `pod-NUMBER`."""
    return f"127.{16 + number // 40000}.{number // 200 % 200}.{number % 200 + 1}"
