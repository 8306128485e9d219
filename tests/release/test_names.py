"""Names as long as Helm takes them, and what a release leaves behind, where real controllers make the pods."""

from typing import Any

import httpx
import pytest
from tests.release.installed import Installed
from tests.release.test_sidecars import beside_ollama
from tools.chart.files import CHART

pytestmark = pytest.mark.cluster

OLLAMAS = "app.kubernetes.io/name=ollama"
LONG = "a-team-with-a-long-name-and-a-release-of-53-letters-x"


def _install(release: Installed, name: str, *more: str) -> None:
    release.helm("install", name, str(CHART), "--timeout=120s", *beside_ollama(release), *more)


def test_with_the_longest_name_of_a_release_ollama_and_gateways_start(release: Installed) -> None:
    """Kubernetes makes a label of a StatefulSet's name; where that is too long, it makes no pod."""
    assert len(LONG) == 53
    _install(release, LONG, "--set", "ollama.replicaCount=2")
    release.until(lambda: release.is_ready(2, OLLAMAS))
    service = next(one for one in release.get("services")["items"] if one["spec"]["clusterIP"] != "None")
    url = f"http://{service['spec']['clusterIP']}:8080"
    health: dict[str, Any] = httpx.get(f"{url}/v1/health", trust_env=False).json()
    assert len(health["endpoints"]) == 2


def _claims(release: Installed) -> list[dict[str, Any]]:
    claims: list[dict[str, Any]] = release.get("pvc")["items"]
    return claims


def test_models_outlive_their_release(release: Installed) -> None:
    """Nothing binds the claim here, so the pod waits; that the claim stays is not for the pod to say."""
    _install(release, "kept", "--set", "ollama.persistence.enabled=true", "--set", "ollama.replicaCount=1")
    release.until(lambda: len(_claims(release)) == 1)
    release.helm("uninstall", "kept", "--wait")
    release.until(lambda: not release.get("statefulset,pod")["items"])
    (claim,) = _claims(release)
    assert "deletionTimestamp" not in claim["metadata"]
    assert "ownerReferences" not in claim["metadata"]
