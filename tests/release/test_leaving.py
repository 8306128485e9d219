"""Pods are deleted: as they start, and while clients that keep their connections go on to call."""

import asyncio
import json
import time

import pytest
from tests.helm.pods import gateways
from tests.helm.running import rendered
from tests.kubernetes.figures import tell
from tests.kubernetes.talkers import Talkers
from tests.ollama.talk import until
from tests.release.installed import NAME, Installed
from tests.release.test_rolling import TOKENS_PER_SECOND, some_ollamas

pytestmark = pytest.mark.cluster

STARTING_PODS = 15
GRACE_SECONDS = 331  # the chart's; a pod whose signal was lost stays so long
GONE_SECONDS = 120.0  # on a busy machine
DELETED_PODS = 4
STREAM_TOKENS = (4, 10, 40, 80)  # 0.2 to 4 s


def test_pods_that_are_deleted_as_they_start_are_soon_gone(release: Installed, image: str) -> None:
    """At moments from before the first process is there until after it listens."""
    names = [f"starting-{number}" for number in range(STARTING_PODS)]
    for number, name in enumerate(names):
        release.kubectl("create", "-f", "-", input=json.dumps(_gateway_pod(name, image)))
        time.sleep(0.05 * number)  # the moment that is tried, not a wait for anything
        release.kubectl("delete", "pod", name, "--wait=false")
    release.until(lambda: not release.get("pods", "-l", "starting=yes")["items"], GONE_SECONDS)
    assert release.get("events", "--field-selector=reason=FailedPreStopHook")["items"] == []


def _gateway_pod(name: str, image: str) -> dict[str, object]:
    """The image with the hooks of the chart, as a namespace of the restricted level wants it."""
    (pod,) = gateways(rendered("helm4"))
    container = {
        "lifecycle": pod.container("gateway")["lifecycle"],
        "name": "gateway",
        "image": image,
        "imagePullPolicy": "Never",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"starting": "yes"}},
        "spec": {"terminationGracePeriodSeconds": GRACE_SECONDS, "containers": [container]},
    }


async def test_clients_that_keep_their_connections_lose_no_call(
    release: Installed, request: pytest.FixtureRequest
) -> None:
    """One stream after the other, without a try again, while one of two gateways is deleted, again and again."""
    await asyncio.to_thread(some_ollamas, release)
    two = ("--set", "replicaCount=2", "--set", "drain.delaySeconds=2")
    await asyncio.to_thread(release.install, "--set", "config.models.llama3.version=latest", *two)
    talkers = Talkers(release.url, "llama3")
    for tokens in STREAM_TOKENS:
        talkers.begin_stream_after_stream(5, tokens)
    await until(lambda: _are_under_way(talkers))
    for _ in range(DELETED_PODS):
        (victim, *_) = release.pods()
        await asyncio.to_thread(release.kubectl, "delete", "pod", victim)
        await release.soon(lambda: release.is_ready(2))
    await talkers.close()
    tell(request, f"{len(talkers.streams)} streams, {DELETED_PODS} pods of {NAME} deleted")
    assert [stream.error for stream in talkers.streams if stream.error] == []
    assert len(talkers.streams) > DELETED_PODS * TOKENS_PER_SECOND  # a few a second; the machine is busy


async def _are_under_way(talkers: Talkers) -> bool:
    return len(talkers.streams) > 2 * 5 * len(STREAM_TOKENS)
