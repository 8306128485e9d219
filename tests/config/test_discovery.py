"""`discovery` names one source, and invalid values are refused with their paths."""

import pytest

from ai_gateway.config.loading import ConfigError, parse
from ai_gateway.config.types import Discovery, Dns, Kubernetes
from ai_gateway.config.units import Seconds


@pytest.mark.parametrize(
    ("text", "discovery"),
    [
        ("{}", Discovery()),
        ("{kubernetes: {}}", Discovery(kubernetes=Kubernetes())),
        ("{kubernetes: {namespaces: [ai, lab-2]}}", Discovery(kubernetes=Kubernetes(namespaces=("ai", "lab-2")))),
        (
            "{kubernetes: {mode: endpointslices, service: ollama, watch_timeout: 3s}}",
            Discovery(kubernetes=Kubernetes(mode="endpointslices", service="ollama", watch_timeout=Seconds(3))),
        ),
        ("{dns: {name: ollama.ai.svc, interval: 1m}}", Discovery(dns=Dns(name="ollama.ai.svc", interval=Seconds(60)))),
    ],
)
def test_each_source_is_read(text: str, discovery: Discovery) -> None:
    assert parse(f"discovery: {text}".encode()).discovery == discovery


def test_the_defaults_are_those_of_the_usual_ollama_chart() -> None:
    """Its label, the name of its port, and times that spare the API server."""
    usual = Kubernetes()
    assert (usual.mode, usual.namespaces, usual.label_selector) == ("pods", (), "app.kubernetes.io/name=ollama")
    assert (usual.port_name, usual.port) == ("http", 11434)
    assert [float(usual.watch_timeout), float(usual.read_timeout)] == [300, 15]


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("{kubernetes: {mode: nodes}}", "discovery.kubernetes.mode", "; use one of endpointslices, pods"),
        ("{kubernetes: {mode: endpointslices}}", "discovery.kubernetes.service", "belongs to the mode endpointslices"),
        ("{kubernetes: {service: ollama}}", "discovery.kubernetes.service", "belongs to the mode endpointslices"),
        ("{kubernetes: {namespaces: [ai, 'a/b']}}", "discovery.kubernetes.namespaces[1]", "is not a valid namespace"),
        ("{kubernetes: {namespaces: [Ai]}}", "discovery.kubernetes.namespaces[0]", "is not a valid namespace"),
        ("{kubernetes: {namespaces: ['']}}", "discovery.kubernetes.namespaces[0]", "is not a valid namespace"),
        ("{kubernetes: {namespaces: ai}}", "discovery.kubernetes.namespaces", "expected a list"),
        ("{kubernetes: {port: 0}}", "discovery.kubernetes.port", ">= 1"),
        ("{kubernetes: {watch_timeout: 0}}", "discovery.kubernetes.watch_timeout", "is not a duration above 0"),
        ("{kubernetes: {label: x}}", "discovery.kubernetes", "unknown key `label`"),
        ("{dns: {}}", "discovery.dns", "missing required field `name`"),
        ("{dns: {name: ''}}", "discovery.dns.name", "length >= 1"),
        ("{dns: {name: a, port: 65536}}", "discovery.dns.port", "<= 65535"),
        ("{dns: {name: a}, kubernetes: {}}", "discovery", "only one of dns, kubernetes can be used"),
        ("{static: [], dns: {name: a}}", "discovery", "only one of static, dns can be used"),
    ],
)
def test_an_invalid_discovery_is_refused_with_its_path(text: str, path: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(f"discovery: {text}".encode())
    ((found, message),) = refused.value.reasons
    assert found == path
    assert words in message


@pytest.mark.parametrize(
    "selector",
    ["app=ollama", "app==ollama", "app!=ollama", "app", "!app", "a.example/app=x,tier in (a, b),!old", "app=", "n>1",
     "tier notin (a)", "app.kubernetes.io/name=ollama,app.kubernetes.io/instance=x", " app = x , b ", ""],
)  # fmt: skip
def test_a_valid_selector_is_accepted(selector: str) -> None:
    config = parse(f"discovery: {{kubernetes: {{label_selector: '{selector}'}}}}".encode())
    assert config.discovery is not None


@pytest.mark.parametrize(
    "selector",
    ["app in (a", "app in a", "=x", "app=a=b", "app=a b", "a/b/c=d", "app,,b", ",", "app=-x", "(a)", "app in (a),"],
)
def test_an_invalid_selector_is_refused(selector: str) -> None:
    with pytest.raises(ConfigError, match="is not a label selector"):
        parse(f"discovery: {{kubernetes: {{label_selector: '{selector}'}}}}".encode())
