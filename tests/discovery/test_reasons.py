"""A source says what it asked for, and why what it saw is left out."""

from pathlib import Path

import pytest
from tests.cluster.fake_api import FakeApi, reach
from tests.discovery.listing import hosts, pod, runner, sliced
from tests.flow.waiting import until

from ai_gateway.config.types import Kubernetes
from ai_gateway.discovery.kubernetes import FIRST_LISTS_SECONDS, KubernetesSource, Pods, kubernetes_source
from ai_gateway.discovery.left_out import LeftOut


async def test_a_pod_that_went_and_came_again_is_named_again(
    api: FakeApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is kept of pods that went: a Job may make one a minute, for years."""
    api.put("ai", "a", pod("10.0.0.1", "a"))
    async with runner(kubernetes_source(Kubernetes(), reach(api, tmp_path))) as lists:
        assert await hosts(lists) == ["10.0.0.1"]
        for number in (2, 4):
            api.put("ai", "odd", pod("10.0.0.9", "odd", port=80))
            api.put("ai", "a", pod(f"10.0.0.{number}", "a"))
            assert await hosts(lists) == [f"10.0.0.{number}"]
            api.delete("ai", "odd")
            api.put("ai", "a", pod(f"10.0.0.{number + 1}", "a"))
            assert await hosts(lists) == [f"10.0.0.{number + 1}"]
    assert caplog.text.count("pod ai/odd declares no port") == 2


async def test_pods_that_are_left_out_are_told_by_their_reasons(api: FakeApi, tmp_path: Path) -> None:
    """With what was asked, and where."""
    api.put("ai", "a", pod("10.0.0.1", "a"))
    api.put("ai", "odd", pod("10.0.0.9", "odd", port=80))
    for name in ("b", "c"):
        api.put("lab", name, pod("10.0.0.2", name, ready="False"))
    source = kubernetes_source(Kubernetes(namespaces=("ai", "lab", "ai")), reach(api, tmp_path))
    async with runner(source) as lists:
        assert await hosts(lists) == ["10.0.0.1"]
        status = source.status()
    assert (status.selector, status.namespaces) == ("app.kubernetes.io/name=ollama", ("ai", "lab"))
    assert (status.seen, status.hint, status.reason) == (4, None, None)
    assert status.left_out == (
        LeftOut("is not ready", 2, ("lab/b", "lab/c")),
        LeftOut("declares no port named 'http' and no port 11434", 1, ("ai/odd",)),
    )


async def test_labels_that_no_pod_has_are_said_to_be(
    api: FakeApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With the namespaces, and how to find the labels: in health, and once in the log. It is no complaint: what scales
    to zero has no pods."""
    caplog.set_level("INFO", logger="ai_gateway")
    source = kubernetes_source(Kubernetes(label_selector="app=llm"), reach(api, tmp_path, "mine"))
    async with runner(source) as lists:
        assert await hosts(lists) == []
        status = source.status()
        assert status.hint is not None
        assert (
            "no pod in namespace mine has the labels app=llm: list the labels of your pods with `kubectl" in status.hint
        )
        assert (status.reason, status.seen, status.left_out) == (None, 0, ())
        api.put("mine", "a", pod("10.0.0.1", "a"))
        assert await hosts(lists) == ["10.0.0.1"]
        assert source.status().hint is None
    assert caplog.text.count(f"discovery: {status.hint}") == 1


async def test_a_namespace_without_pods_is_named_beside_others_that_have_some(api: FakeApi, tmp_path: Path) -> None:
    """It may be misspelt."""
    api.put("ai", "a", pod("10.0.0.1", "a"))
    source = kubernetes_source(Kubernetes(namespaces=("ai", "lab", "gpu")), reach(api, tmp_path))
    async with runner(source) as lists:
        assert await hosts(lists) == ["10.0.0.1"]
        assert str(source.status().hint).startswith("no pod in namespaces lab, gpu has the labels")


async def test_a_namespace_that_is_forbidden_is_not_said_to_be_empty(api: FakeApi, tmp_path: Path) -> None:
    """Nobody knows what is there; the complaint names the right that is missing."""
    api.put("ai", "a", pod("10.0.0.1", "a"))
    api.forbidden.add("lab")
    now = iter([0.0])
    settings = Kubernetes(namespaces=("ai", "lab"))
    source = KubernetesSource(Pods(settings), settings, reach(api, tmp_path), lambda: next(now, FIRST_LISTS_SECONDS))
    async with runner(source) as lists:
        assert await hosts(lists) == ["10.0.0.1"]
        await until(lambda: source.status().reason)
        assert source.status().hint is None
        assert source.status().namespaces == ("ai", "lab")


async def test_pods_of_which_none_takes_calls_are_pointed_at(api: FakeApi, tmp_path: Path) -> None:
    api.put("ai", "odd", pod("10.0.0.9", "odd", port=80))
    source = kubernetes_source(Kubernetes(), reach(api, tmp_path))
    async with runner(source) as lists:
        assert await hosts(lists) == []
        assert source.status().hint == "1 seen, but none takes calls: see left_out in /v1/health"


async def test_a_service_that_is_not_there_or_selects_nothing_is_said_to_be(api: FakeApi, tmp_path: Path) -> None:
    """A Service that selects nothing has a slice without endpoints."""
    settings = Kubernetes(mode="endpointslices", service="llm")
    source = kubernetes_source(settings, reach(api, tmp_path))
    async with runner(source) as lists:
        assert await hosts(lists) == []
        assert source.status().selector == "kubernetes.io/service-name=llm"
        assert "no endpoint slices of a Service llm in namespace ai" in str(source.status().hint)
        api.put("ai", "llm-x", {**sliced("10.0.0.1", "a"), "endpoints": None})
        await until(lambda: "Service llm in namespace ai has no endpoints" in str(source.status().hint))
        api.put("ai", "llm-x", {**sliced("10.0.0.1", "a"), "ports": [{"name": "a"}, {"name": "b"}]})
        await until(lambda: source.status().left_out)
        assert source.status().left_out[0].pods == ("ai/pod-a",)
