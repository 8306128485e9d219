"""Who may do what in a cluster of the tests: its CA, the server's certificate, a bearer token for each part."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import trustme
import yaml

NODE_NAME = "ai-gateway"
USERS: Mapping[str, str] = {  # the user name of a token and the groups it is in; RBAC knows these names by itself
    "admin": "system:masters",
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
    "system:kube-proxy": "",
    f"system:node:{NODE_NAME}": "system:nodes",
    "coredns": "",
}
SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")


class Credentials:
    """All keys of one cluster, written to its folder once and then only read. `url` is the API server's."""

    def __init__(self, folder: Path, url: str) -> None:
        self.ca_file = folder / "ca.crt"
        self._folder = folder
        self._url = url
        self._tokens = {user: secrets.token_urlsafe(24) for user in USERS}

    def write(self, addresses: Sequence[str]) -> None:
        """Everything the parts read. The API server's certificate is good for the given addresses."""
        authority = trustme.CA(organization_name="ai-gateway tests")
        authority.cert_pem.write_to_path(str(self.ca_file))
        self._write_pair("api", authority.issue_cert(*SERVICE_NAMES, "localhost", *addresses))
        who = "kube-apiserver"
        to_kubelet = authority.issue_cert(who, common_name=who, organization_name="system:masters")
        self._write_pair("api-to-kubelet", to_kubelet)
        self._write_pair("service-accounts", authority.issue_cert("service-accounts"))
        lines = [f'{self._tokens[user]},{user},{user},"{groups}"' for user, groups in USERS.items()]
        self._write_secret("tokens.csv", "\n".join(lines) + "\n")

    def token(self, user: str) -> str:
        """The bearer token of one of `USERS`."""
        return self._tokens[user]

    def kubeconfig(self, name: str, token: str) -> Path:
        """A kubeconfig of that file name with that bearer token, written anew. The CA is in it, not beside it."""
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "tests", "cluster": {"server": self._url, "certificate-authority-data": self._authority()}}
            ],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "user"}}],
            "current-context": "tests",
        }
        return self._write_secret(name, yaml.safe_dump(content))

    def _authority(self) -> str:
        return base64.b64encode(self.ca_file.read_bytes()).decode()

    def _write_pair(self, name: str, pair: trustme.LeafCert) -> None:
        pair.cert_chain_pems[0].write_to_path(str(self._folder / f"{name}.crt"))
        self._write_secret(f"{name}.key", pair.private_key_pem.bytes().decode())

    def _write_secret(self, name: str, content: str) -> Path:
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_text(content)
        return path
