"""Gateways of a release hear each other, pod to pod, and tell nobody else. The cluster enforces no NetworkPolicy: that
those of the chart allow this, tests/helm/test_network_policies.py says."""

from typing import Any

import httpx
import pytest
from tests.release.installed import NAME, Installed

pytestmark = pytest.mark.cluster

POLICIES = (
    *("--set", "networkPolicy.enabled=true"),
    *("--set-json", 'networkPolicy.metricsFrom=[{"namespaceSelector": {"matchLabels": {"none": "such"}}}]'),
)
ASK = """
import urllib.request, urllib.error
try:
    print(urllib.request.urlopen("http://{address}:9090/report", timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""


def gateways(release: Installed) -> list[dict[str, Any]]:
    """What each gateway says of the others, itself among them by its uid."""
    told = []
    for pod in release.pods().values():
        url = f"http://{pod['status']['podIP']}:8080/v1/health"
        shown = httpx.get(url, trust_env=False, timeout=10).json()["gateways"]
        assert shown["uid"] == pod["metadata"]["uid"]
        told.append(shown)
    return told


def hear_each_other(release: Installed, count: int) -> bool:
    """Whether so many gateways are there, and each has a fresh report of every other one."""
    told = gateways(release)
    uids = {one["uid"] for one in told}
    return len(uids) == count and all(
        one["are_known"]
        and one["count"] == count
        and {other["uid"] for other in one["others"] if other["state"] == "fresh"} == uids - {one["uid"]}
        for one in told
    )


def test_gateways_hear_each_other_and_a_strange_pod_gets_403(release: Installed) -> None:
    """Two, then three, then one, which knows that it is alone."""
    release.cluster.start_simulated("ollama", release.namespace, models="llama3:latest", tokens_per_second=1000)
    release.install("--set", "replicaCount=2", *POLICIES)
    release.until(lambda: release.is_ready(2) and hear_each_other(release, 2), 60)
    (pod, *_) = release.pods().values()
    said = release.job("stranger", ASK.format(address=pod["status"]["podIP"]))
    assert said.startswith("403 ")
    assert '"type":"unauthorized"' in said.replace(" ", "")
    for count in (3, 1):
        release.kubectl("scale", "deployment", NAME, f"--replicas={count}")
        release.until(lambda count=count: release.is_ready(count) and hear_each_other(release, count), 60)  # type: ignore[misc]  # a default in a lambda
