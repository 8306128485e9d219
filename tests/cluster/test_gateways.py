"""The gateways are counted from the endpoint slices of their Service: those that are ready, each once."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.cluster.fake_api import FakeApi, reach, serving
from tests.flow.waiting import until

from ai_gateway.cluster.gateways import Gateways, count_ready, read_ready


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """An API server."""
    with serving() as server:
        yield server


def sliced(*pods: tuple[str, str], **conditions: bool) -> dict[str, Any]:
    """An endpoint slice with these addresses and uids."""
    endpoints = [
        {"addresses": [address], "conditions": conditions, "targetRef": {"kind": "Pod", "uid": uid}}
        for address, uid in pods
    ]
    return of(endpoints)


def of(endpoints: list[dict[str, Any]] | None) -> dict[str, Any]:
    """An endpoint slice with these."""
    meta = {"name": "gateway-x", "namespace": "ai"}
    ports = [{"name": "http", "port": 8080}]
    return {"metadata": meta, "addressType": "IPv4", "endpoints": endpoints, "ports": ports}


def ready(content: object) -> frozenset[str]:
    return read_ready(msgspec.json.encode(content))


def test_only_ready_gateways_count() -> None:
    """Unset means ready; one that leaves is not."""
    assert ready(sliced(("10.0.0.1", "a"))) == {"a"}
    assert ready(sliced(("10.0.0.1", "a"), ready=True)) == {"a"}
    assert ready(sliced(("10.0.0.1", "a"), ready=False)) == frozenset()
    assert ready(sliced(("10.0.0.1", "a"), ready=True, terminating=True)) == frozenset()
    assert ready(of(None)) == frozenset()
    assert ready(of([{"addresses": ["10.0.0.9"]}])) == {"10.0.0.9"}


def test_a_gateway_with_two_addresses_counts_once() -> None:
    assert count_ready([ready(sliced(("10.0.0.1", "a"), ("10.0.0.2", "b"))), ready(sliced(("fd00::1", "a")))]) == 2


def test_whoever_asks_is_there() -> None:
    assert count_ready([]) == 1
    assert count_ready([frozenset()]) == 1


async def test_gateways_come_and_go(api: FakeApi, tmp_path: Path) -> None:
    gateways = Gateways("gateway", reach(api, tmp_path))
    assert gateways.ready() == 1
    api.put("ai", "gateway-x", sliced(("10.0.0.1", "a"), ("10.0.0.2", "b")))
    gateways.start()
    gateways.start()  # once is enough
    try:
        await until(lambda: gateways.ready() == 2, "both are counted")
        api.put("ai", "gateway-y", sliced(("10.0.0.3", "c")))
        await until(lambda: gateways.ready() == 3, "the third is counted")
        api.delete("ai", "gateway-x")
        await until(lambda: gateways.ready() == 1, "two are gone")
    finally:
        gateways.stop()
    path, query = api.asked[0]
    assert path == "/apis/discovery.k8s.io/v1/namespaces/ai/endpointslices"
    assert query["labelSelector"] == "kubernetes.io/service-name=gateway"
    assert sum("watch" not in query for _, query in api.asked) == 1


async def test_the_namespace_may_be_named(api: FakeApi, tmp_path: Path) -> None:
    api.put("other", "gateway-x", sliced(("10.0.0.1", "a"), ("10.0.0.2", "b")))
    gateways = Gateways("other/gateway", reach(api, tmp_path))
    gateways.start()
    await until(lambda: gateways.ready() == 2, "both are counted")
    gateways.stop()


async def test_without_a_service_nobody_is_asked(api: FakeApi, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    gateways = Gateways(None, reach(api, tmp_path))
    gateways.start()
    assert (gateways.ready(), set(threading.enumerate()) - before) == (1, set())


async def test_without_rights_it_is_one(api: FakeApi, tmp_path: Path) -> None:
    api.forbidden.add("ai")
    gateways = Gateways("gateway", reach(api, tmp_path))
    gateways.start()
    await until(lambda: gateways.reason, "it is refused")
    assert gateways.ready() == 1
    gateways.stop()
