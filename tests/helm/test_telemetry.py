"""What `tracing` and `metrics.otlp` become in a gateway's environment, read as the gateway reads it."""

from typing import Any

import pytest
from tests.helm.pods import gateways
from tests.helm.running import rendered
from tests.helm.worlds import World, objects_of

from ai_gateway.telemetry.settings import read_settings

pytestmark = pytest.mark.cluster

COLLECTOR = "http://otel-collector.monitoring:4318"


def environment(objects: list[Any]) -> dict[str, Any]:
    """The container's, in its order."""
    (pod,) = gateways(objects)
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in pod.container("gateway")["env"]}


def test_nothing_is_exported_unless_asked_for() -> None:
    """Not even a variable says so."""
    assert not any(name.startswith("OTEL_") for name in environment(objects_of(("default",))))


@pytest.mark.parametrize("world", [("tracing",), ("ollama-sidecar", "tracing"), ("names", "tracing")], ids=str)
def test_the_gateway_understands_all_of_it(world: World) -> None:
    """Each signal goes to its own collector; the URL of a signal is taken as it is, so it holds the path."""
    given = environment(objects_of(world))
    plain = {name: value for name, value in given.items() if isinstance(value, str)}
    settings = read_settings(plain)
    assert (settings.traces, settings.metrics, settings.metrics_seconds) == (("otlp",), ("otlp",), 15.0)
    assert settings.content
    assert given["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] == f"{COLLECTOR}/v1/traces"
    assert given["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"] == "https://metrics.example/v1/metrics"
    assert (given["OTEL_TRACES_SAMPLER"], given["OTEL_TRACES_SAMPLER_ARG"]) == ("parentbased_traceidratio", "0.5")
    assert given["OTEL_EXPORTER_OTLP_HEADERS"] == {"secretKeyRef": {"name": "collector", "key": "headers"}}


@pytest.mark.parametrize("world", [("tracing",), ("ollama-sidecar", "tracing")], ids=str)
def test_telemetry_names_the_pod(world: World) -> None:
    """Kubernetes replaces a variable only by one that stands before it."""
    given = environment(objects_of(world))
    names = list(given)
    said = dict(pair.split("=", 1) for pair in given["OTEL_RESOURCE_ATTRIBUTES"].split(","))
    for attribute, variable, path in (
        ("k8s.pod.name", "POD_NAME", "metadata.name"),
        ("k8s.pod.uid", "POD_UID", "metadata.uid"),
        ("k8s.namespace.name", "POD_NAMESPACE", "metadata.namespace"),
        ("k8s.node.name", "NODE_NAME", "spec.nodeName"),
    ):
        assert said[attribute] == f"$({variable})"
        assert given[variable]["fieldRef"]["fieldPath"] == path
        assert names.index(variable) < names.index("OTEL_RESOURCE_ATTRIBUTES")
    assert ("k8s.deployment.name" in said) == ("ollama-sidecar" not in world)
    assert said["k8s.container.name"] == "gateway"
    assert said["k8s.cluster.name"] == "staging"
    assert said["deployment.environment.name"] == "staging%2C%20eu"
    assert given["OTEL_SERVICE_NAME"]


def test_metrics_alone_can_be_pushed() -> None:
    values = {"metrics": {"otlp": {"enabled": True, "endpoint": COLLECTOR}}}
    given = environment(rendered("helm4", values=values))
    settings = read_settings({name: value for name, value in given.items() if isinstance(value, str)})
    assert (settings.traces, settings.metrics) == ((), ("otlp",))


def test_over_grpc_an_endpoint_has_no_path() -> None:
    endpoint = "http://collector:4317"
    values = {"tracing": {"enabled": True, "endpoint": endpoint, "protocol": "grpc"}}
    assert environment(rendered("helm4", values=values))["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] == endpoint


def test_ones_own_environment_goes_before_the_charts() -> None:
    own = [{"name": "OTEL_TRACES_SAMPLER", "value": "always_on"}]
    values = {"tracing": {"enabled": True, "endpoint": COLLECTOR, "sampler": "always_off"}, "extraEnv": own}
    assert environment(rendered("helm4", values=values))["OTEL_TRACES_SAMPLER"] == "always_on"


def test_settings_of_the_log_are_in_the_config() -> None:
    (config,) = (one for one in objects_of(("tracing",)) if one["kind"] == "ConfigMap" and "config.yml" in one["data"])
    assert "level: warning" in config["data"]["config.yml"]
