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
LATE_SECONDS = 2.0
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
    await talkers.go_on()

    models = ("--set", "config.models.llama3.version=latest", "--set", f"image.tag={NEXT}", *TWO)
    await asyncio.to_thread(release.upgrade, *models)
    await release.soon(lambda: release.is_ready(2))
    await talkers.go_on()
    (evicted, *_) = release.pods()
    await asyncio.to_thread(_evict, release, evicted)
    await release.soon(lambda: evicted not in release.pods() and release.is_ready(2))
    await talkers.go_on()
    await asyncio.to_thread(release.kubectl, "scale", "deployment", NAME, "--replicas=4")
    await release.soon(lambda: release.is_ready(4))
    more = talkers.begin_streams(8, 20 * TOKENS_PER_SECOND)
    await until(lambda: _streaming(talkers, STREAMS + len(more)))
    await asyncio.to_thread(release.kubectl, "scale", "deployment", NAME, "--replicas=2")
    await release.soon(lambda: release.is_ready(2))
    await talkers.go_on()
    await talkers.close()
    tell(request, f"{talkers.answered} calls, {talkers.slowest_seconds:.1f} s at most, {len(talkers.streams)} streams")
    assert talkers.failures == []
    assert [stream.error for stream in talkers.streams if stream.error] == []


@pytest.mark.parametrize(("delay_seconds", "fails"), [(10, False), (0, True)], ids=["delay", "no-delay"])
async def test_the_drain_delay_is_for_those_who_learn_late(release: Installed, delay_seconds: int, fails: bool) -> None:
    """Nodes whose rules are some seconds old still send to gateways that leave; without the delay their calls fail."""
    delay = ("--set", f"drain.delaySeconds={delay_seconds}")
    await asyncio.to_thread(release.install, "--set", "config.models.llama3.version=latest", *delay, *TWO)
    node = Latecomer(release)
    before = await asyncio.to_thread(_ready_addresses, release)
    await node.begin()
    await asyncio.to_thread(release.kubectl, "rollout", "restart", f"deployment/{NAME}")
    await asyncio.to_thread(release.kubectl, "rollout", "status", f"deployment/{NAME}")
    await release.soon(lambda: release.is_ready(2))
    after = await asyncio.to_thread(_ready_addresses, release)
    await until(lambda: node.has_reached(after))
    await node.close()
    assert node.answered >= {*before, *after}
    assert bool(node.failed) is fails, node.failed[:3]


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
    os.kill(gateway_process(victim), signal.SIGKILL)
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


class Latecomer:
    """A node that learns of endpoints LATE_SECONDS after the API server, and an application on it.

    The rules of this cluster's one node may follow within milliseconds; those of a large one do not. Each call has a
    new connection, as applications without a pool make them.
    """

    def __init__(self, release: Installed) -> None:
        self._release = release
        self._known: list[str] = []
        self._leaving = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.answered: set[str] = set()  # the addresses that did, at least once
        self.failed: list[str] = []

    async def begin(self) -> None:
        """Learns who is there now, and calls from then on."""
        self._known = await asyncio.to_thread(_ready_addresses, self._release)
        self._tasks = [asyncio.create_task(self._learn()), asyncio.create_task(self._call())]

    async def has_reached(self, addresses: list[str]) -> bool:
        """Whether all of them have answered a call."""
        return self.answered.issuperset(addresses)

    async def close(self) -> None:
        """Returns when the last call is over."""
        self._leaving.set()
        await asyncio.gather(*self._tasks)

    async def _learn(self) -> None:
        while not self._leaving.is_set():
            seen = await asyncio.to_thread(_ready_addresses, self._release)
            await asyncio.sleep(LATE_SECONDS)
            self._known = seen

    async def _call(self) -> None:
        while not self._leaving.is_set():
            for address in self._known:
                try:
                    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
                        reply = await client.get(f"http://{address}:8080/v1/models")
                    assert reply.status_code == 200
                    self.answered.add(address)
                except (httpx.HTTPError, AssertionError) as error:
                    self.failed.append(f"{address}: {type(error).__name__}: {error}")
            await asyncio.sleep(0.01)


def _ready_addresses(release: Installed) -> list[str]:
    """What the Service's endpoint slices say now."""
    slices = release.get("endpointslices", "-l", f"kubernetes.io/service-name={NAME}")["items"]
    listed = [endpoint for found in slices for endpoint in found["endpoints"] or ()]
    return [endpoint["addresses"][0] for endpoint in listed if endpoint["conditions"].get("ready")]


def gateway_process(pod: str) -> int:
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
