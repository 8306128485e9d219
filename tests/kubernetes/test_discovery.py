"""Pods and endpoint slices of a real API server, as discovery sees them: who takes calls, and how soon it is known."""

import asyncio
import random
import statistics
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from tests.cost import TRIES, slowness
from tests.flow.waiting import soon, until
from tests.kubernetes.figures import tell
from tests.kubernetes.objects import OLLAMA
from tests.kubernetes.space import Space, address_of
from tests.kubernetes.watcher import Blocked, config, heap_of_tests_set_aside, names, watching

from ai_gateway.cluster.access import Access
from ai_gateway.cluster.api import ApiServer
from ai_gateway.config.types import Kubernetes
from ai_gateway.discovery.kubernetes import kubernetes_source

pytestmark = pytest.mark.cluster

FLAP_SECONDS = 60
FLAPS_PER_SECOND = 10
NOBODY = 9  # the discard port: it refuses connections


async def in_thread(act: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Runs what talks to the API server beside the event loop under test."""
    return await asyncio.to_thread(act, *arguments, **named)


def rss_bytes() -> int:
    """Of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_ready_pods_are_found_and_others_are_not(space: Space, tmp_path: Path) -> None:
    """A pod takes calls when it is ready, and no longer when it is not, or is asked to end."""
    await in_thread(space.add_pod, "ready", NOBODY, "127.1.0.1")
    await in_thread(space.add_pod, "starting", NOBODY, "127.1.0.2", False)
    await in_thread(space.add_pod, "ending", NOBODY, "127.1.0.3")
    await in_thread(space.delete_pod, "ending")
    async with watching(tmp_path, space.kubeconfig(tmp_path), config()) as gateway:
        await until(lambda: names(gateway) == {"ready"}, "the ready pod alone")
        await in_thread(space.set_status, "starting", "127.1.0.2")
        await until(lambda: names(gateway) == {"ready", "starting"}, "the pod that became ready")
        await in_thread(space.delete_pod, "ready")
        await until(lambda: names(gateway) == {"starting"}, "the pod that is asked to end is out")
        standing = gateway.discovery.status()
        assert (standing.seen, standing.reason) == (3, None)


async def test_what_the_spec_tells_is_known(space: Space, tmp_path: Path) -> None:
    """Slots, room, context, node and labels."""
    env = {"OLLAMA_NUM_PARALLEL": "4", "OLLAMA_MAX_LOADED_MODELS": "2", "OLLAMA_CONTEXT_LENGTH": "8192"}
    await in_thread(space.add_pod, "declared", NOBODY, env=env)
    async with watching(tmp_path, space.kubeconfig(tmp_path), config()) as gateway:
        await until(lambda: names(gateway) == {"declared"})
        (endpoint,) = gateway.fleet.endpoints.values()
        assert endpoint.pod is not None
        assert (endpoint.pod.num_parallel, endpoint.pod.max_loaded_models) == (4, 2)
        assert (endpoint.pod.context_length, endpoint.pod.node) == (8192, "node-1")
        assert endpoint.pod.labels.items() >= OLLAMA.items()
        assert endpoint.slots("tiny", 1, None) == 4


async def test_a_new_pod_of_the_same_name_is_another_endpoint(space: Space, tmp_path: Path) -> None:
    """Even at the same address: nothing that was known of the old one counts."""
    await in_thread(space.add_pod, "ollama-0", NOBODY)
    async with watching(tmp_path, space.kubeconfig(tmp_path), config()) as gateway:
        await until(lambda: names(gateway) == {"ollama-0"})
        (old,) = gateway.fleet.endpoints.values()
        await in_thread(space.delete_pod, "ollama-0", 0)
        await until(lambda: not names(gateway))
        await in_thread(space.add_pod, "ollama-0", NOBODY)
        await until(lambda: names(gateway) == {"ollama-0"})
        (new,) = gateway.fleet.endpoints.values()
        assert new is not old
        assert new.address.authority == old.address.authority
        await in_thread(space.set_status, "ollama-0", "127.9.9.9")
        await until(lambda: "127.9.9.9:9" in {address.authority for address in gateway.fleet.endpoints})


async def test_pods_of_several_namespaces_are_one_fleet(space: Space, other_space: Space, tmp_path: Path) -> None:
    """Those of a third one are not."""
    await in_thread(space.add_pod, "here", NOBODY)
    await in_thread(other_space.add_pod, "there", NOBODY, "127.1.0.2")
    await in_thread(other_space.let_in, space)
    settings = config(namespaces=[space.name, other_space.name])
    async with watching(tmp_path, space.kubeconfig(tmp_path), settings) as gateway:
        await until(lambda: names(gateway) == {"here", "there"})


def endpoint_slice(name: str, family: str, *endpoints: dict[str, Any]) -> dict[str, Any]:
    """A slice of the Service `ollama`."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "ollama"}},
        "addressType": family,
        "ports": [{"name": "http", "port": NOBODY, "protocol": "TCP"}],
        "endpoints": list(endpoints),
    }


def slice_endpoint(name: str, address: str, **conditions: bool) -> dict[str, Any]:
    """An endpoint of a slice, which is a pod."""
    target = {"kind": "Pod", "name": name, "uid": f"uid-of-{name}"}
    return {"addresses": [address], "conditions": conditions, "targetRef": target, "zone": "zone-a"}


async def test_the_endpoint_slices_of_a_service_are_followed(space: Space, tmp_path: Path) -> None:
    """Ready ones, each pod once whatever families it has."""
    group = "discovery.k8s.io/v1"
    slices_role = {
        "metadata": {"name": "slices"},
        "rules": [{"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}],
    }
    await in_thread(space.grant, slices_role)
    four = [slice_endpoint("a", "192.0.2.1", ready=True), slice_endpoint("b", "192.0.2.2", ready=False)]
    six = [slice_endpoint("a", "2001:db8::1", ready=True)]
    await in_thread(space.write, "endpointslices", endpoint_slice("four", "IPv4", *four), group)
    await in_thread(space.write, "endpointslices", endpoint_slice("six", "IPv6", *six), group)
    settings = Kubernetes(mode="endpointslices", service="ollama")
    # Slices may not name loopback, so that nothing is polled here: a source alone.
    api = ApiServer(Access(str(space.kubeconfig(tmp_path)), service_account=tmp_path / "none"))
    async with aclosing(kubernetes_source(settings, api).lists()) as lists:
        first = await soon(anext(lists))
        assert [(address.host, first.pods[address].name) for address in first.addresses] == [("192.0.2.1", "a")]
        four = [
            slice_endpoint("a", "192.0.2.1", ready=False, serving=True, terminating=True),
            slice_endpoint("b", "192.0.2.2", ready=True),
        ]
        await in_thread(space.write, "endpointslices", endpoint_slice("six", "IPv6"), group)
        await in_thread(space.write, "endpointslices", endpoint_slice("four", "IPv4", *four), group)
        found = first
        while [found.pods[address].name for address in found.addresses] != ["b"]:
            found = await soon(anext(lists))


async def test_an_event_is_applied_within_a_second(
    space: Space, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """From the moment the API server has it."""
    await in_thread(space.add_pod, "flipping", NOBODY)
    took = []
    async with watching(tmp_path, space.kubeconfig(tmp_path), config()) as gateway:
        await until(lambda: bool(names(gateway)))
        for turn in range(50):
            is_ready = bool(turn % 2)
            writing = asyncio.create_task(in_thread(space.set_status, "flipping", is_ready=is_ready))
            began = time.perf_counter()
            await until(lambda wanted=is_ready: bool(names(gateway)) is wanted)  # type: ignore[misc]  # mypy: lambda defaults
            took.append(time.perf_counter() - began)
            await writing
    tell(request, f"event to effect p50 {statistics.median(took) * 1000:.0f} ms, max {max(took) * 1000:.0f} ms")
    assert max(took) < 1.0


async def test_a_burst_of_500_pods_holds_up_the_loop_for_less_than_a_tenth_of_a_second(
    space: Space, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Written before the gateway lists them: they all come in one moment. One of some gateways takes no longer."""
    await in_thread(space.add_pods, 500, NOBODY)
    took: list[float] = []
    while not took or took[-1] >= 0.1 * slowness():
        assert len(took) < TRIES, took
        with heap_of_tests_set_aside():
            began = time.thread_time()
            async with watching(tmp_path, space.kubeconfig(tmp_path), config()) as gateway:
                await until(lambda: len(names(gateway)) == 500, seconds=20)
                took.append(time.thread_time() - began)
    tell(request, f"{took[-1] * 1000:.0f} ms of the loop's CPU, from nothing to 500 endpoints that are followed")


async def test_500_pods_that_come_one_after_the_other_do_not_hold_up_the_loop(
    space: Space, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """As fast as they can be written: their events are taken up in groups."""
    async with watching(tmp_path, space.kubeconfig(tmp_path), config()) as gateway, Blocked() as blocked:
        await until(lambda: gateway.discovery.status().lists == 1)
        await in_thread(space.add_pods, 500, NOBODY)
        lag = await until(lambda: len(names(gateway)) == 500)
    tell(request, f"known {lag * 1000:.0f} ms after the last, loop blocked {blocked.longest * 1000:.0f} ms at most")
    assert blocked.longest < 0.1 * slowness()
    assert lag < 1.0


async def test_5000_pods_are_listed_in_pages(space: Space, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Memory stays within bounds, and one that comes then is known as soon as in a small fleet."""
    await in_thread(space.add_pods, 5000, NOBODY)
    before = rss_bytes()
    async with watching(tmp_path, space.kubeconfig(tmp_path), config()) as gateway, Blocked() as blocked:
        listed = await until(lambda: len(names(gateway)) == 5000, seconds=60)
        grown = (rss_bytes() - before) / 1e6
        await in_thread(space.add_pod, "late", NOBODY)
        lag = await until(lambda: "late" in names(gateway))
    figures = f"listed in {listed:.1f} s, +{grown:.0f} MB, one more after {lag * 1000:.0f} ms"
    tell(request, f"{figures}, loop blocked {blocked.longest * 1000:.0f} ms at most")
    assert lag < 1.0
    assert grown < 200


async def test_ten_flaps_a_second_for_a_minute_end_in_the_right_view(
    space: Space, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """And the gateway neither grows nor falls behind."""
    rng = random.Random(7)
    await in_thread(space.add_pods, 10, NOBODY)
    state = dict.fromkeys(range(10), True)
    async with watching(tmp_path, space.kubeconfig(tmp_path), config()) as gateway, Blocked() as blocked:
        await until(lambda: len(names(gateway)) == 10)
        await gateway.poller.first_round()  # now all loops of the ten run
        tasks = len(asyncio.all_tasks())
        ends = time.monotonic() + FLAP_SECONDS
        while time.monotonic() < ends:
            began = time.monotonic()
            number = rng.randrange(10)
            state[number] = not state[number]
            await in_thread(space.set_status, f"pod-{number}", address_of(number), state[number])
            await asyncio.sleep(max(0.0, 1 / FLAPS_PER_SECOND - (time.monotonic() - began)))
        wanted = {f"pod-{number}" for number, is_ready in state.items() if is_ready}
        lag = await until(lambda: names(gateway) == wanted)
        tell(request, f"view right {lag * 1000:.0f} ms after the last, loop blocked {blocked.longest * 1000:.0f} ms")
        assert lag < 1.0
        assert len(asyncio.all_tasks()) <= tasks + 5
