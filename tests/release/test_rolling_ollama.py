"""Ollama itself is rolled under load, with the values that docs/installation.md gives for its usual chart."""

import asyncio
import json
from typing import Any

import pytest
import yaml
from tests.docs.pages import blocks
from tests.kubernetes.figures import tell
from tests.kubernetes.talkers import Talkers
from tests.release.installed import Installed
from tools.chart.files import ROOT

pytestmark = pytest.mark.cluster

CALLERS, PAUSE_SECONDS = 4, 0.1
OLLAMA = "app.kubernetes.io/name=ollama"


def _values() -> dict[str, Any]:
    """Those of the page for the Ollama chart."""
    shown = [block.text for block in blocks(ROOT / "docs" / "installation.md") if block.language == "yaml"]
    (values,) = [found for text in shown if "updateStrategy" in (found := yaml.safe_load(text))]
    return dict(values)


def _as_the_chart_renders(values: dict[str, Any]) -> str:
    """A patch of the Deployment; the container has one name here and there."""
    container = {"name": "ollama", "lifecycle": values["lifecycle"]}
    pod = {"terminationGracePeriodSeconds": values["terminationGracePeriodSeconds"], "containers": [container]}
    return json.dumps({"spec": {"strategy": values["updateStrategy"], "template": {"spec": pod}}})


@pytest.mark.parametrize("has_page_values", [True, False], ids=["values-of-the-page", "values-of-the-chart"])
async def test_ollama_is_rolled_without_a_lost_call(
    release: Installed, has_page_values: bool, request: pytest.FixtureRequest
) -> None:
    """Real Ollama pods, two of them; with the strategy that their chart has by default, calls fail."""
    recreate = json.dumps({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}})
    await asyncio.to_thread(release.cluster.start_ollama, "ollama", release.namespace, replicas=2, slots=4)
    patch = _as_the_chart_renders(_values()) if has_page_values else recreate
    await asyncio.to_thread(release.kubectl, "patch", "deployment", "ollama", "--patch", patch)
    await asyncio.to_thread(release.kubectl, "rollout", "status", "deployment/ollama")
    await asyncio.to_thread(release.install, "--set", "config.models.tiny.version=latest")
    talkers = Talkers(release.url, "tiny")
    talkers.begin_calls(CALLERS, PAUSE_SECONDS)
    await talkers.go_on()
    before = await asyncio.to_thread(release.pods, OLLAMA)
    await asyncio.to_thread(release.kubectl, "rollout", "restart", "deployment/ollama")
    await asyncio.to_thread(release.kubectl, "rollout", "status", "deployment/ollama")
    await release.soon(lambda: release.is_ready(2, OLLAMA) and not before.keys() & _all_pods(release))
    await talkers.go_on()
    await talkers.close()
    tell(request, f"{talkers.answered} calls, {len(talkers.failures)} failed")
    assert bool(talkers.failures) is not has_page_values, talkers.failures[:3]


def _all_pods(release: Installed) -> set[str]:
    """Those that are leaving, too: what they still answer may be cut."""
    return {pod["metadata"]["name"] for pod in release.get("pods", "-l", OLLAMA)["items"]}
