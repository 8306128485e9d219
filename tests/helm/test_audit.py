"""The audit in PostgreSQL: what its Secrets hold reaches the gateway as files."""

from typing import Any

import pytest
import yaml
from tests.cluster.control_plane import ControlPlane
from tests.helm.pods import gateways
from tests.helm.releases import Release
from tests.helm.running import HELMS, Object, kind, refusal, rendered
from tests.helm.worlds import objects_of

pytestmark = pytest.mark.cluster

SECRETS = {
    "audit": {"postgresql": {"existingSecret": "database", "secretKey": "uri"}, "key": {"existingSecret": "key"}}
}


def _section(objects: list[Object]) -> Any:
    (held,) = (one for one in kind(objects, "ConfigMap") if one["metadata"]["name"].endswith("-models"))
    return yaml.safe_load(held["data"]["config.yml"]).get("audit")


def test_without_secrets_the_gateway_decides() -> None:
    assert _section(objects_of(("default",))) == {"mode": "best_effort"}


@pytest.mark.parametrize("placement", ["deployment", "ollama-sidecar"])
def test_the_files_that_the_config_names_are_mounted(placement: str) -> None:
    objects = rendered("helm4", values={**SECRETS, "placement": placement, "config": {"audit": {"mode": "strict"}}})
    section = _section(objects)
    assert (section["store"], section["mode"]) == ("postgresql", "strict")
    (pod,) = gateways(objects)
    mounts = {one["mountPath"]: one["name"] for one in pod.container("gateway")["volumeMounts"]}
    volumes = {one["name"]: one for one in pod.spec["volumes"]}
    for path, secret, key in ((section["dsn_file"], "database", "uri"), (section["key_file"], "key", "key")):
        folder, _, name = path.rpartition("/")
        held = volumes[mounts[folder]]["secret"]
        assert (held["secretName"], held["items"]) == (secret, [{"key": key, "path": name}])


def test_entries_that_wait_have_a_place_that_outlives_the_container() -> None:
    (pod,) = gateways(objects_of(("audit-postgresql",)))
    container = pod.container("gateway")
    state = {one["name"]: one.get("value") for one in container["env"]}["XDG_STATE_HOME"]
    mounts = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
    assert "emptyDir" in next(one for one in pod.spec["volumes"] if one["name"] == mounts[state])


def test_where_entries_go_is_said_in_one_place() -> None:
    """What the chart mounts cannot be overruled by a section that knows nothing of it."""
    objects = rendered("helm4", values={**SECRETS, "config": {"audit": {"store": "sqlite"}}})
    assert _section(objects)["store"] == "postgresql"


def test_gateways_that_share_a_store_share_its_key() -> None:
    told = refusal("helm4", {"audit": {"postgresql": {"existingSecret": "database"}}})
    assert "audit.key.existingSecret" in told


@pytest.mark.parametrize("version", HELMS)
def test_the_audit_outlives_its_release_and_the_next_one_of_that_name_has_it(plane: ControlPlane, version: str) -> None:
    release = Release(plane, version)
    release.install("--set=audit.persistence.enabled=true")
    uid = release.kubectl("get", "pvc", "--output=jsonpath={.items[*].metadata.uid}")
    release.upgrade("--set=replicaCount=2")  # nor does it go where the volume is no longer wanted
    release.helm("uninstall")
    assert release.kubectl("get", "pvc,deployment", "--output=jsonpath={.items[*].metadata.uid}") == uid
    release.install("--set=audit.persistence.enabled=true")
    assert release.kubectl("get", "pvc", "--output=jsonpath={.items[*].metadata.uid}") == uid
    release.upgrade("--set=audit.persistence.enabled=true", "--set=audit.persistence.whenDeleted=Delete")
    release.helm("uninstall")
    (claim,) = yaml.safe_load(release.kubectl("get", "pvc", "--output=yaml"))["items"] or [
        {"metadata": {"deletionTimestamp": "gone"}}
    ]
    assert "deletionTimestamp" in claim["metadata"]  # nothing here lets go of what protects it
