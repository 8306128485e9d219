"""Pods of several namespaces are one list, and what cannot be asked takes nothing away from the others."""

import asyncio
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from tests.cluster.fake_api import FakeApi, reach
from tests.discovery.listing import hosts, pod, runner, sliced
from tests.flow.waiting import until

from ai_gateway.balancing.pod import Pod
from ai_gateway.config.types import Kubernetes
from ai_gateway.config.units import Seconds
from ai_gateway.discovery.kubernetes import FIRST_LISTS_SECONDS, KubernetesSource, Pods, kubernetes_source
from ai_gateway.discovery.pods import Candidate
from ai_gateway.wire.address import Address


async def test_pods_come_change_and_go(api: FakeApi, tmp_path: Path) -> None:
    """Each time a whole list; one that is not ready is only seen."""
    api.put("ai", "a", pod("10.0.0.1", "a"))
    api.put("ai", "b", pod("10.0.0.2", "b", ready="False"))
    source = kubernetes_source(Kubernetes(), reach(api, tmp_path))
    async with runner(source) as lists:
        assert await hosts(lists) == ["10.0.0.1"]
        assert source.status().seen == 2
        api.put("ai", "b", pod("10.0.0.2", "b"))
        assert await hosts(lists) == ["10.0.0.1", "10.0.0.2"]
        api.delete("ai", "a")
        assert await hosts(lists) == ["10.0.0.2"]
    assert source.name == "kubernetes pods"


async def test_the_default_is_the_gateways_own_namespace(api: FakeApi, tmp_path: Path) -> None:
    """For the pods with the label, and no others."""
    async with runner(kubernetes_source(Kubernetes(), reach(api, tmp_path, "mine"))) as lists:
        assert await hosts(lists) == []
    path, query = api.asked[0]
    assert path == "/api/v1/namespaces/mine/pods"
    assert query["labelSelector"] == "app.kubernetes.io/name=ollama"


async def test_several_namespaces_are_one_list(api: FakeApi, tmp_path: Path) -> None:
    """Pods of one name in two of them are two; a namespace that is named twice is asked once."""
    api.put("ai", "a", pod("10.0.0.1", "a"))
    api.put("lab", "a", pod("10.0.0.2", "b"))
    settings = Kubernetes(namespaces=("ai", "lab", "ai"))
    async with runner(kubernetes_source(settings, reach(api, tmp_path))) as lists:
        assert await hosts(lists) == ["10.0.0.1", "10.0.0.2"]
        assert sum("watch" not in query for _, query in api.asked) == 2


async def test_a_forbidden_namespace_delays_the_others_only_at_startup(api: FakeApi, tmp_path: Path) -> None:
    """It is named, and its pods come as soon as it is allowed."""
    api.put("ai", "a", pod("10.0.0.1", "a"))
    api.put("lab", "b", pod("10.0.0.2", "b"))
    api.forbidden.add("lab")
    now = iter([0.0])  # at the start; at every later check the time is over
    settings = Kubernetes(namespaces=("ai", "lab"))
    source = KubernetesSource(Pods(settings), settings, reach(api, tmp_path), lambda: next(now, FIRST_LISTS_SECONDS))
    async with runner(source) as lists:
        assert await hosts(lists) == ["10.0.0.1"]
        await until(lambda: source.status().reason)
        assert "does not allow the gateway to list pods in namespace lab: grant list and watch" in str(
            source.status().reason
        )
        assert source.status().age_seconds is None  # lab was never heard
        api.forbidden.clear()
        assert await hosts(lists) == ["10.0.0.1", "10.0.0.2"]


async def test_startup_waits_for_all_namespaces(api: FakeApi, tmp_path: Path) -> None:
    """Half a fleet is no list while the patience lasts."""
    api.put("ai", "a", pod("10.0.0.1", "a"))
    api.put("lab", "b", pod("10.0.0.2", "b"))
    api.forbidden.add("lab")
    source = kubernetes_source(Kubernetes(namespaces=("ai", "lab")), reach(api, tmp_path))
    async with runner(source) as lists:
        first = asyncio.create_task(hosts(lists))
        await until(lambda: source.status().lists == 1 and source.status().failures)
        api.forbidden.clear()
        assert await first == ["10.0.0.1", "10.0.0.2"]


async def test_no_list_is_given_before_the_api_server_answers(api: FakeApi, tmp_path: Path) -> None:
    """However late that is: an empty list would take every endpoint away."""
    api.put("ai", "a", pod("10.0.0.1", "a"))
    api.forbidden.add("ai")
    settings = Kubernetes()
    now = iter([0.0])
    source = KubernetesSource(Pods(settings), settings, reach(api, tmp_path), lambda: next(now, 1e9))
    async with runner(source) as lists:
        first = asyncio.create_task(hosts(lists))
        await until(lambda: source.status().failures)
        assert not first.done()
        api.forbidden.clear()
        assert await first == ["10.0.0.1"]


async def test_a_pod_without_the_port_is_named_once(
    api: FakeApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not with each change of another one."""
    api.put("ai", "odd", pod("10.0.0.9", "odd", port=80))
    async with runner(kubernetes_source(Kubernetes(), reach(api, tmp_path))) as lists:
        assert await hosts(lists) == []
        for number in (1, 2):
            api.put("ai", "a", pod(f"10.0.0.{number}", "a"))
            assert await hosts(lists) == [f"10.0.0.{number}"]
    assert caplog.text.count("pod ai/odd declares no port named 'http' and no port 11434; it is left out") == 1


async def test_the_age_is_that_of_the_most_silent_namespace(api: FakeApi, tmp_path: Path) -> None:
    """One that talks all the time must not hide that another one has fallen silent."""
    source = kubernetes_source(Kubernetes(namespaces=("ai", "lab")), reach(api, tmp_path))
    async with runner(source) as lists:
        assert await hosts(lists) == []
        began = time.monotonic()
        for number in range(1, 5):
            api.put("ai", f"ollama-{number}", pod(f"10.0.0.{number}", str(number)))
            assert len(await hosts(lists)) == number
        silent_seconds = time.monotonic() - began
        age_seconds = source.status().age_seconds
        assert age_seconds is not None
        assert age_seconds >= silent_seconds


async def test_the_watch_uses_the_times_of_the_config(api: FakeApi, tmp_path: Path) -> None:
    """A watch of ten seconds, 20 % more or less."""
    source = kubernetes_source(Kubernetes(watch_timeout=Seconds(10)), reach(api, tmp_path))
    async with runner(source) as lists:
        await hosts(lists)
        await until(lambda: any("watch" in query for _, query in api.asked))
    (seconds,) = (int(query["timeoutSeconds"]) for _, query in api.asked if "watch" in query)
    assert 8 <= seconds <= 12


class Counted(Pods):
    """Pods, and how often their endpoints were evaluated."""

    evaluations = 0

    def found(self, kept: Iterable[Candidate]) -> Mapping[Address, Pod]:
        """See Kind."""
        self.evaluations += 1
        return super().found(kept)


async def test_a_change_that_changes_no_endpoint_gives_no_list(api: FakeApi, tmp_path: Path) -> None:
    """Such as a pod that is not ready and starts once more."""
    api.put("ai", "a", pod("10.0.0.1", "a"))
    settings = Kubernetes()
    kind = Counted(settings)
    async with runner(KubernetesSource(kind, settings, reach(api, tmp_path))) as lists:
        assert await hosts(lists) == ["10.0.0.1"]
        second = asyncio.create_task(hosts(lists))
        evaluations = kind.evaluations
        api.put("ai", "b", pod("10.0.0.2", "b", ready="False"))
        await until(lambda: kind.evaluations > evaluations)
        assert not second.done()
        api.put("ai", "c", pod("10.0.0.3", "c"))
        assert await second == ["10.0.0.1", "10.0.0.3"]


async def test_endpoint_slices_of_the_service_are_followed(api: FakeApi, tmp_path: Path) -> None:
    """By the label that Kubernetes gives them; no pod is asked for."""
    api.put("ai", "ollama-x", sliced("10.0.0.1", "a"))
    settings = Kubernetes(mode="endpointslices", service="ollama")
    source = kubernetes_source(settings, reach(api, tmp_path))
    async with runner(source) as lists:
        assert await hosts(lists) == ["10.0.0.1"]
        api.put("ai", "ollama-y", sliced("10.0.0.2", "b"))
        assert await hosts(lists) == ["10.0.0.1", "10.0.0.2"]
    assert {path for path, _ in api.asked} == {"/apis/discovery.k8s.io/v1/namespaces/ai/endpointslices"}
    assert api.asked[0][1]["labelSelector"] == "kubernetes.io/service-name=ollama"
    assert source.name == "kubernetes endpoint slices"


async def test_a_stopped_source_ends_its_watch(api: FakeApi, tmp_path: Path) -> None:
    """Its watch would last for minutes."""
    before = set(threading.enumerate())
    async with runner(kubernetes_source(Kubernetes(), reach(api, tmp_path))) as lists:
        await hosts(lists)
        await until(lambda: any("watch" in query for _, query in api.asked))
        watching = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("watch pods")]
        assert len(watching) == 1
    await until(lambda: not watching[0].is_alive())
