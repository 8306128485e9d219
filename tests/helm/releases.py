"""A release in a namespace of its own, on a real API server without a node."""

import os
import subprocess
from itertools import count

import yaml
from tests.cluster.control_plane import ControlPlane, kubectl_command
from tests.helm.running import RELEASE, Object, helm
from tools.chart.files import CHART

MAP = "ai-gateway-ollama-models"

_numbers = count()


class Release:
    """An installed release in a namespace of its own. Changes with every command."""

    def __init__(self, plane: ControlPlane, version: str) -> None:
        self.plane, self.version = plane, version
        self.namespace = f"edits-{next(_numbers)}"
        plane.kubectl("create", "namespace", self.namespace)

    def helm(self, command: str, *arguments: str) -> str:
        """What Helm prints."""
        given = [command, RELEASE, *arguments, f"--namespace={self.namespace}"]
        return helm(self.version, *given, kubeconfig=self.plane.admin_kubeconfig)

    def install(self, *arguments: str) -> str:
        return self.helm("install", str(CHART), *arguments)

    def upgrade(self, *arguments: str) -> str:
        return self.helm("upgrade", str(CHART), *arguments)

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        return self.plane.kubectl(f"--namespace={self.namespace}", *arguments, input=input)

    def edit(self, before: str, after: str) -> None:
        """`kubectl edit`, by an editor that changes one text, which no uid may hold by chance."""
        command = kubectl_command(
            self.plane.admin_kubeconfig, f"--namespace={self.namespace}", "edit", "configmap", MAP
        )
        environment = {**os.environ, "KUBE_EDITOR": f"sed -i 's/{before}/{after}/'"}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert "edited" in ended.stdout, ended.stderr

    def data(self) -> dict[str, str]:
        """What the ConfigMap holds."""
        data: dict[str, str] = self._read(f"api/v1/namespaces/{self.namespace}/configmaps/{MAP}")["data"]
        return data

    @property
    def text(self) -> str:
        return self.data()["config.yml"]

    @property
    def rpm(self) -> int | None:
        """A limit that the values do not name: an edit shows in it."""
        limits = yaml.safe_load(self.text)["limits"]
        return None if limits == "none" else limits["default"]["rpm"]

    @property
    def models(self) -> list[str]:
        return list(yaml.safe_load(self.text).get("models", ()))

    def image(self) -> str:
        deployment = self._read(f"apis/apps/v1/namespaces/{self.namespace}/deployments/{RELEASE}")
        image: str = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        return image

    def _read(self, path: str) -> Object:
        """An object, from the API itself: a kubectl for each look costs a tenth of a second."""
        found: Object = self.plane.client.get(path).raise_for_status().json()
        return found
