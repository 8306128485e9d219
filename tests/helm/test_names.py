"""Names that the chart makes, whatever a release, a namespace or an override is called."""

from pathlib import Path

import pytest
import yaml
from tests.cluster.control_plane import ControlPlane
from tests.helm.judging import judged_by_server_side_apply
from tests.helm.pods import gateways
from tests.helm.running import Object, helm, kind, rendered
from tests.helm.umbrella import Umbrella
from tools.chart.files import CHART

pytestmark = pytest.mark.cluster

LONGEST_RELEASE = 53  # that Helm takes
LONGEST_LABEL = 63
REVISION = "-" + 10 * "x"  # what Kubernetes adds to a StatefulSet's name, for the label of its pods


def _release(name: str, **values: object) -> list[Object]:
    """A release of that name, with all that has a name of its own."""
    given = {
        "headlessService": {"enabled": True},
        "networkPolicy": {"enabled": True},
        "config": {"auth": {"methods": ["kubernetes"]}},
        "metrics": {"serviceMonitor": {"enabled": True}},
        **values,
    }
    text = helm("helm4", "template", name, str(CHART), "--namespace=ai", "--values=-", input=yaml.safe_dump(given))
    return [one for one in yaml.safe_load_all(text) if one]


def _is_named_well(one: Object) -> bool:
    name = one["metadata"]["name"]
    most = LONGEST_LABEL - len(REVISION) if one["kind"] == "StatefulSet" else LONGEST_LABEL
    return len(name) <= most and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") and name.strip("-") == name


@pytest.mark.parametrize("values", [{"ollama": {"enabled": True}}, {"placement": "ollama-sidecar"}], ids=str)
def test_a_release_name_of_any_length_makes_names_that_kubernetes_takes(
    judge: ControlPlane, values: dict[str, object]
) -> None:
    """No controller runs here that would make pods: a StatefulSet's name must leave room for a revision's."""
    objects: list[Object] = []
    for length in range(1, LONGEST_RELEASE + 1):
        made = _release(("r-long-name-of-a-release" * 3)[: length - 1] + "r", **values)
        assert [one for one in made if not _is_named_well(one)] == [], length
        objects += made
    given = yaml.dump_all(objects, Dumper=yaml.CSafeDumper)
    said = judge.kubectl("apply", "--dry-run=server", "--validate=strict", "--filename=-", input=given)
    assert len(said.splitlines()) == len(objects)


@pytest.mark.parametrize(
    "values",
    [
        {"nameOverride": "n" * 63},
        {"fullnameOverride": "f" * 63},
        {"fullnameOverride": "a-name-" * 9 + "x"},
        {"fullnameOverride": "with.a.dot"},
        {"nameOverride": "n" * 51 + "-.-" + "n"},
    ],
    ids=lambda values: next(iter(values)),
)
def test_an_override_of_any_length_does_too(judge: ControlPlane, values: dict[str, str]) -> None:
    objects = _release("x.y", **values, ollama={"enabled": True})
    assert [one for one in objects if not _is_named_well(one)] == []
    given = yaml.dump_all(objects, Dumper=yaml.CSafeDumper)
    judge.kubectl("apply", "--dry-run=server", "--validate=strict", "--filename=-", input=given)


EVERYWHERE: dict[str, object] = {
    "ollama": {"enabled": True, "persistence": {"storageClassName": "12"}, "runtimeClassName": "12"},
    "replicaCount": 2,
    "serviceAccount": {"name": "12"},
    "imagePullSecrets": ["12", {"name": "0x12"}],
    "config": {"auth": {"methods": ["keys", "kubernetes"]}, "limits": {"redis": {"url": "rediss://redis"}}},
    "auth": {"keysSecret": {"name": "12", "key": "12"}},
    "limits": {"redis": {"existingSecret": "12"}},
    "audit": {
        "key": {"existingSecret": "12"},
        "postgresql": {"existingSecret": "12"},
    },
    "tls": {"enabled": True, "existingSecret": "12", "certManager": {"enabled": True, "issuerRef": {"name": "12"}}},
    "ingress": {"enabled": True, "className": "12"},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "12"}], "backendTLSPolicy": {"enabled": True}},
    "networkPolicy": {"enabled": True, "ollama": {"enabled": True}},
    "metrics": {name: {"enabled": True} for name in ("serviceMonitor", "podMonitor", "prometheusRule", "dashboard")},
    "autoscaling": {"enabled": True},
}


@pytest.mark.parametrize("name", ["12", "true", "null", "0x12", "on", "1.5"])
def test_a_name_that_yaml_reads_as_something_else_stays_a_name(judge: ControlPlane, name: str) -> None:
    """A customer's number as the release and its namespace, say: Kubernetes takes text alone there."""
    judged_by_server_side_apply(judge, _release(name, **EVERYWHERE))
    judged_by_server_side_apply(judge, _release("a", **EVERYWHERE, nameOverride=name))
    if "." not in name:
        judged_by_server_side_apply(judge, _release("a", **EVERYWHERE, fullnameOverride=name))
        elsewhere = _release("a", **EVERYWHERE, namespaceOverride=name)
        namespaces = {one["metadata"].get("namespace", name) for one in elsewhere}
        assert namespaces == {name}
        assert {one.get("namespace", name) for each in elsewhere for one in each.get("subjects", [])} == {name}


def test_a_config_map_a_claim_a_class_and_a_namespace_may_be_numbers(judge: ControlPlane) -> None:
    sqlite = {"persistence": {"enabled": True, "existingClaim": "12"}}
    classes = {
        "runtimeClassName": "12",
        "priorityClassName": "12",
        "tests": {"enabled": False},
    }  # no such class is here
    objects = _release("a", config={"existingConfigMap": "12"}, audit=sqlite, **classes)
    judged_by_server_side_apply(judge, objects)
    own = {"persistence": {"enabled": True, "storageClassName": "12"}}
    judged_by_server_side_apply(judge, _release("a", audit=own))
    policy = {"enabled": True, "ollama": {"enabled": True}}
    found = _release("a", discovery={"namespaces": ["12"]}, networkPolicy=policy)
    assert {one["metadata"].get("namespace", "") for one in found} == {"", "ai", "12"}
    peers = [
        to
        for one in kind(found, "NetworkPolicy")
        for rule in one["spec"].get("egress", ())
        for to in rule.get("to", ())
        if "namespaceSelector" in to  # else other gateways
    ]
    assert [one["namespaceSelector"]["matchLabels"] for one in peers] == [{"kubernetes.io/metadata.name": "12"}]


@pytest.mark.parametrize("alias", ["aiGateway", "ai_gateway"])
def test_an_alias_in_an_umbrella_makes_names_that_kubernetes_takes(
    judge: ControlPlane, tmp_path: Path, alias: str
) -> None:
    """Helm takes more letters in it than Kubernetes does in a name."""
    objects = Umbrella(tmp_path, alias).rendered("helm4", {}, {})
    assert [one for one in objects if not _is_named_well(one)] == []
    judged_by_server_side_apply(judge, objects)


def test_names_that_were_short_enough_are_what_they_were() -> None:
    (short,) = kind(_release("r" * 27, ollama={"enabled": True}), "StatefulSet")
    assert short["metadata"]["name"] == f"{'r' * 27}-ai-gateway-ollama-ollama"
    (usual,) = kind(rendered("helm4", values={"ollama": {"enabled": True}}), "StatefulSet")
    assert usual["metadata"]["name"] == "ai-gateway-ollama-ollama"


def test_names_that_are_cut_stay_different() -> None:
    """Also where what is cut away is the only difference."""
    releases = [f"{'team' * 9}-{end}" for end in ("blue", "green", "blue2")]
    names = {kind(_release(name, ollama={"enabled": True}), "StatefulSet")[0]["metadata"]["name"] for name in releases}
    assert len(names) == 3


def test_whatever_its_name_ollama_is_scaled_and_found_by_it() -> None:
    objects = _release("r" * 53, placement="ollama-sidecar", autoscaling={"enabled": True})
    (workload,), (scaler,) = kind(objects, "StatefulSet"), kind(objects, "HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == workload["metadata"]["name"]
    services = {one["metadata"]["name"] for one in kind(objects, "Service")}
    assert workload["spec"]["serviceName"] in services
    assert gateways(objects)[0].maker == f"StatefulSet/{workload['metadata']['name']}"
