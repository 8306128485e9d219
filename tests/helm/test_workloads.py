"""What the workloads carry beside their containers, and how long their pods may take to leave."""

from typing import Any

import pytest
from tests.cluster.control_plane import ControlPlane
from tests.helm.judging import judged_by_server_side_apply
from tests.helm.pods import gateways, pods
from tests.helm.running import HELMS, kind, rendered

pytestmark = pytest.mark.cluster
every_helm = pytest.mark.parametrize("version", HELMS)

NETWORK: dict[str, Any] = {
    "dnsPolicy": "None",
    "dnsConfig": {"nameservers": ["10.0.0.2"], "options": [{"name": "ndots", "value": "2"}]},
    "hostAliases": [{"ip": "10.0.0.9", "hostnames": ["registry.internal"]}],
}


@every_helm
@pytest.mark.parametrize("placement", ["deployment", "ollama-sidecar"])
def test_every_pod_finds_names_as_the_values_say(judge: ControlPlane, version: str, placement: str) -> None:
    objects = rendered(version, values={**NETWORK, "placement": placement, "ollama": {"enabled": True}})
    judged_by_server_side_apply(judge, objects)
    for pod in pods(objects):
        assert {name: pod.spec[name] for name in NETWORK} == NETWORK, pod.maker


@every_helm
def test_the_deployment_has_annotations_and_labels_of_its_own(judge: ControlPlane, version: str) -> None:
    values = {
        "deploymentAnnotations": {"reloader": "auto", "contact": "llm", "gone": None},
        "deploymentLabels": {"tier": "edge"},
        "commonAnnotations": {"contact": "all"},
        "ollama": {"enabled": True, "annotations": {"reloader": "off"}, "labels": {"tier": "gpu"}},
    }
    objects = rendered(version, values=values)
    judged_by_server_side_apply(judge, objects)
    (deployment,), (ollama,) = kind(objects, "Deployment"), kind(objects, "StatefulSet")
    assert deployment["metadata"]["annotations"] == {"reloader": "auto", "contact": "llm"}
    assert deployment["metadata"]["labels"]["tier"] == "edge"
    assert (
        "annotations" not in deployment["spec"]["template"]["metadata"]
        or "reloader" not in (deployment["spec"]["template"]["metadata"]["annotations"])
    )
    assert ollama["metadata"]["annotations"] == {"reloader": "off", "contact": "all"}
    assert ollama["metadata"]["labels"]["tier"] == "gpu"


@every_helm
def test_in_a_pod_of_both_the_stateful_set_has_those_of_the_deployment(version: str) -> None:
    values = {"placement": "ollama-sidecar", "deploymentAnnotations": {"reloader": "auto"}}
    (workload,) = kind(rendered(version, values=values), "StatefulSet")
    assert workload["metadata"]["annotations"] == {"reloader": "auto"}


@every_helm
@pytest.mark.parametrize(("domain", "full"), [(None, "svc.cluster.local"), ("k8s.example.", "svc.k8s.example")])
def test_a_certificate_names_the_service_in_full(
    judge: ControlPlane, version: str, domain: str | None, full: str
) -> None:
    issued = {"enabled": True, "issuerRef": {"name": "internal"}, "dnsNames": ["gateway.example"]}
    values = {"clusterDomain": domain, "tls": {"enabled": True, "certManager": issued}}
    objects = rendered(version, values=values)
    judged_by_server_side_apply(judge, objects)
    (certificate,) = kind(objects, "Certificate")
    name = "ai-gateway-ollama"
    assert certificate["spec"]["dnsNames"] == [
        *(name, f"{name}.ai", f"{name}.ai.svc", f"{name}.ai.{full}"),
        "gateway.example",
    ]


DRAINS: list[tuple[dict[str, Any], int]] = [
    ({}, 311),
    ({"drain": {"delaySeconds": 60, "graceSeconds": 30}}, 91),
    ({"extraEnv": [{"name": "AI_GATEWAY_DRAIN_GRACE", "value": "10m"}]}, 611),
    ({"extraEnv": [{"name": "AI_GATEWAY_DRAIN_DELAY", "value": "500ms"}]}, 302),
    (
        {"extraEnv": [{"name": "AI_GATEWAY_DRAIN_GRACE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]},
        311,
    ),
    ({"extraArgs": ["--drain-grace=20", "--drain-delay", "1m"]}, 81),
    ({"extraArgs": ["--drain-grace=20s"], "extraEnv": [{"name": "AI_GATEWAY_DRAIN_GRACE", "value": "1d"}]}, 31),
    ({"lifecycle": {"preStop": {"sleep": {"seconds": 15}}}}, 325),  # in place of the chart's second
]


@pytest.mark.parametrize(("values", "seconds"), DRAINS, ids=lambda one: str(one) if isinstance(one, int) else "")
def test_a_pod_has_twenty_seconds_more_than_it_needs_to_leave(values: dict[str, Any], seconds: int) -> None:
    for version in HELMS:
        (pod,) = gateways(rendered(version, values=values))
        assert pod.spec["terminationGracePeriodSeconds"] == seconds + 20


@pytest.mark.parametrize("version", HELMS)
def test_a_gateway_has_a_second_to_hear_that_it_shall_leave(version: str) -> None:
    """Its first process may be milliseconds old; a hook of the user's is instead of the chart's."""
    (pod,) = gateways(rendered(version, values={"lifecycle": {"postStart": {"sleep": {"seconds": 1}}}}))
    waits = {"exec": {"command": ["python3", "-c", "import time; time.sleep(1)"]}}
    assert pod.container("gateway")["lifecycle"] == {"preStop": waits, "postStart": {"sleep": {"seconds": 1}}}
    own = {"preStop": {"sleep": {"seconds": 15}}}
    (pod,) = gateways(rendered(version, values={"lifecycle": own}))
    assert pod.container("gateway")["lifecycle"] == own


@pytest.mark.parametrize("placement", ["deployment", "ollama-sidecar"])
def test_ollama_may_wait_for_a_whole_drain(placement: str) -> None:
    """Its hook waits for 2 s, then until no gateway has a connection, at most as long as a drain takes."""
    values = {
        "placement": placement,
        "ollama": {"enabled": True},
        "drain": {"delaySeconds": 120},
        "extraArgs": ["--drain-grace=9m"],
    }
    for version in HELMS:
        (workload,) = kind(rendered(version, values=values), "StatefulSet")
        (pod,) = pods([workload])
        hook = pod.container("ollama")["lifecycle"]["preStop"]["exec"]["command"][-1]
        assert "seconds=660\n" in hook
        assert pod.spec["terminationGracePeriodSeconds"] > 2 + 660


def test_without_any_metric_kubernetes_scales_by_its_own() -> None:
    none = {"enabled": True, "targetCPUUtilizationPercentage": None}
    for version in HELMS:
        (scaler,) = kind(rendered(version, values={"autoscaling": none}), "HorizontalPodAutoscaler")
        assert not scaler["spec"].get("metrics")


def test_a_constraint_that_names_its_pods_keeps_them_and_others_get_the_gateways() -> None:
    spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    own = {"matchExpressions": [{"key": "team", "operator": "Exists"}]}
    values = {
        "topologySpreadConstraints": [{**spread, "labelSelector": own}, spread, {**spread, "labelSelector": None}]
    }
    for version in HELMS:
        objects = rendered(version, values=values)
        (deployment,) = kind(objects, "Deployment")
        selectors = [one["labelSelector"] for one in gateways(objects)[0].spec["topologySpreadConstraints"]]
        assert selectors == [own, deployment["spec"]["selector"], deployment["spec"]["selector"]]
