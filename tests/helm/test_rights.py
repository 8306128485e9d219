"""The chart grants what docs/kubernetes.md says that the gateway needs, and no more."""

from typing import Any

import pytest
import yaml
from tests.docs.pages import blocks
from tests.helm.running import Object, kind, rendered
from tests.helm.worlds import WORLDS, World, objects_of
from tools.chart.files import ROOT

pytestmark = pytest.mark.cluster

AI = "bda57442"  # of ai/ai-gateway-ollama


def documented() -> dict[str, list[dict[str, Any]]]:
    """Rules of the page's Roles by name."""
    page = ROOT / "docs" / "kubernetes.md"
    shown = [yaml.safe_load(block.text) for block in blocks(page) if block.text.startswith("apiVersion: rbac")]
    return {role["metadata"]["name"]: role["rules"] for role in shown}


def _rules(objects: list[Object]) -> dict[tuple[str, str], Any]:
    """Rules by namespace and name."""
    roles = kind(objects, "Role")
    return {(role["metadata"]["namespace"], role["metadata"]["name"]): role["rules"] for role in roles}


def test_the_default_is_the_roles_of_the_page() -> None:
    shown = {("ai", name): rules for name, rules in documented().items()}
    assert _rules(objects_of(("default",))) == shown


def test_each_namespace_with_ollama_has_a_role_of_its_own() -> None:
    granted = _rules(objects_of(("discovery-namespaces",)))
    pods = documented()["ai-gateway-ollama-discovery"]
    for own in ("ai-gateway-ollama", "ai-gateway-ollama-gateways"):
        assert granted.pop(("ai", own)) == documented()[own]
    assert granted == {(space, f"ai-gateway-ollama-ai-{AI}-discovery"): pods for space in ("gpu-a", "gpu-b")}


def test_endpoint_slices_need_no_right_on_pods() -> None:
    (rule,) = _rules(objects_of(("discovery-endpointslices",)))["ai", "ai-gateway-ollama-discovery"]
    (shown,) = documented()["ai-gateway-ollama-discovery"]
    assert rule == {**shown, "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"]}


def test_a_config_map_of_ones_own_is_the_one_that_may_be_read() -> None:
    rules = _rules(objects_of(("existing-configmap",)))["ai", "ai-gateway-ollama"]
    assert rules[0]["resourceNames"] == ["our-models"]


def test_a_mounted_config_and_dns_need_no_rights_but_to_know_the_other_gateways() -> None:
    own = "ai-gateway-ollama-gateways"
    assert _rules(objects_of(("mount",))) == {("ai", own): documented()[own]}


@pytest.mark.parametrize("world", WORLDS, ids="+".join)
def test_nothing_but_reviews_is_granted_in_the_whole_cluster_and_every_role_is_bound(world: World) -> None:
    objects = objects_of(world)
    in_the_cluster = [one["kind"] for one in objects if one["kind"].startswith("Cluster")]
    assert in_the_cluster == (["ClusterRole", "ClusterRoleBinding"] if "auth-kubernetes" in world else [])
    bindings = kind(objects, "RoleBinding")
    bound = {(one["metadata"]["namespace"], one["roleRef"]["name"]) for one in bindings}
    assert bound == _rules(objects).keys()
    accounts = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in kind(objects, "ServiceAccount")}
    subjects = {(one["namespace"], one["name"]) for binding in bindings for one in binding["subjects"]}
    assert subjects <= accounts


@pytest.mark.parametrize("values", [{"config": {"auth": {"methods": ["kubernetes"]}}}, {"auth": {"tokenReview": True}}])
def test_tokens_may_be_reviewed_where_the_method_is_on_and_nothing_else(values: dict[str, Any]) -> None:
    objects = rendered("helm4", values=values)
    (role,), (binding,) = kind(objects, "ClusterRole"), kind(objects, "ClusterRoleBinding")
    page = ROOT / "docs" / "security.md"
    (shown,) = (yaml.safe_load(block.text) for block in blocks(page) if "kind: ClusterRole" in block.text)
    assert role["rules"] == shown["rules"]
    assert "namespace" not in role["metadata"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [(one["namespace"], one["name"]) for one in binding["subjects"]] == [("ai", "ai-gateway-ollama")]
