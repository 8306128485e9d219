"""The rights in the docs are enough, and the log names each missing one."""

import asyncio
from pathlib import Path

import pytest
from tests.flow.waiting import until
from tests.kubernetes.objects import MODELS_MAP, Json, config_map, documented_roles, without
from tests.kubernetes.space import Space
from tests.kubernetes.watcher import config, names, watching

from ai_gateway.app import Gateway
from ai_gateway.cluster.config_map import ConfigMapRef

pytestmark = pytest.mark.cluster

NOBODY = 9
GOOD = "models: {llama3: }"


def reason(gateway: Gateway) -> str:
    """Why discovery fails."""
    return gateway.discovery.status().reason or ""


@pytest.mark.parametrize("verb", ["list", "watch"])
async def test_a_missing_verb_on_pods_is_named(
    space: Space, tmp_path: Path, caplog: pytest.LogCaptureFixture, verb: str
) -> None:
    """In health, and in the log once, however often it is tried."""
    (role,) = (role for role in documented_roles() if "pods" in role["rules"][0]["resources"])
    await asyncio.to_thread(space.grant, without(role, "pods", verb))
    await asyncio.to_thread(space.add_pod, "a", NOBODY)
    async with watching(tmp_path, space.kubeconfig(tmp_path), config()) as gateway:
        await until(lambda: gateway.discovery.status().failures >= 3)
        assert f"does not allow the gateway to {verb} pods in namespace {space.name}" in reason(gateway)
        assert names(gateway) == (set() if verb == "list" else {"a"})  # without watch the list is asked for again
        warnings = [record for record in caplog.records if f"to {verb} pods" in record.getMessage()]
        assert len(warnings) == 1
        await asyncio.to_thread(space.grant, role)
        await until(lambda: not reason(gateway) and names(gateway) == {"a"})


@pytest.mark.parametrize("verb", ["list", "watch"])
async def test_a_missing_verb_on_the_config_map_is_named(space: Space, tmp_path: Path, verb: str) -> None:
    """Without `list` nothing is served; without `watch` the config is in force and looked for again and again."""
    (role,) = (role for role in documented_roles() if "configmaps" in role["rules"][0]["resources"])
    await asyncio.to_thread(space.grant, without(role, "configmaps", verb))
    await asyncio.to_thread(space.write, "configmaps", config_map(GOOD))
    kubeconfig = space.kubeconfig(tmp_path)
    async with watching(tmp_path, kubeconfig, None, ConfigMapRef(MODELS_MAP)) as gateway:
        if verb == "watch":
            await until(lambda: gateway.live.config is not None)
            await asyncio.to_thread(space.write, "configmaps", config_map("models: {coder: }"))
            await until(lambda: "coder" in gateway.current.now.config.models)
            return
        await until(lambda: bool(gateway.live.reasons))
        assert "does not allow the gateway to list configmaps" in str(gateway.live.reasons[0])
        await asyncio.to_thread(space.grant, role)
        await until(lambda: gateway.live.config is not None)


async def test_without_rights_on_the_config_map_edits_of_the_mounted_file_are_taken(
    space: Space, tmp_path: Path
) -> None:
    """Until the rights are given: then the ConfigMap counts."""
    (role,) = (role for role in documented_roles() if "configmaps" in role["rules"][0]["resources"])
    await asyncio.to_thread(space.grant, without(role, "configmaps", "list"))
    await asyncio.to_thread(space.write, "configmaps", config_map(GOOD))
    stand_in: Json = {"models": {"first": {}}}
    async with watching(tmp_path, space.kubeconfig(tmp_path), stand_in, ConfigMapRef(MODELS_MAP)) as gateway:
        await until(lambda: "the mounted file is used instead" in (gateway.live.unseen_reason or ""))
        assert "does not allow the gateway to list configmaps" in str(gateway.live.unseen_reason)
        assert list(gateway.current.now.config.models) == ["first"]
        (tmp_path / "edited.yml").write_text("models: {second: }")
        (tmp_path / "edited.yml").replace(tmp_path / "config.yml")
        await until(lambda: list(gateway.current.now.config.models) == ["second"])
        await asyncio.to_thread(space.grant, role)
        await until(
            lambda: list(gateway.current.now.config.models) == ["llama3"] and gateway.live.unseen_reason is None
        )


@pytest.mark.parametrize("verb", ["create", "patch"])
async def test_missing_rights_on_events_cost_nothing_but_the_event(
    space: Space, tmp_path: Path, caplog: pytest.LogCaptureFixture, verb: str
) -> None:
    """The refusal is still logged and shown; the log says what to grant."""
    (role,) = (role for role in documented_roles() if "configmaps" in role["rules"][0]["resources"])
    await asyncio.to_thread(space.grant, without(role, "events", verb))
    await asyncio.to_thread(space.write, "configmaps", config_map(GOOD))
    async with watching(tmp_path, space.kubeconfig(tmp_path), None, ConfigMapRef(MODELS_MAP)) as gateway:
        await until(lambda: gateway.live.config is not None)
        for content in ("models: [", GOOD, "models: ["):
            await asyncio.to_thread(space.write, "configmaps", config_map(content))
            await until(lambda wanted=content == GOOD: (not gateway.live.reasons) is wanted)  # type: ignore[misc]  # a default in a lambda
        await until(lambda: "grant create and patch on events" in caplog.text)
        assert "llama3" in gateway.current.now.config.models
        assert [event["count"] for event in space.events()] == ([] if verb == "create" else [1])


@pytest.mark.parametrize("verb", ["list", "watch"])
async def test_a_missing_verb_on_endpoint_slices_is_named(space: Space, tmp_path: Path, verb: str) -> None:
    """Until it is given, the gateway takes itself for the only one, or sees others late."""
    (role,) = (role for role in documented_roles() if "endpointslices" in role["rules"][0]["resources"])
    await asyncio.to_thread(space.grant, without(role, "endpointslices", verb))
    await asyncio.to_thread(space.write, "endpointslices", slices("gateway", 3), "discovery.k8s.io/v1")
    limited = {**config(), "limits": {"default": {"rpm": 60}}}
    environment = {"AI_GATEWAY_SERVICE": f"{space.name}/gateway"}
    async with watching(tmp_path, space.kubeconfig(tmp_path), limited, environment=environment) as gateway:
        await until(lambda: gateway.gateways.reason)
        assert f"does not allow the gateway to {verb} endpointslices" in str(gateway.gateways.reason)
        assert gateway.gateways.ready() == (1 if verb == "list" else 3)  # without watch the list is asked for again
        await asyncio.to_thread(space.grant, role)
        await until(lambda: not gateway.gateways.reason and gateway.gateways.ready() == 3)


def slices(service: str, count: int) -> Json:
    """The endpoint slice of a Service with so many ready gateways."""
    endpoints = [{"addresses": [f"10.0.0.{number + 1}"], "conditions": {"ready": True}} for number in range(count)]
    labels = {"kubernetes.io/service-name": service}
    return {"metadata": {"name": f"{service}-x", "labels": labels}, "addressType": "IPv4", "endpoints": endpoints}


def test_no_right_is_asked_for_that_is_not_used() -> None:
    """Each verb of the documented Roles is one that the tests above take away; and those Roles are all that any test
    here grants, so that a request beyond them would fail."""
    used = {("pods", verb) for verb in ("list", "watch")} | {("configmaps", verb) for verb in ("list", "watch")}
    used |= {("events", verb) for verb in ("create", "patch")}
    used |= {("endpointslices", verb) for verb in ("list", "watch")}
    rules = [rule for role in documented_roles() for rule in role["rules"]]
    assert {(rule["resources"][0], verb) for rule in rules for verb in rule["verbs"]} == used
    assert all(len(rule["resources"]) == 1 for rule in rules)
