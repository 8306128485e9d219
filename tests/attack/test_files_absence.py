"""What protects is there one moment and gone the next: by a slip of an editor, a template, a pipeline."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.attack.command import serving
from tests.attack.table import Tried
from tests.flow.kubernetes_api import config_map
from tests.flow.test_access import Ring
from tests.flow.waiting import until
from tests.flow.world import CHAT, Served, World, chat, config

from ai_gateway.cluster.config_map import ConfigMapRef

REFUSED_ONCE = b"\nai_gateway_config_rejected_total 1.0\n"
RULES = [{"match": {"key": "*"}, "models": ["llama3"]}]
ABSENT: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "auth and callers are gone": lambda told: _without(told, "auth", "callers"),
    "auth is null": lambda told: {**_without(told, "callers"), "auth": None},
    "auth is empty": lambda told: {**_without(told, "callers"), "auth": {}},
    "auth has no methods": lambda told: {**_without(told, "callers"), "auth": {"audience": "x"}},
    "auth.methods is null": lambda told: {**_without(told, "callers"), "auth": {"methods": None}},
    "auth.methods is an empty list": lambda told: {**_without(told, "callers"), "auth": {"methods": []}},
    "callers are gone": lambda told: _without(told, "callers"),
    "callers are null": lambda told: {**told, "callers": None},
    "limits are gone": lambda told: _without(told, "limits"),
    "limits are null": lambda told: {**told, "limits": None},
    "the audit is gone": lambda told: _without(told, "audit"),
    "the audit is null": lambda told: {**told, "audit": None},
    "audit.mode is gone": lambda told: {**told, "audit": {"level": "full"}},
    "everything but models is gone": lambda told: {"models": told["models"]},
    "everything is null": dict.fromkeys,
}


def _without(told: dict[str, Any], *sections: str) -> dict[str, Any]:
    return {key: value for key, value in told.items() if key not in sections}


def guarded(urls: Any, ring: Ring) -> dict[str, Any]:
    """A config in which everything is on that protects."""
    limits = {"default": {"rpm": 1000}}
    return config(urls, auth=ring.auth, callers=RULES, limits=limits, audit={"mode": "blocking"})


async def _refused(served: Served, before: Any) -> list[str]:
    live = served.gateway.live
    await until(lambda: bool(live.reasons), "the config refused")
    assert served.gateway.current.now is before
    return [reason.path for reason in live.reasons]


async def _is_guarded(served: Served, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    assert (await served.chat()).status == 401
    assert (await served.ask("POST", CHAT, chat(model="embed"), headers)).status == 404
    reply = await served.ask("POST", CHAT, chat(), headers)
    assert (reply.status, reply.header("x-ratelimit-limit-requests")) == (200, "1000")


@pytest.mark.attack("files", "a reload that leaves out what protects")
@pytest.mark.parametrize("name", ABSENT)
async def test_absence_turns_nothing_off(world: World, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Health, metric and log tell of it, with the line that would; the words are taken."""
    ring = Ring(world.folder)
    key = ring.add("team-a")
    simulator = await world.simulator()
    told = guarded(simulator.urls, ring)
    served = await world.gateway_with(yaml.safe_dump(told))
    await _is_guarded(served, key)
    before = served.gateway.current.now
    served.write(ABSENT[name](told))
    paths = await _refused(served, before)
    assert {path.partition(".")[0] for path in paths} <= {"auth", "callers", "limits", "audit"}
    await _is_guarded(served, key)
    assert (await served.probe("/metrics")).body.count(REFUSED_ONCE) == 1
    assert any("config refused, the last good one stays in force" in line for line in caplog.messages)


@pytest.mark.attack("files", "what protects is turned off in words, then left out")
async def test_words_turn_it_off(world: World) -> None:
    ring = Ring(world.folder)
    ring.add("team-a")
    simulator = await world.simulator()
    served = await world.gateway_with(yaml.safe_dump(guarded(simulator.urls, ring)))
    off = {"auth": {"methods": ["none"]}, "callers": "all", "limits": "none", "audit": {"mode": "best_effort"}}
    await served.reload(config(simulator.urls, **off))
    assert (await served.chat()).status == 200
    await served.reload(config(simulator.urls))
    assert (await served.chat()).status == 200


@pytest.mark.attack("files", "a key is taken out of its file while a reload is refused")
async def test_a_key_is_revoked_always(world: World) -> None:
    ring = Ring(world.folder)
    key, other = ring.add("team-a"), ring.add("team-b")
    simulator = await world.simulator()
    told = guarded(simulator.urls, ring)
    served = await world.gateway_with(yaml.safe_dump(told))
    await _is_guarded(served, key)
    served.write(_without(told, "auth", "callers", "limits"))
    await _refused(served, served.gateway.current.now)
    del ring.entries[key]
    ring.write()
    auth_state = served.gateway.auth_state
    await until(lambda: auth_state.status()["keys"] == 1, "the file of keys in force")
    reply = await served.ask("POST", CHAT, chat(), {"Authorization": f"Bearer {key}"})
    assert reply.status == 401
    await _is_guarded(served, other)


@pytest.mark.attack("files", "a mounted ConfigMap whose link is swapped to a content without auth")
async def test_a_folder_is_held_to_the_same(world: World) -> None:
    ring = Ring(world.folder)
    key = ring.add("team-a")
    simulator = await world.simulator()
    told = guarded(simulator.urls, ring)
    mount = world.folder / "mount"
    for name, content in (("one", told), ("two", _without(told, "auth", "callers", "limits"))):
        (mount / name).mkdir(parents=True)
        (mount / name / "config.yml").write_text(yaml.safe_dump(content))
    (mount / "..data").symlink_to("one")
    (mount / "config.yml").symlink_to("..data/config.yml")
    async with serving(world.folder, told, "--config", str(mount)) as command:
        await command.ready()
        assert (await command.chat()).status == 401
        (mount / "..new").symlink_to("two")
        (mount / "..new").replace(mount / "..data")
        await until(lambda: "auth: is in force" in command.log, "the refusal")
        assert (await command.chat()).status == 401
        assert (await command.chat(headers={"Authorization": f"Bearer {key}"})).status == 200


@pytest.mark.attack("files", "a ConfigMap in the API that loses auth")
async def test_a_config_map_is_held_to_the_same(world: World) -> None:
    """Its Event says which line turns it off."""
    ring = Ring(world.folder)
    key = ring.add("team-a")
    simulator = await world.simulator()
    told = guarded(simulator.urls, ring)
    api = await world.api_server()
    api.put("configmaps", config_map(told))
    served = await world.gateway_beside(api.access(world.folder), ConfigMapRef("models"))
    await served.readiness()
    before = served.gateway.current.now
    api.put("configmaps", config_map(_without(told, "auth", "callers")))
    assert await _refused(served, before) == ["auth", "callers"]
    await _is_guarded(served, key)
    await until(lambda: any("auth: {methods: [none]}" in event["message"] for event in api.events), "its Event")


@pytest.mark.attack("files", "a start with a file that lacks what --require names")
@pytest.mark.parametrize("how", ["flag", "environment"])
async def test_a_required_section_is_waited_for(world: World, tried: Tried, how: str) -> None:
    """No route of the API is served, the reason stands in /readyz, and the section heals it."""
    ring = Ring(world.folder)
    key = ring.add("team-a")
    simulator = await world.simulator()
    told = config(simulator.urls, limits={"default": {"rpm": 1000}})
    words = ("--require", "auth,limits") if how == "flag" else ()
    named = "auth,limits" if how == "environment" else ""
    async with serving(world.folder, told, *words, AI_GATEWAY_REQUIRE=named) as command:
        asked = [("POST", CHAT, chat()), ("GET", "/v1/models", None), ("GET", "/v1/models/llama3", None)]
        tried.times = len(asked)
        for method, path, body in asked:
            assert (await command.ask(method, path, body)).status == 503, path
        health = await command.ask("GET", "/v1/health")
        assert health.status == 503
        assert "auth: is missing, and --require demands it" in health.json["gateway"]
        new = world.folder / "new.yml"
        new.write_text(yaml.safe_dump({**told, "auth": ring.auth}))
        new.replace(world.folder / "config.yml")
        await command.ready()
        assert (await command.chat()).status == 401
        assert (await command.chat(headers={"Authorization": f"Bearer {key}"})).status == 200


@pytest.mark.attack("files", "a restart with a file from which auth was taken while it ran")
async def test_a_restart_is_no_way_around(world: World, tmp_path: Path) -> None:
    ring = Ring(world.folder)
    ring.add("team-a")
    simulator = await world.simulator()
    told = config(simulator.urls, auth=ring.auth)
    async with serving(tmp_path, told, "--require", "auth") as command:
        await command.ready()
    async with serving(tmp_path, _without(told, "auth"), "--require", "auth") as command:
        assert (await command.chat()).status == 503
        assert json.loads(command.log.splitlines()[0])["level"]
