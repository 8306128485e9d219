"""Who may talk to whom, evaluated against the rendered pods: the cluster of the tests does not enforce policies."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import yaml
from tests.cluster.control_plane import ControlPlane
from tests.helm.pods import Pod, gateways, pods, selects
from tests.helm.running import Object, kind, rendered
from tests.helm.worlds import World, objects_of

pytestmark = pytest.mark.cluster


class End(NamedTuple):
    """A pod, as policies see it, with the ports that it declares by name."""

    namespace: str
    labels: dict[str, str]
    ports: Mapping[str, int] = MappingProxyType({"http": 11434})

    @property
    def namespace_labels(self) -> dict[str, str]:
        return {"kubernetes.io/metadata.name": self.namespace}


STRANGER = End("elsewhere", {"app": "stranger"}, {})
USUAL_OLLAMA = {"app.kubernetes.io/name": "ollama", "app.kubernetes.io/instance": "ollama"}


def _ends(objects: list[Object]) -> dict[str, End]:
    return {pod.maker.partition("/")[0]: _end(pod) for pod in pods(objects)}


def _end(pod: Pod) -> End:
    ports = [port for container in pod.containers for port in container.get("ports", [])]
    return End(pod.namespace, dict(pod.labels), {port["name"]: port["containerPort"] for port in ports})


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
    called = other if direction == "Egress" else end
    return any(_has_port(rule, called, port) and _has_peer(rule.get(side), end, other) for rule in rules)


def _is_about(policy: Object, end: End, direction: str) -> bool:
    is_here = policy["metadata"]["namespace"] == end.namespace
    spec = policy["spec"]
    return is_here and direction in spec["policyTypes"] and selects(spec["podSelector"], end.labels)


def _has_port(rule: dict[str, Any], called: End, port: int) -> bool:
    """A name means the port that the pod which is called gives it."""
    return "ports" not in rule or any(port in (one["port"], called.ports.get(one["port"])) for one in rule["ports"])


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
    return _end(pod)


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
    ports = (53, 80, 443, 4318, 5353, 5432, 6443, 8080, 11434)
    reached = {port for port in ports if _may(objects, gateway, STRANGER, port)}
    assert reached == {53, 5353, 443, 6443, 4318}  # the last by egressExtra, 5353 as OpenShift's DNS has it


def test_collectors_are_reached_at_their_ports() -> None:
    """That of a URL without one is its scheme's."""
    objects = objects_of(("tracing",))
    reached = [port for port in (80, 443, 4317, 4318, 9999) if _may(objects, _gateway(objects), STRANGER, port)]
    assert reached == [443, 4318]  # 443 is the API server's as well
    values = {"tracing": {"enabled": True, "endpoint": "http://collector"}, "networkPolicy": {"enabled": True}}
    plain = rendered("helm4", values=values)
    assert _may(plain, _gateway(plain), STRANGER, 80)


@pytest.mark.parametrize("world", [("network-policy",), ("names", "network-policy"), ("ollama-sidecar", "names")])
def test_gateways_reach_the_admin_port_of_each_other(world: World) -> None:
    """Whoever may read metrics, and no gateway of another release."""
    objects = objects_of(world)
    gateway, admin = _gateway(objects), gateways(objects)[0].port("admin")
    assert _may(objects, gateway, gateway, admin)
    other = gateway._replace(labels={**gateway.labels, "app.kubernetes.io/instance": "other"})
    assert not _allows(objects, "Egress", gateway, other, admin)
    assert not _allows(objects, "Egress", gateway, gateway._replace(namespace="elsewhere"), admin)


def test_the_api_server_is_reached_in_every_mode() -> None:
    """It tells which gateways there are."""
    values = {"config": {"watch": "mount"}, "discovery": {"mode": "dns"}, "networkPolicy": {"enabled": True}}
    objects = rendered("helm4", values=values)
    reached = [port for port in (443, 6443, 9090, 11434) if _may(objects, _gateway(objects), STRANGER, port)]
    assert reached == [443, 6443, 11434]


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


def _on(port: int, namespace: str = "ai", name: str = "http") -> End:
    """An Ollama pod of the usual chart that listens elsewhere, such as with `ollama.port=8000`."""
    return End(namespace, USUAL_OLLAMA, {name: port})


def test_ollama_is_reached_at_the_port_that_is_found_by_its_name() -> None:
    """By both policies; strangers are not let in there, and the pod's other ports stay shut."""
    objects = objects_of(("network-policy",))
    assert _may(objects, _gateway(objects), _on(8000), 8000)
    assert _may(objects, _gateway(objects), _on(11434, name="other"), 11434)
    assert not _may(objects, STRANGER, _on(8000), 8000)
    assert not _may(objects, _gateway(objects), _on(8000), 9000)


def test_a_port_of_another_name_is_reached_by_that_name_alone() -> None:
    values = {"discovery": {"portName": "api"}, "networkPolicy": {"enabled": True, "ollama": {"enabled": True}}}
    objects = rendered("helm4", values=values)
    assert _may(objects, _gateway(objects), _on(8000, name="api"), 8000)
    assert not _may(objects, _gateway(objects), _on(8000), 8000)


@pytest.mark.parametrize(
    ("discovery", "namespace"),
    [
        ({"mode": "endpointslices"}, "ai"),
        ({"mode": "endpointslices", "namespaces": ["gpu"]}, "gpu"),
        ({"mode": "dns"}, "ai"),
        ({"mode": "dns", "namespaces": ["gpu"]}, "gpu"),
        ({"mode": "dns", "serviceName": "ollama.gpu"}, "gpu"),
        ({"mode": "dns", "serviceName": "ollama.gpu.svc.cluster.local."}, "gpu"),
        ({"mode": "static", "static": ["http://ollama:80"]}, "ai"),
        ({"mode": "static", "static": ["http://ollama.gpu.svc"]}, "gpu"),
        ({"mode": "static", "static": ["http://10.0.0.1", {"url": "http://ollama.gpu:80"}]}, "gpu"),
    ],
    ids=str,
)
def test_behind_a_service_pods_are_reached_at_their_own_port(discovery: dict[str, Any], namespace: str) -> None:
    """Policies see where a connection ends, not the Service's port."""
    objects = rendered("helm4", values={"discovery": discovery, "networkPolicy": {"enabled": True}})
    assert _may(objects, _gateway(objects), _on(8000, namespace), 8000)
    assert not _may(objects, _gateway(objects), _on(8000, "elsewhere"), 8000)


@pytest.mark.parametrize("url", ["https://ollama.example.com", "http://10.0.0.1:8000", "http://[fd00::1]:8000"])
def test_a_url_of_no_service_opens_no_port_of_pods(url: str) -> None:
    values = {"discovery": {"mode": "static", "static": [url]}, "networkPolicy": {"enabled": True}}
    objects = rendered("helm4", values=values)
    assert not _may(objects, _gateway(objects), _on(9000), 9000)


@pytest.mark.parametrize("name", ["a-long-name-of-a-services-port", "8000", "", "Http", "a--b"])
def test_a_name_that_no_pod_can_give_its_port_stands_in_no_policy(judge: ControlPlane, name: str) -> None:
    values = {"discovery": {"portName": name}, "networkPolicy": {"enabled": True, "ollama": {"enabled": True}}}
    objects = rendered("helm4", values=values)
    policies = kind(objects, "NetworkPolicy")
    judge.kubectl("apply", "--dry-run=server", "--validate=strict", "--filename=-", input=yaml.safe_dump_all(policies))
    assert _may(objects, _gateway(objects), _on(11434, name="other"), 11434)


def test_dns_is_reached_at_the_ports_that_the_values_name() -> None:
    objects = rendered("helm4", values={"networkPolicy": {"enabled": True, "dnsPorts": [1053]}})
    assert [port for port in (53, 1053, 5353) if _may(objects, _gateway(objects), STRANGER, port)] == [1053]
