"""Who may talk to whom, evaluated against the rendered pods: the cluster of the tests does not enforce policies."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from tests.helm.pods import gateways, pods, selects
from tests.helm.running import Object, kind, rendered
from tests.helm.worlds import objects_of

pytestmark = pytest.mark.cluster


class End(NamedTuple):
    """A pod, as policies see it."""

    namespace: str
    labels: dict[str, str]

    @property
    def namespace_labels(self) -> dict[str, str]:
        return {"kubernetes.io/metadata.name": self.namespace}


STRANGER = End("elsewhere", {"app": "stranger"})
USUAL_OLLAMA = {"app.kubernetes.io/name": "ollama", "app.kubernetes.io/instance": "ollama"}


def _ends(objects: list[Object]) -> dict[str, End]:
    return {pod.maker.partition("/")[0]: End(pod.namespace, dict(pod.labels)) for pod in pods(objects)}


def _may(objects: list[Object], source: End, target: End, port: int) -> bool:
    """Both ends must allow it."""
    out = _allows(objects, "Egress", source, target, port)
    into = _allows(objects, "Ingress", target, source, port)
    return out and into


def _allows(objects: list[Object], direction: str, end: End, other: End, port: int) -> bool:
    policies = [one["spec"] for one in kind(objects, "NetworkPolicy") if _is_about(one, end, direction)]
    if not policies:
        return True
    rules = [rule for policy in policies for rule in policy.get(direction.lower(), [])]
    side = "to" if direction == "Egress" else "from"
    return any(_has_port(rule, port) and _has_peer(rule.get(side), end, other) for rule in rules)


def _is_about(policy: Object, end: End, direction: str) -> bool:
    is_here = policy["metadata"]["namespace"] == end.namespace
    spec = policy["spec"]
    return is_here and direction in spec["policyTypes"] and selects(spec["podSelector"], end.labels)


def _has_port(rule: dict[str, Any], port: int) -> bool:
    return "ports" not in rule or any(one["port"] == port for one in rule["ports"])


def _has_peer(peers: list[dict[str, Any]] | None, end: End, other: End) -> bool:
    return not peers or any(_is_peer(peer, end, other) for peer in peers)


def _is_peer(peer: dict[str, Any], end: End, other: End) -> bool:
    if "namespaceSelector" in peer:
        is_there = selects(peer["namespaceSelector"], other.namespace_labels)
    else:
        is_there = other.namespace == end.namespace
    return is_there and selects(peer.get("podSelector", {}), other.labels)


def _gateway(objects: list[Object]) -> End:
    (pod,) = gateways(objects)
    return End(pod.namespace, dict(pod.labels))


def _policed() -> Iterator[tuple[str, list[Object], End]]:
    """Worlds whose policies also guard Ollama, with an Ollama pod of each."""
    yield "usual chart", objects_of(("network-policy",)), End("ai", USUAL_OLLAMA)
    elsewhere = objects_of(("discovery-namespaces",))
    yield "other namespace", elsewhere, End("gpu-b", {**USUAL_OLLAMA, "tier": "chat"})
    yield "own", objects_of(("ollama",)), _ends(objects_of(("ollama",)))["StatefulSet"]
    yield "sidecar", objects_of(("ollama-sidecar",)), _ends(objects_of(("ollama-sidecar",)))["StatefulSet"]
    sidecar = objects_of(("ollama-sidecar", "names"))
    yield "sidecar, other ports and names", sidecar, _ends(sidecar)["StatefulSet"]


def test_only_gateways_reach_ollama() -> None:
    for name, objects, ollama in _policed():
        assert _may(objects, _gateway(objects), ollama, 11434), name
        for stranger in (STRANGER, End(ollama.namespace, {"app": "stranger"})):
            assert not _may(objects, stranger, ollama, 11434), name


def test_a_peer_that_the_values_name_reaches_ollama() -> None:
    objects = objects_of(("network-policy",))
    assert _may(objects, End("ai", {"pulls-models": "true"}), End("ai", USUAL_OLLAMA), 11434)
    assert not _may(objects, End("other", {"pulls-models": "true"}), End("ai", USUAL_OLLAMA), 11434)


def test_everyone_reaches_the_api_unless_peers_are_named() -> None:
    objects = objects_of(("discovery-static",))
    assert _may(objects, STRANGER, _gateway(objects), 8080)
    named = objects_of(("network-policy",))
    assert not _may(named, STRANGER, _gateway(named), 8080)
    monitoring = End("monitoring", {})
    assert not _may(named, monitoring, _gateway(named), 8080)
    assert _may(named, monitoring, _gateway(named), 9090)
    assert not _may(named, STRANGER, _gateway(named), 9090)


def test_the_pod_of_helm_test_reaches_the_api() -> None:
    for world in [("network-policy",), ("names", "network-policy"), ("ollama-sidecar",)]:
        objects = objects_of(world)
        port = gateways(objects)[0].port("api" if world == ("ollama-sidecar",) else "http")
        assert _may(objects, _ends(objects)["Pod"], _gateway(objects), port)


def test_a_gateway_reaches_dns_the_api_server_and_nothing_else() -> None:
    objects = objects_of(("network-policy",))
    gateway = _gateway(objects)
    reached = {port for port in (53, 80, 443, 4318, 5432, 6443, 8080, 11434) if _may(objects, gateway, STRANGER, port)}
    assert reached == {53, 443, 6443, 4318}  # the last by egressExtra


def test_collectors_are_reached_at_their_ports() -> None:
    """That of a URL without one is its scheme's."""
    objects = objects_of(("tracing",))
    reached = [port for port in (80, 443, 4317, 4318, 9999) if _may(objects, _gateway(objects), STRANGER, port)]
    assert reached == [443, 4318]  # 443 is the API server's as well
    values = {"tracing": {"enabled": True, "endpoint": "http://collector"}, "networkPolicy": {"enabled": True}}
    plain = rendered("helm4", values=values)
    assert _may(plain, _gateway(plain), STRANGER, 80)


def test_where_nobody_asks_the_api_server_its_ports_stay_closed() -> None:
    values = {"config": {"watch": "mount"}, "discovery": {"mode": "dns"}, "networkPolicy": {"enabled": True}}
    objects = rendered("helm4", values=values)
    assert [port for port in (443, 6443, 11434) if _may(objects, _gateway(objects), STRANGER, port)] == [11434]


def test_postgresql_is_reached_at_its_port_where_the_audit_is_there() -> None:
    objects = objects_of(("audit-postgresql",))
    assert [port for port in (5432, 6432) if _may(objects, _gateway(objects), STRANGER, port)] == [6432]


def test_urls_of_ones_own_are_reached_at_their_ports() -> None:
    objects = objects_of(("discovery-static",))
    assert all(_may(objects, _gateway(objects), STRANGER, port) for port in (11434, 443))


def test_probes_and_metrics_reach_the_admin_port_also_where_only_ollama_is_guarded() -> None:
    values = {"placement": "ollama-sidecar", "networkPolicy": {"ollama": {"enabled": True}}}
    objects = rendered("helm4", values=values)
    assert _may(objects, STRANGER, _gateway(objects), 9090)
    assert _may(objects, STRANGER, _gateway(objects), 8080)
    assert not _may(objects, STRANGER, _gateway(objects), 11434)


def test_beside_ollama_the_gateways_policy_does_not_keep_other_gateways_from_it() -> None:
    objects = rendered("helm4", values={"placement": "ollama-sidecar", "networkPolicy": {"enabled": True}})
    assert _may(objects, _gateway(objects), _gateway(objects), 11434)
    assert not _may(objects, STRANGER, _gateway(objects), 11434)


def test_redis_is_reached_at_its_port() -> None:
    """That of a URL without one is the usual."""
    objects = objects_of(("limits",))
    assert [port for port in (6379, 6380) if _may(objects, _gateway(objects), STRANGER, port)] == [6380]
    values = {"config": {"limits": {"redis": {"url": "redis://redis.data"}}}, "networkPolicy": {"enabled": True}}
    usual = rendered("helm4", values=values)
    assert [port for port in (6379, 6380) if _may(usual, _gateway(usual), STRANGER, port)] == [6379]
