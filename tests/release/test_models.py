"""An upgrade lets the gateway follow the models of the config, and changes nothing that is in place already."""

import json
from typing import Any

import httpx
import pytest
import yaml
from tests.helm.releases import MAP
from tests.release.installed import NEXT, Installed

pytestmark = pytest.mark.cluster

OLLAMAS = "app.kubernetes.io/name=ollama"
MODELS = (
    *("--set", "config.models.llama3.version=latest"),
    *("--set", "config.models.coder.ollama=codellama,config.models.coder.version=13b"),
)
# What the release before wrote for these values, and how it remembered them: it knew no `reconcile`.
REMEMBERED = "c9c8d31127e1b3ca"
BEFORE = """models:
  coder: {ollama: codellama, version: 13b}
  llama3: {version: latest}
audit: {mode: best_effort}
auth: {methods: [none]}
callers: all
limits: none
tls: none
"""


def test_an_upgrade_from_the_release_before_writes_nothing_to_pods_that_have_the_models(release: Installed) -> None:
    """Each model is on the pods of one Deployment. The gateway may pull from then on, and finds all in place."""
    release.cluster.start_simulated("chats", release.namespace, replicas=2, models="llama3:latest")
    release.cluster.start_simulated("coders", release.namespace, models="codellama:13b")
    release.install(*MODELS)
    release.kubectl("patch", "configmap", MAP, f"--patch={_before()}", "--field-manager=helm")
    release.upgrade(*MODELS, "--set", f"image.tag={NEXT}", "--force-conflicts")  # the patch took the fields
    assert yaml.safe_load(release.get("configmap", MAP)["data"]["config.yml"])["reconcile"] == {"pull": "if_missing"}
    release.until(lambda: _rollouts(release) == ["done", "done"])
    addresses = release.cluster.pod_addresses(OLLAMAS, release.namespace)
    assert len(addresses) == 3
    assert [_written(address) for address in addresses.values()] == [[], [], []]


def _before() -> str:
    annotations = {"ai-gateway-ollama/values-hash": REMEMBERED}
    return json.dumps({"metadata": {"annotations": annotations}, "data": {"config.yml": BEFORE}})


def _rollouts(release: Installed) -> list[str]:
    """The state of each model, as the gateway tells that writes."""
    health = httpx.get(f"{release.url}/v1/health", trust_env=False, timeout=10).json()
    return [one["state"] for one in health["reconcile"]["rollouts"].values()]


def _written(address: str) -> list[dict[str, Any]]:
    """What else than a look was asked of a simulated pod since it began."""
    state = httpx.get(f"http://{address}:11434/simulator/state", trust_env=False, timeout=10).json()
    last: list[dict[str, Any]] = state["last"]
    return last
