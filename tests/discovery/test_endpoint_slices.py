"""The endpoint slices of a Service: which endpoints take calls, and each pod once."""

import json
from typing import Any

import pytest

from ai_gateway.config.types import Kubernetes
from ai_gateway.discovery.endpoint_slices import Slice, join, read_slice

SETTINGS = Kubernetes(mode="endpointslices", service="ollama")
HTTP = {"name": "http", "port": 11434, "protocol": "TCP"}
Json = dict[str, Any]


def endpoint(address: str, uid: str | None = None, **conditions: bool | None) -> Json:
    target = None if uid is None else {"kind": "Pod", "name": f"pod-{uid}", "namespace": "ai", "uid": uid}
    return {"addresses": [address], "conditions": conditions, "targetRef": target, "nodeName": "n1", "zone": "z1"}


def sliced(*endpoints: Json, family: str = "IPv4", ports: list[Json] | None = None) -> Slice:
    content = {
        "metadata": {"name": "ollama-x", "namespace": "ai"},
        "addressType": family,
        "endpoints": list(endpoints) or None,
        "ports": [HTTP] if ports is None else ports,
    }
    return read(content)


def read(content: Json) -> Slice:
    return read_slice(json.dumps(content).encode(), SETTINGS)


def hosts(*parts: Slice) -> list[str]:
    return [address.host for address in join(parts)]


@pytest.mark.parametrize(
    ("conditions", "takes_calls"),
    [
        ({}, True),  # unset means ready
        ({"ready": None, "serving": None, "terminating": None}, True),
        ({"ready": True}, True),
        ({"ready": False}, False),
        ({"ready": False, "serving": True, "terminating": True}, False),
        ({"ready": True, "terminating": True}, False),  # publishNotReadyAddresses
    ],
)
def test_ready_endpoints_take_calls(conditions: dict[str, bool | None], takes_calls: bool) -> None:
    part = sliced(endpoint("10.0.0.1", "a", **conditions))
    assert (hosts(part), part.named) == (["10.0.0.1"] if takes_calls else [], 1)


def test_the_details_of_a_slice_are_kept() -> None:
    ((address, pod),) = sliced(endpoint("10.0.0.1", "a")).found.items()
    assert (address.port, address.uid) == (11434, "a")
    assert (pod.namespace, pod.name, pod.node, pod.zone) == ("ai", "pod-a", "n1", "z1")
    assert pod.num_parallel is None


@pytest.mark.parametrize(
    ("ports", "port"),
    [
        ([{"name": "metrics", "port": 11434}, {"name": "http", "port": 80}], 80),
        ([{"name": "api", "port": 11434, "protocol": None}], 11434),
    ],
)
def test_each_slice_has_its_own_port(ports: list[Json], port: int) -> None:
    (address,) = sliced(endpoint("10.0.0.1", "a"), ports=ports).found
    assert address.port == port


@pytest.mark.parametrize(
    ("ports", "port"),
    [
        ([{"name": "", "port": 8000, "protocol": "TCP"}], 8000),  # kubectl expose
        ([{"port": 8000}], 8000),
        ([{"name": "web", "port": 8000}], 8000),
        ([{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "web", "port": 8000}], 8000),
        ([{"name": "http"}], 11434),  # no number: any port
        ([{"name": "", "port": None}], 11434),
        ([], 11434),  # a headless Service without ports, or whose target port no pod declares
    ],
)
def test_a_service_with_one_port_or_none_is_unambiguous(ports: list[Json], port: int) -> None:
    """Whatever its name: you named the Service, so you mean its port."""
    (address,) = sliced(endpoint("10.0.0.1", "a"), ports=ports).found
    assert address.port == port


def test_ports_that_are_null_are_none() -> None:
    """Go writes null for what was never filled."""
    content = {"metadata": {"name": "x", "namespace": "ai"}, "addressType": "IPv4", "ports": None}
    assert [address.port for address in read({**content, "endpoints": [endpoint("10.0.0.1")]}).found] == [11434]


@pytest.mark.parametrize(
    "ports",
    [[{"name": "web", "port": 80}, {"name": "metrics", "port": 90}], [{"name": "http", "port": 53, "protocol": "UDP"}]],
)
def test_a_slice_without_the_port_is_left_out_with_a_reason(ports: list[Json]) -> None:
    """An empty one is nothing to talk of."""
    part = sliced(endpoint("10.0.0.1", "a"), endpoint("10.0.0.2", "b", ready=False), ports=ports)
    assert part.odd_reason == "has no port named 'http' and no port 11434"
    assert [(pod.name, reason) for pod, reason in part.left_out] == [
        ("pod-a", "is in a Service that has no port named 'http' and no port 11434"),
        ("pod-b", "is not ready"),
    ]
    assert (part.found, part.named) == ({}, 2)
    assert sliced(ports=ports).odd_reason is None


def test_an_endpoint_that_takes_no_calls_says_why() -> None:
    """By its pod's name, or by its address where it is none."""
    going, slow = endpoint("10.0.0.1", "a", ready=False, terminating=True), endpoint("10.0.0.2", ready=False)
    part = sliced(going, slow, endpoint("10.0.0.3", "c"))
    assert [(pod.name, reason) for pod, reason in part.left_out] == [
        ("pod-a", "is being deleted"),
        ("10.0.0.2", "is not ready"),
    ]
    assert [address.host for address in part.unready] == ["10.0.0.2"], "it may come back"


def test_a_pod_with_an_address_of_each_family_is_one_endpoint() -> None:
    """Whichever slice comes first; one that has only IPv6 is used with that."""
    four, six = (
        sliced(endpoint("10.0.0.1", "a")),
        sliced(endpoint("fd00::1", "a"), endpoint("fd00::2", "b"), family="IPv6"),
    )
    assert hosts(four, six) == ["10.0.0.1", "fd00::2"]
    assert sorted(hosts(six, four)) == ["10.0.0.1", "fd00::2"]


def test_a_pod_in_two_slices_is_one_endpoint() -> None:
    assert hosts(sliced(endpoint("10.0.0.1", "a")), sliced(endpoint("10.0.0.1", "a"))) == ["10.0.0.1"]


def test_endpoints_that_are_no_pods_are_endpoints_too() -> None:
    """A Service without selector may name hosts outside the cluster, by name as well."""
    parts = (
        sliced(endpoint("192.0.2.7")),
        sliced(endpoint("gpu.example"), family="FQDN"),
        sliced(endpoint("fd00::7"), family="IPv6"),
    )
    assert hosts(*parts) == ["192.0.2.7", "gpu.example", "fd00::7"]
