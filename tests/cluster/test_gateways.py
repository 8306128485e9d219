"""Gateways know each other from the endpoint slices of their Service: how many are ready, who is there, and where."""

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.cluster.fake_api import FakeApi, reach, serving
from tests.flow.waiting import until

from ai_gateway.cluster.access import Access
from ai_gateway.cluster.gateways import Gateways, GatewayServices, services_of
from ai_gateway.cluster.members import Member, canonical, count_ready, joined, read_members


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


def members(*contents: object) -> dict[str, Member]:
    """The gateways of these slices."""
    return joined(read_members(msgspec.json.encode(content)) for content in contents)


def ready(*contents: object) -> set[str]:
    return {uid for uid, member in members(*contents).items() if member.is_ready}


@asynccontextmanager
async def following(api: FakeApi, folder: Path, services: GatewayServices) -> AsyncIterator[Gateways]:
    gateways = Gateways(services, reach(api, folder))
    gateways.start()
    gateways.start()  # once is enough
    try:
        yield gateways
    finally:
        gateways.stop()


def test_only_ready_gateways_count() -> None:
    """Unset means ready; one that leaves is not."""
    assert ready(sliced(("10.0.0.1", "a"))) == {"a"}
    assert ready(sliced(("10.0.0.1", "a"), ready=True)) == {"a"}
    assert ready(sliced(("10.0.0.1", "a"), ready=False)) == set()
    assert ready(sliced(("10.0.0.1", "a"), ready=True, terminating=True)) == set()
    assert ready(of(None)) == set()
    assert ready(of([{"addresses": ["10.0.0.9"]}])) == {"10.0.0.9"}


def test_a_gateway_with_two_addresses_counts_once() -> None:
    """It is asked at its IPv4 address."""
    found = members(sliced(("fd00::1", "a")), sliced(("10.0.0.1", "a"), ("10.0.0.2", "b")))
    assert count_ready(found.values()) == 2
    assert found["a"].addresses == ("10.0.0.1", "fd00::1")


def test_the_gateway_itself_always_counts() -> None:
    assert count_ready([]) == 1
    assert count_ready(members(sliced(("10.0.0.1", "a"), ready=False)).values()) == 1


def test_a_gateway_that_one_slice_calls_terminating_is_so() -> None:
    """A slice may be a moment behind another, and a pod that is being deleted never comes back."""
    leaving, before = sliced(("10.0.0.1", "a"), terminating=True), sliced(("10.0.0.1", "a"), ready=True)
    for found in (members(leaving, before), members(before, leaving)):
        assert found["a"] == Member("a", ("10.0.0.1",), None, is_ready=False, is_terminating=True)


def test_a_service_may_list_the_admin_port() -> None:
    udp = {"name": "admin", "port": 1, "protocol": "UDP"}
    listed = {**sliced(("10.0.0.1", "a")), "ports": [udp, {"name": "admin", "port": 9091, "protocol": "TCP"}]}
    assert members(listed)["a"].admin_port == 9091
    assert members(sliced(("10.0.0.1", "a")))["a"].admin_port is None


@pytest.mark.parametrize(
    ("one", "same"),
    [("::ffff:10.0.0.1", "10.0.0.1"), ("FD00::0:1", "fd00::1"), ("fe80::1%eth0", "fe80::1"), ("10.0.0.1", "10.0.0.1")],
)
def test_an_address_is_the_same_in_every_spelling(one: str, same: str) -> None:
    assert canonical(one) == canonical(same)


async def test_gateways_come_and_go(api: FakeApi, tmp_path: Path) -> None:
    api.put("ai", "gateway-x", sliced(("10.0.0.1", "a"), ("10.0.0.2", "b")))
    assert Gateways(GatewayServices(counted="gateway"), reach(api, tmp_path)).ready() == 1
    async with following(api, tmp_path, GatewayServices(counted="gateway")) as gateways:
        await until(lambda: gateways.ready() == 2, "both are counted")
        assert gateways.are_known
        api.put("ai", "gateway-y", sliced(("10.0.0.3", "c")))
        await until(lambda: gateways.ready() == 3, "the third is counted")
        api.delete("ai", "gateway-x")
        await until(lambda: gateways.ready() == 1, "two are gone")
        assert gateways.peers() == []  # limits alone are shared
    path, query = api.asked[0]
    assert path == "/apis/discovery.k8s.io/v1/namespaces/ai/endpointslices"
    assert query["labelSelector"] == "kubernetes.io/service-name=gateway"
    assert sum("watch" not in query for _, query in api.asked) == 1


async def test_the_namespace_may_be_named(api: FakeApi, tmp_path: Path) -> None:
    api.put("other", "gateway-x", sliced(("10.0.0.1", "a"), ("10.0.0.2", "b")))
    async with following(api, tmp_path, GatewayServices(counted="other/gateway")) as gateways:
        await until(lambda: gateways.ready() == 2, "both are counted")


async def test_without_a_service_it_asks_no_server(api: FakeApi, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    async with following(api, tmp_path, GatewayServices()) as gateways:
        assert (gateways.ready(), set(threading.enumerate()) - before) == (1, set())


async def test_without_rights_it_counts_one(api: FakeApi, tmp_path: Path) -> None:
    api.forbidden.add("ai")
    async with following(api, tmp_path, GatewayServices(counted="gateway")) as gateways:
        await until(lambda: gateways.reason, "it is refused")
        assert gateways.ready() == 1


async def test_the_others_are_known_with_their_addresses_and_states(api: FakeApi, tmp_path: Path) -> None:
    """Also those that are not ready or that leave: they still have calls. The gateway itself is none of them."""
    api.put("ai", "gateway-x", sliced(("10.0.0.1", "me"), ("10.0.0.2", "b")))
    api.put("ai", "gateway-y", sliced(("10.0.0.3", "c"), terminating=True))
    api.put("ai", "gateway-z", sliced(("10.0.0.4", "d"), ready=False))
    async with following(api, tmp_path, GatewayServices(peers="gateway", own_uid="me", is_in_pod=True)) as gateways:
        await until(lambda: gateways.knows_itself and len(gateways.peers()) == 3, "all others are known")
        found = {peer.uid: (peer.addresses, peer.is_ready, peer.is_terminating) for peer in gateways.peers()}
        assert found == {
            "b": (("10.0.0.2",), True, False),
            "c": (("10.0.0.3",), False, True),
            "d": (("10.0.0.4",), False, False),
        }
        assert gateways.has_address("::ffff:10.0.0.3")
        assert gateways.has_address("10.0.0.1")  # its own, through which a page of itself may be read
        assert not gateways.has_address("10.0.0.9")
        assert (gateways.ready(), gateways.peers_reason) == (1, None)  # no Service divides limits


async def test_one_watch_is_enough_for_one_service(api: FakeApi, tmp_path: Path) -> None:
    """Also where it is named with its namespace in one place alone."""
    api.put("ai", "gateway-x", sliced(("10.0.0.1", "me"), ("10.0.0.2", "b")))
    services = GatewayServices(counted="gateway", peers="ai/gateway", own_uid="me")
    async with following(api, tmp_path, services) as gateways:
        await until(lambda: gateways.ready() == 2 and len(gateways.peers()) == 1, "both are known")
    assert sum("watch" not in query for _, query in api.asked) == 1


async def test_two_services_are_two_watches(api: FakeApi, tmp_path: Path) -> None:
    api.put("ai", "gateway-x", sliced(("10.0.0.1", "me"), ("10.0.0.2", "b")))
    api.put("other", "all-x", sliced(("10.0.0.1", "me"), ("10.0.0.2", "b"), ("10.0.0.3", "c")))
    services = GatewayServices(counted="gateway", peers="other/all", own_uid="me")
    async with following(api, tmp_path, services) as gateways:
        await until(lambda: gateways.ready() == 2 and len(gateways.peers()) == 2, "both Services are followed")


async def test_the_last_gateways_stay_while_the_api_server_is_away(api: FakeApi, tmp_path: Path) -> None:
    api.put("ai", "gateway-x", sliced(("10.0.0.1", "me"), ("10.0.0.2", "b")))
    async with following(api, tmp_path, GatewayServices(peers="gateway", own_uid="me")) as gateways:
        await until(gateways.peers, "the other is known")
        api.forbidden.add("ai")
        api.is_ending = True  # of its watches
        with api.change:
            api.change.notify_all()
        await until(lambda: gateways.peers_reason, "the API server refuses")
        assert [peer.uid for peer in gateways.peers()] == ["b"]
        assert gateways.knows_itself


@pytest.mark.parametrize(
    ("services", "told"),
    [
        (GatewayServices(is_in_pod=True), "AI_GATEWAY_PEERS_SERVICE is not set"),
        (GatewayServices(own_uid="me", is_in_pod=True), "AI_GATEWAY_PEERS_SERVICE is not set"),
        (GatewayServices(peers="gateway", is_in_pod=True), "AI_GATEWAY_POD_UID is not set"),
        (GatewayServices(peers="gateway"), "AI_GATEWAY_POD_UID is not set"),
        (GatewayServices(peers="gateway", own_uid="other"), "does not list this gateway's own pod"),
    ],
    ids=str,
)
async def test_in_a_cluster_a_gateway_never_takes_itself_for_the_only_one(
    api: FakeApi, tmp_path: Path, services: GatewayServices, told: str
) -> None:
    """Unless it finds itself in its Service: others may be there that it cannot see. Health says what is missing."""
    api.put("ai", "gateway-x", sliced(("10.0.0.1", "me")))
    async with following(api, tmp_path, services) as gateways:
        await until(lambda: told in (gateways.peers_reason or ""), "the reason is told")
        assert not gateways.knows_itself


def test_outside_of_a_cluster_it_is_alone() -> None:
    services = services_of({"AI_GATEWAY_SERVICE": ""}, Access(service_account=Path("/nowhere")))
    assert services == GatewayServices()


def test_in_a_pod_without_a_token_it_knows_that_it_is_in_a_cluster() -> None:
    """Such as the sidecar of an application."""
    environment = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "AI_GATEWAY_POD_UID": "me"}
    services = services_of(environment, Access(service_account=Path("/nowhere")))
    assert services == GatewayServices(own_uid="me", is_in_pod=True)
