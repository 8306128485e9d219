"""The mounted ConfigMap of a release that may not ask the API server."""

import json

import httpx
import pytest
from tests.release.installed import NAME, Installed

pytestmark = pytest.mark.cluster

KUBELET_SECONDS = 240  # the kubelet writes a changed ConfigMap with a pod's next sync


def test_an_edit_reaches_a_gateway_without_rights_by_its_mount(release: Installed) -> None:
    """Formerly the mounted file was read once; only a new pod served the edit."""
    release.install("--set", "rbac.create=false,config.models.first.version=latest")
    config_status = httpx.get(f"{release.url}/v1/health", trust_env=False).json()["config"]
    assert "the mounted file is used instead" in config_status["complaints"][0]["message"]
    content = release.kubectl("get", "configmap", f"{NAME}-models", "-o", r"jsonpath={.data.config\.yml}")
    edited = content.replace("first:", "second:")
    assert edited != content
    patch = json.dumps({"data": {"config.yml": edited}})
    release.kubectl("patch", "configmap", f"{NAME}-models", "--type=merge", "-p", patch)
    release.until(lambda: "second" in _served(release), KUBELET_SECONDS)
    (pod,) = release.pods().values()
    assert [one["restartCount"] for one in pod["status"]["containerStatuses"]] == [0]


def _served(release: Installed) -> list[str]:
    listed = httpx.get(f"{release.url}/v1/models", trust_env=False).json()
    return [model["id"] for model in listed["data"]]
