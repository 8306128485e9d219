"""The audit in PostgreSQL: what its Secret holds reaches the gateway as files, and only there."""

from typing import Any

import pytest
import yaml
from tests.helm.pods import gateways
from tests.helm.running import Object, kind, rendered
from tests.helm.worlds import objects_of

pytestmark = pytest.mark.cluster

SECRET = {"audit": {"postgresql": {"existingSecret": "database", "dsnKey": "uri", "chainKey": "chain"}}}


def _section(objects: list[Object]) -> Any:
    (held,) = (one for one in kind(objects, "ConfigMap") if one["metadata"]["name"].endswith("-models"))
    return yaml.safe_load(held["data"]["config.yml"]).get("audit")


def test_without_a_secret_the_gateway_decides() -> None:
    assert _section(objects_of(("default",))) is None


@pytest.mark.parametrize("placement", ["deployment", "ollama-sidecar"])
def test_the_files_that_the_config_names_are_mounted(placement: str) -> None:
    objects = rendered("helm4", values={**SECRET, "placement": placement, "config": {"audit": {"mode": "strict"}}})
    section = _section(objects)
    assert (section["store"], section["mode"]) == ("postgresql", "strict")
    (pod,) = gateways(objects)
    mounts = {one["mountPath"]: one["name"] for one in pod.container("gateway")["volumeMounts"]}
    volumes = {one["name"]: one for one in pod.spec["volumes"]}
    items = volumes[mounts["/etc/ai-gateway-audit"]]["secret"]["items"]
    assert {f"/etc/ai-gateway-audit/{one['path']}": one["key"] for one in items} == {
        section["dsn_file"]: "uri",
        section["key_file"]: "chain",
    }
    (spool,) = (path for path in mounts if section["spool"].startswith(path + "/"))
    assert volumes[mounts[spool]] == {"name": mounts[spool], "emptyDir": {}}


def test_where_entries_go_is_said_in_one_place() -> None:
    """What the chart mounts cannot be overruled by a section that knows nothing of it."""
    objects = rendered("helm4", values={**SECRET, "config": {"audit": {"store": "sqlite", "spool": "/elsewhere"}}})
    section = _section(objects)
    assert (section["store"], section["spool"]) == ("postgresql", "/var/lib/ai-gateway/audit-spool")
