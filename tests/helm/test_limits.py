"""What limits need: gateways that count each other, and a way to Redis with its password."""

from typing import Any

import pytest
from tests.helm.pods import gateways
from tests.helm.running import Object, kind, rendered
from tests.helm.test_rights import documented
from tests.helm.worlds import World, objects_of

pytestmark = pytest.mark.cluster

ROLE = "ai-gateway-ollama-gateways"


def environment(objects: list[Object]) -> dict[str, Any]:
    (pod,) = gateways(objects)
    return {one["name"]: one.get("value") for one in pod.container("gateway")["env"]}


def counts_others(objects: list[Object]) -> bool:
    """Whether the gateway divides limits by the gateways of its Service; then it may read which those are."""
    is_told = "AI_GATEWAY_SERVICE" in environment(objects)
    assert any(role["metadata"]["name"].endswith("-gateways") for role in kind(objects, "Role"))
    return is_told


@pytest.mark.parametrize("world", [("limits",), ("ollama-sidecar", "limits"), ("names", "limits")], ids="+".join)
def test_the_gateways_of_a_service_count_each_other(world: World) -> None:
    """The Service that is named is there."""
    objects = objects_of(world)
    assert counts_others(objects)
    (pod,) = gateways(objects)
    named = [(one["metadata"]["namespace"], one["metadata"]["name"]) for one in kind(objects, "Service")]
    assert (pod.namespace, environment(objects)["AI_GATEWAY_SERVICE"]) in named


def test_without_limits_nothing_is_divided() -> None:
    assert not counts_others(objects_of(("default",)))


def test_limits_in_text_and_in_a_config_map_of_ones_own_count_gateways_too() -> None:
    assert counts_others(rendered("helm4", values={"config": {"content": "limits: {default: {rpm: 9}}"}}))
    rule = {"match": {"tenant": "a"}, "limits": {"rpm": 9}}
    assert counts_others(rendered("helm4", values={"config": {"callers": [rule]}}))
    own = {"config": {"existingConfigMap": "ours"}, "limits": {"countGateways": True}}
    assert counts_others(rendered("helm4", values=own))


def test_the_right_is_to_read_endpoint_slices_alone() -> None:
    (rules,) = [one["rules"] for one in kind(objects_of(("limits",)), "Role") if one["metadata"]["name"] == ROLE]
    assert rules == documented()[ROLE]


def test_the_secret_of_redis_is_mounted_where_the_config_says() -> None:
    objects = objects_of(("limits",))
    (pod,) = gateways(objects)
    (mount,) = [one for one in pod.container("gateway")["volumeMounts"] if one["name"] == "redis"]
    (volume,) = [one for one in pod.spec["volumes"] if one["name"] == "redis"]
    assert volume["secret"] == {"secretName": "redis"}
    (config,) = [one["data"]["config.yml"] for one in kind(objects, "ConfigMap") if "config.yml" in one["data"]]
    assert f"password_file: {mount['mountPath']}/password" in config
    assert f"ca_file: {mount['mountPath']}/ca.crt" in config


def test_a_redis_without_a_password_needs_no_secret() -> None:
    values = {"config": {"limits": {"redis": {"url": "redis://redis"}}}}
    objects = rendered("helm4", values=values)
    (config,) = [one["data"]["config.yml"] for one in kind(objects, "ConfigMap") if "config.yml" in one["data"]]
    assert "password_file" not in config
    assert "redis" not in [volume["name"] for volume in gateways(objects)[0].spec["volumes"]]
