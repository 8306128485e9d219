"""Gateways come and go under load: no call fails and no stream is cut. The client does not try again and keeps its
connections; each failure, reset and cut stream is counted."""

import asyncio
import json
import os
import signal
from pathlib import Path

import httpx
import pytest
from tests.kubernetes.figures import tell
from tests.kubernetes.talkers import Talkers
from tests.ollama.talk import until
from tests.release.installed import GATEWAYS, NAME, NEXT, Installed

pytestmark = pytest.mark.cluster

TOKENS_PER_SECOND = 20
STREAM_SECONDS = 60
STREAMS = 20
CALLERS, PAUSE_SECONDS = 10, 0.1  # with answers of 0.4 s that is 20 calls a second
TWO = ("--set", "replicaCount=2")


def some_ollamas(release: Installed) -> None:
    """Simulated pods with room for everybody."""
    release.cluster.start_simulated(
        "ollama",
        release.namespace,
        replicas=3,
        slots=16,
        tokens_per_second=TOKENS_PER_SECOND,
        answer_tokens=4 * TOKENS_PER_SECOND * STREAM_SECONDS,
        models="llama3:latest",
    )


async def test_upgrade_eviction_and_scaling_cost_nothing(release: Installed, request: pytest.FixtureRequest) -> None:
    """To another image, two gateways and one evicted, then four, then two: 0 failed calls, 0 cut streams."""
    await asyncio.to_thread(some_ollamas, release)
    await asyncio.to_thread(release.install, "--set", "config.models.llama3.version=latest")
    talkers = Talkers(release.url, "llama3")
    talkers.begin_calls(CALLERS, PAUSE_SECONDS)
    talkers.begin_streams(STREAMS, STREAM_SECONDS * TOKENS_PER_SECOND)
    await until(lambda: _streaming(talkers, STREAMS))

    models = ("--set", "config.models.llama3.version=latest", "--set", f"image.tag={NEXT}", *TWO)
    await asyncio.to_thread(release.upgrade, *models)
    await release.soon(lambda: release.is_ready(2))
    (evicted, *_) = release.pods()
    await asyncio.to_thread(_evict, release, evicted)
    await release.soon(lambda: evicted not in release.pods() and release.is_ready(2))
    await asyncio.to_thread(release.kubectl, "scale", "deployment", NAME, "--replicas=4")
    await release.soon(lambda: release.is_ready(4))
    more = talkers.begin_streams(8, 20 * TOKENS_PER_SECOND)
    await until(lambda: _streaming(talkers, STREAMS + len(more)))
    await asyncio.to_thread(release.kubectl, "scale", "deployment", NAME, "--replicas=2")
    await release.soon(lambda: release.is_ready(2))
    await talkers.close()
    tell(request, f"{talkers.answered} calls, {talkers.slowest_seconds:.1f} s at most, {len(talkers.streams)} streams")
    assert talkers.failures == []
    assert [stream.error for stream in talkers.streams if stream.error] == []
    assert talkers.answered > 400  # of some twenty a second; the machine is busy while gateways start


async def test_without_the_drain_delay_calls_fail(release: Installed) -> None:
    """So the test above can fail: the delay is what it is about."""
    await asyncio.to_thread(some_ollamas, release)
    await asyncio.to_thread(
        release.install, "--set", "config.models.llama3.version=latest", "--set", "drain.delaySeconds=0", *TWO
    )
    failed: list[str] = []
    leaving = asyncio.Event()
    callers = [asyncio.create_task(_call_on(release.url, failed, leaving)) for _ in range(CALLERS)]
    try:
        for _ in range(3):
            await asyncio.to_thread(release.kubectl, "rollout", "restart", f"deployment/{NAME}")
            await asyncio.to_thread(release.kubectl, "rollout", "status", f"deployment/{NAME}")
            if failed:
                break
    finally:
        leaving.set()
        await asyncio.gather(*callers)
    assert failed


async def test_a_gateway_that_is_killed_takes_only_its_own_streams_along(release: Installed) -> None:
    """The other one carries on, and the killed one comes back."""
    await asyncio.to_thread(some_ollamas, release)
    await asyncio.to_thread(release.install, "--set", "config.models.llama3.version=latest", *TWO)
    addresses = release.cluster.pod_addresses(GATEWAYS, release.namespace)
    (victim, other) = sorted(addresses)
    talkers = {name: Talkers(f"http://{addresses[name]}:8080", "llama3") for name in addresses}
    for talker in talkers.values():
        talker.begin_streams(4, 15 * TOKENS_PER_SECOND)
    await until(lambda: _streaming(talkers[victim], 4))
    await until(lambda: _streaming(talkers[other], 4))
    os.kill(_gateway_process(victim), signal.SIGKILL)
    for talker in talkers.values():
        await talker.close()
    assert [stream.error for stream in talkers[other].streams] == [None] * 4
    assert all(stream.error for stream in talkers[victim].streams)
    await release.soon(lambda: release.is_ready(2))
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"http://{addresses[victim]}:8080/v1/health")).status_code == 200


async def _streaming(talkers: Talkers, count: int) -> bool:
    return sum(stream.chunks > 1 for stream in talkers.streams) >= count


def _evict(release: Installed, pod: str) -> None:
    """As `kubectl drain` asks for it: the disruption budget is heard."""
    wish = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": release.namespace},
    }
    place = f"/api/v1/namespaces/{release.namespace}/pods/{pod}/eviction"
    release.kubectl("create", "--raw", place, "-f", "-", input=json.dumps(wish))


async def _call_on(url: str, failed: list[str], leaving: asyncio.Event) -> None:
    """Calls on a new connection each, as applications without a pool make them."""
    while not leaving.is_set():
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
                reply = await client.get(f"{url}/v1/models")
                assert reply.status_code == 200
        except (httpx.HTTPError, AssertionError) as error:
            failed.append(f"{type(error).__name__}: {error}")
        await asyncio.sleep(0.01)


def _gateway_process(pod: str) -> int:
    """The process on this machine that is the gateway of a pod: its host name is the pod's."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"HOSTNAME={pod}".encode() in environment and b"serve" in command:
            return int(folder.name)
    raise AssertionError(f"no gateway runs in {pod}")
