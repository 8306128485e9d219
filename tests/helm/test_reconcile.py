"""Who brings models to the Ollama pods: the gateway, or else the chart's own pods before they start."""

import json
from typing import Any

import pytest
import yaml
from tests.cluster.control_plane import ControlPlane
from tests.helm.pods import Pod, pods
from tests.helm.releases import MAP, Release
from tests.helm.running import HELMS, Object, kind, rendered
from tests.helm.test_edits import HANDED_OVER
from tests.helm.test_ollama import MODELS

from ai_gateway.catalog.catalog import Catalog
from ai_gateway.config.loading import parse
from ai_gateway.config.types import model_name

pytestmark = pytest.mark.cluster

Values = dict[str, Any]
NEVER = {"pull": "never"}
PULLS: dict[str, Values] = {
    "usual": {},
    "never": {"reconcile": NEVER},
    "some": {"reconcile": NEVER, "models": MODELS | {"mine": {"pull": "if_missing"}}},
    "not-all": {"models": MODELS | {"theirs": {"pull": "never"}}},
    "registries": {"reconcile": {"registries": ["hf.co", "registry.example:5000"]}},
    "ollamas-own": {"models": {"a": {"ollama": "registry.ollama.ai/library/phi3"}}},
    "always": {"reconcile": {"pull": "always"}},
}
NOBODY: list[Values] = [
    {"reconcile": {"mode": "never"}},
    {"balancing": {"loads": "never"}},
    {"existingConfigMap": "ours"},
]


def _config(objects: list[Object]) -> str:
    (found,) = (one for one in kind(objects, "ConfigMap") if one["metadata"]["name"].endswith("-models"))
    return str(found["data"]["config.yml"])


def _pulled_before(objects: list[Object]) -> set[str]:
    """What the chart's own pods pull before they start."""
    found = [one for pod in pods(objects) for one in pod.spec.get("initContainers", ()) if one["name"] == "pull"]
    return {name for container in found for name in container["args"][2:]}


def _ollama(objects: list[Object]) -> Pod:
    (pod,) = (one for one in pods(objects) if one.maker.startswith("StatefulSet/"))
    return pod


@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize("placed", [{}, {"ollama": {"enabled": True}}, {"placement": "ollama-sidecar"}], ids=str)
def test_an_installation_without_values_pulls_nothing(version: str, placed: Values) -> None:
    """The gateway may pull, and there is no model that it could pull."""
    objects = rendered(version, values=placed)
    config = parse(_config(objects).encode())
    assert config.reconcile.pull == "if_missing"
    assert Catalog(config).plans.by_key == {}
    assert _pulled_before(objects) == set()
    assert "ollama pull" not in json.dumps(objects)


@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize("said", PULLS.values(), ids=PULLS)
def test_each_model_is_pulled_by_the_gateway_or_else_before_ollama_starts(version: str, said: Values) -> None:
    config: Values = {"models": MODELS, **said}
    objects = rendered(version, values={"ollama": {"enabled": True}, "config": config})
    read = parse(_config(objects).encode())
    everything = {model_name(name, model) for name, model in read.models.items()}
    by_gateway = {plan.name for plan in Catalog(read).plans.by_key.values() if plan.pull != "never"}
    assert _pulled_before(objects) == everything - by_gateway


@pytest.mark.parametrize("said", NOBODY, ids=str)
def test_where_no_gateway_may_pull_the_pods_do(said: Values) -> None:
    values = {"ollama": {"enabled": True}, "config": {"models": {"a": {}}, **said}}
    assert _pulled_before(rendered("helm4", values=values)) == {"a:latest"}


def test_what_the_values_say_of_it_leaves_the_default_in_force() -> None:
    config = parse(_config(rendered("helm4", values={"config": {"reconcile": {"pulls": 4}}})).encode())
    assert (config.reconcile.pull, config.reconcile.pulls) == ("if_missing", 4)


@pytest.mark.parametrize(
    ("content", "pull"),
    [
        ("models: {a: {}}", "if_missing"),
        ("models: {a: {}}\nreconcile: {pull: never}", "never"),
        ("models: {a: {}}\nreconcile: {pulls: 3}", "never"),
    ],
)
def test_a_file_of_ones_own_has_the_last_word(content: str, pull: str) -> None:
    """The chart adds the section that it lacks, and nothing to one that is there."""
    text = _config(rendered("helm4", values={"config": {"content": content}}))
    assert text.startswith(content)
    assert parse(text.encode()).reconcile.pull == pull


@pytest.mark.parametrize("placed", [{"ollama": {"enabled": True}}, {"placement": "ollama-sidecar"}], ids=str)
def test_pods_on_one_volume_are_told_not_to_tidy_it(placed: Values) -> None:
    """One that starts would delete what another is downloading."""
    for is_shared in (True, False):
        config = {"reconcile": {"shared_store": is_shared}}
        container = _ollama(rendered("helm4", values={**placed, "config": config})).container("ollama")
        assert ({"name": "OLLAMA_NOPRUNE", "value": "1"} in container["env"]) is is_shared


@pytest.mark.parametrize("content", [False, True], ids=["values", "content"])
def test_a_pod_with_both_may_reach_the_registries(content: bool) -> None:
    """The policy of the gateway closes the egress of the whole pod, so that Ollama could pull from nowhere else."""
    said = {"registries": ["a.example", "b.example:5000", "c.example"], "insecure_registries": ["c.example"]}
    config: Values = {"content": yaml.safe_dump({"reconcile": said})} if content else {"reconcile": said}
    values: Values = {"networkPolicy": {"enabled": True}, "config": config}
    assert {80, 443, 5000} <= _open(rendered("helm4", values={**values, "placement": "ollama-sidecar"}))
    assert not {80, 5000} & _open(rendered("helm4", values=values))


def test_the_policies_leave_the_egress_of_ollama_pods_open() -> None:
    """They pull by themselves, from addresses that no selector knows."""
    values = {"networkPolicy": {"enabled": True, "ollama": {"enabled": True}}, "ollama": {"enabled": True}}
    objects = rendered("helm4", values=values)
    labels = _ollama(objects).labels.items()
    about = [one["spec"] for one in kind(objects, "NetworkPolicy")]
    found = [one for one in about if one["podSelector"]["matchLabels"].items() <= labels]
    assert [one["policyTypes"] for one in found] == [["Ingress"]]


def _open(objects: list[Object]) -> set[int]:
    """The ports that a gateway's policy opens to everywhere."""
    policies = [one["spec"] for one in kind(objects, "NetworkPolicy")]
    rules = [rule for policy in policies for rule in policy.get("egress", ()) if "to" not in rule]
    return {port["port"] for rule in rules for port in rule["ports"]}


BEFORE = """models:
  mine: {version: latest}
audit: {mode: best_effort}
auth: {methods: [none]}
callers: all
limits: none
tls: none
"""
REMEMBERED = "29ad5f18396bcfbf"  # by the chart that wrote it, which knew no `reconcile`


@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize("is_edited", [True, False], ids=["edited", "untouched"])
def test_an_upgrade_lets_the_gateway_pull_unless_the_file_was_edited(
    plane: ControlPlane, version: str, is_edited: bool
) -> None:
    """As the chart before this one left it. Of an edit that stays, NOTES name the line that it lacks."""
    release, mine = Release(plane, version), "--set=config.models.mine.version=latest"
    release.install(mine)
    patch = {"metadata": {"annotations": {"ai-gateway-ollama/values-hash": REMEMBERED}}, "data": {"config.yml": BEFORE}}
    release.kubectl("patch", "configmap", MAP, f"--patch={json.dumps(patch)}", "--field-manager=helm")
    if is_edited:
        release.edit("limits: none", "limits: {default: {rpm: 7}}")
    said = release.upgrade(mine, "--set=image.tag=v2", *HANDED_OVER[version])  # the patch took the fields
    assert release.rpm == (7 if is_edited else None)
    assert ("reconcile" in yaml.safe_load(release.text)) is not is_edited
    assert ("YOUR EDIT WAS KEPT" in said) is is_edited
    assert ("Pulled by the gateway, if no Ollama has it: mine:latest" in said) is not is_edited
    assert ("  reconcile: {pull: if_missing}\n" in said) is is_edited
