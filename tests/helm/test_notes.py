"""NOTES say what is served, what is pulled, what a ConfigMap of one's own must hold, and how to try the gateway."""

import json
import re
from typing import Any

import pytest
import yaml
from tests.cluster.control_plane import ControlPlane
from tests.helm.releases import Release
from tests.helm.running import HELMS, RELEASE, helm
from tools.chart.files import CHART

pytestmark = pytest.mark.cluster

Values = dict[str, Any]
TLS: Values = {"enabled": True, "existingSecret": "ours"}
OWN: Values = {"existingConfigMap": "ours"}
LEFT: Values = {"pull": "never"}


def _notes(plane: ControlPlane, values: Values, version: str = "helm4") -> str:
    given = ["install", RELEASE, str(CHART), "--dry-run=server", "--namespace=default", "--values=-"]
    said = helm(version, *given, kubeconfig=plane.admin_kubeconfig, input=yaml.safe_dump(values))
    return said.partition("NOTES:\n")[2]


@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "Served: every model that an Ollama holds, because you name no model"),
        ({"models": {"b": {}, "a": {}}}, "Served: a, b; no other model"),
        ({"models": {"a": {}}, "catalog": {"discover": True}}, "Served: a, and every other model"),
        ({"catalog": {"discover": False}}, "NOTHING IS SERVED"),
        ({"content": "timeouts: {queue: 1m}"}, "NOTHING IS SERVED"),
        ({"content": "models: {mine: {}}"}, "Served: mine; no other model"),
        ({"models": {f"m{number:02}": {} for number in range(12)}}, "m08, m09 and 2 more; no other"),
    ],
    ids=str,
)
def test_they_say_which_models_are_served(plane: ControlPlane, version: str, config: Values, said: str) -> None:
    notes = _notes(plane, {"config": config}, version)
    assert said in notes
    assert len(re.findall("Served:|NOTHING IS SERVED", notes)) == 1


def test_of_an_edit_that_stays_they_say_what_it_serves(plane: ControlPlane) -> None:
    release = Release(plane, "helm4")
    release.install()
    release.edit("tls: none", "models: {programmer: {}}")
    assert "Served: programmer, and every other model" in release.upgrade("--set=image.tag=v2")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"ollama": {"enabled": True}}, "NOTHING IS PULLED"),
        ({"placement": "ollama-sidecar"}, "--set config.models.llama3.version=latest"),
        ({"ollama": {"enabled": True}, "config": {**OWN}}, "NOTHING IS PULLED"),
        (
            {"ollama": {"enabled": True}, "config": {"models": {"a": {"version": "1b"}}}},
            "Pulled by the gateway, if no Ollama has it: a:1b.",
        ),
        (
            {"ollama": {"enabled": True}, "config": {"models": {"a": {"version": "1b"}}, "reconcile": LEFT}},
            "Ollama starts: a:1b",
        ),
        (
            {"ollama": {"enabled": True}, "config": {"models": {"a": {"ollama": "hf.co/x/a"}, "b": {}}}},
            "Pulled before Ollama starts: hf.co/x/a:latest\nPulled by the gateway, if no Ollama has it: b:latest.",
        ),
        ({"ollama": {"enabled": True, "pull": {"models": ["b:2b"]}}}, "Pulled before Ollama starts: b:2b"),
        ({"ollama": {"enabled": True, "pull": {"enabled": False}}}, "--set config.models.llama3.version=latest"),
        (
            {"ollama": {"enabled": True, "pull": {"enabled": False}}, "config": {"reconcile": LEFT}},
            "ollama pull llama3",
        ),
    ],
    ids=str,
)
def test_they_say_what_the_charts_own_ollama_pulls(plane: ControlPlane, values: Values, said: str) -> None:
    assert said in _notes(plane, values)
    assert "PULLED" not in _notes(plane, {**values, "ollama": {}, "placement": "deployment"})


@pytest.mark.parametrize("version", HELMS)
def test_the_line_that_they_give_adds_a_model_and_has_it_pulled(plane: ControlPlane, version: str) -> None:
    release = Release(plane, version)
    notes = release.install("--set=ollama.enabled=true")
    (line,) = re.findall(r"^  helm (upgrade .*)$", notes, re.MULTILINE)
    words = line.replace("CHART", str(CHART)).split()
    assert words[:2] == ["upgrade", RELEASE]
    said = release.helm("upgrade", *words[2:])
    assert release.models == ["llama3"]
    assert "Pulled by the gateway, if no Ollama has it: llama3:latest." in said


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {},
            "Nothing is pulled, because you name no model. The gateway pulls a model that you name, if no Ollama has",
        ),
        ({"models": {"a": {}}}, "Pulled by the gateway, if no Ollama has it: a:latest. GET /v1/models/MODEL tells"),
        ({"models": {f"m{number:02}": {} for number in range(12)}}, "m08:latest, m09:latest and 2 more. GET"),
        ({"models": {"a": {}}, "reconcile": LEFT}, None),
        ({"models": {"a": {"pull": "never"}}}, None),
        (OWN, None),
    ],
    ids=str,
)
def test_they_say_what_the_gateway_pulls(plane: ControlPlane, config: Values, said: str | None) -> None:
    notes = _notes(plane, {"config": config})
    assert said is None or said in notes
    assert ("pulled" in notes.lower()) is (said is not None)


def _must_say(notes: str) -> Values:
    found: Values = yaml.safe_load(notes.partition("Write it into the ConfigMap too:\n\n")[2].partition("\n\n")[0])
    return found


@pytest.mark.parametrize("version", HELMS)
def test_they_say_what_a_config_map_of_ones_own_must_hold(plane: ControlPlane, version: str) -> None:
    """All that the values turn on, and nothing that they leave off."""
    values: Values = {
        "config": {
            **OWN,
            "models": {"mine": {}},
            "auth": {"methods": ["keys", "kubernetes"]},
            "limits": {"redis": {"url": "redis://a"}, "default": {"rpm": 6}},
            "audit": {"keep": "90d"},
            "timeouts": {"queue": "1m"},
        },
        "tls": {**TLS, "clientCAKey": "ca.crt"},
        "auth": {"keysSecret": {"name": "ours"}},
        "limits": {"redis": {"existingSecret": "ours"}},
        "audit": {"postgresql": {"existingSecret": "ours"}, "key": {"existingSecret": "ours"}},
        "discovery": {"namespaces": ["gpu"]},
    }
    notes = _notes(plane, values, version)
    assert _must_say(notes) == {
        "models": {"mine": {}},
        "auth": {"methods": ["keys", "kubernetes"], "keys_file": "/etc/ai-gateway-keys/keys.yaml"},
        "limits": {
            "redis": {"url": "redis://a", "password_file": "/etc/ai-gateway-redis/password"},
            "default": {"rpm": 6},
        },
        "audit": {
            "keep": "90d",
            "store": "postgresql",
            "dsn_file": "/etc/ai-gateway-postgresql/dsn",
            "key_file": "/etc/ai-gateway-audit/key",
        },
        "timeouts": {"queue": "1m"},
        "tls": {
            "certificate": "/etc/ai-gateway-tls/tls.crt",
            "key": "/etc/ai-gateway-tls/tls.key",
            "client_ca": "/etc/ai-gateway-tls/ca.crt",
        },
        "discovery": {"kubernetes": {"namespaces": ["gpu"]}},
    }
    assert "No gateway becomes ready until it has the sections auth, limits, audit, tls" in " ".join(notes.split())


def test_where_the_values_turn_nothing_on_they_warn_of_a_config_map_without_auth(plane: ControlPlane) -> None:
    notes = _notes(plane, {"config": OWN})
    assert "a file without `auth` lets everyone in" in notes
    assert "Write it into the ConfigMap" not in notes


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ({"service": {"port": 80}}, ["kubectl port-forward -n default service/ai-gateway-ollama 8080:80"]),
        ({"namespaceOverride": "llm", "fullnameOverride": "gate"}, ["-n llm service/gate 8080:8080"]),
        ({"placement": "ollama-sidecar"}, ["curl http://localhost:8080/v1/models"]),
        ({"tls": TLS}, ["curl --insecure https://localhost:8080/v1/models"]),
        ({"tls": {**TLS, "clientCAKey": "ca.crt"}}, ["curl --insecure --cert client.crt --key client.key https://"]),
        (
            {"config": {"auth": {"methods": ["kubernetes"], "audience": "llm"}}},
            [
                "AI_GATEWAY_KEY=$(kubectl create token -n default default --audience=llm)",
                'curl -H "authorization: Bearer $AI_GATEWAY_KEY" http://localhost:8080/v1/models',
            ],
        ),
        ({"config": {"content": "auth: {methods: [kubernetes]}"}}, ["Bearer $AI_GATEWAY_KEY"]),
        (
            {"config": {"content": "tls: {certificate: /a, key: /b}\nmodels: {}"}},
            ["OPENAI_BASE_URL=https://", "curl --insecure https://localhost:8080/v1/models"],
        ),
    ],
    ids=str,
)
def test_they_say_how_to_try_it(plane: ControlPlane, values: Values, lines: list[str]) -> None:
    notes = _notes(plane, values)
    for line in lines:
        assert line in notes, notes


def test_the_call_that_they_show_names_a_model_of_the_file(plane: ControlPlane) -> None:
    notes = _notes(plane, {"config": {"models": {"embed": {}, "it's": {}}}})
    (body,) = re.findall(r"-d '(.*)'$", notes, re.MULTILINE)
    assert json.loads(body.replace("'\\''", "'"))["model"] == "it's"


def test_they_say_what_of_a_file_has_no_effect(plane: ControlPlane) -> None:
    content = "models: {a: {}}\ndrain: {grace: 1m}\nlisten: :80\ndiscovery: {kubernetes: {namespaces: [a]}}\n"
    notes = _notes(plane, {"config": {"content": content}})
    assert "`drain` in config.content has no effect" in notes
    assert "`listen` in config.content has no effect" in notes
    assert "The chart makes Roles and NetworkPolicies from `discovery` in the values" in notes
