"""The gateway itself, started as the chart's pod starts it, with the rights that the chart gives."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.cluster.control_plane import ControlPlane
from tests.helm.pods import gateways
from tests.helm.releases import Release
from tests.helm.running import RELEASE
from tests.helm.worlds import objects_of
from tests.ollama.process import Server, wait_until_it_answers
from tests.ports import free_port

pytestmark = pytest.mark.cluster

COMMAND = Path(sys.executable).parent / "ai-gateway"


class Started(Server):
    """`ai-gateway` with the arguments and the environment of the rendered container, but for its ports."""

    def __init__(self, folder: Path, kubeconfig: Path) -> None:
        api, self._admin = free_port(), free_port()
        (pod,) = gateways(objects_of(("default",)))
        container = pod.container("gateway")
        rendered = {one["name"]: one.get("value", "uid-of-this-pod") for one in container["env"]}
        given = {
            **rendered,
            "AI_GATEWAY_LISTEN": f"127.0.0.1:{api}",
            "AI_GATEWAY_ADMIN": f"127.0.0.1:{self._admin}",
            "AI_GATEWAY_CONFIG": str(folder / "mounted"),
        }
        (folder / "mounted").mkdir(parents=True)
        (folder / "mounted" / "config.yml").write_text("models: {mounted: {}}")
        command = [str(COMMAND), *container["args"], f"--kubeconfig={kubeconfig}"]
        super().__init__(command, api, folder, {**os.environ, **given})

    def start(self) -> None:
        """Starts it and waits until it is ready, as its probe asks."""
        self._spawn()
        (pod,) = gateways(objects_of(("default",)))
        probe = pod.container("gateway")["readinessProbe"]["httpGet"]["path"]
        wait_until_it_answers(f"http://127.0.0.1:{self._admin}{probe}", self)

    def health(self) -> dict[str, Any]:
        """GET /v1/health."""
        health: dict[str, Any] = httpx.get(f"{self.url}/v1/health", trust_env=False).json()
        return health


@pytest.fixture
def started(plane: ControlPlane, tmp_path: Path) -> Iterator[tuple[Release, Started]]:
    release = Release(plane, "helm4")
    release.install()
    token = plane.service_account_token(release.namespace, RELEASE)
    kubeconfig = yaml.safe_load(plane.kubeconfig_for(token).read_text())
    for context in kubeconfig["contexts"]:
        context["context"]["namespace"] = release.namespace
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    gateway = Started(tmp_path / "gateway", tmp_path / "kubeconfig")
    gateway.start()
    yield release, gateway
    gateway.kill()


def test_it_follows_its_config_map_and_looks_for_pods(started: tuple[Release, Started]) -> None:
    release, gateway = started
    deadline = iter(range(200))
    release.edit("tls: none", "models: {programmer: {}}")
    while "programmer" not in (health := gateway.health())["models"]:
        assert next(deadline, None) is not None, health
    assert "ConfigMap" in health["config"]["source"]
    assert health["discovery"]["complaint"] is None
    assert health["discovery"]["seen"] == 0
    while not (complaint := gateway.health()["gateways"]["complaint"]):
        assert next(deadline, None) is not None, "it may not look for other gateways"
    assert "does not list this gateway's own pod" in complaint  # it may read the slices, and there are none here
