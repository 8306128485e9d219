"""config.yml in a ConfigMap of a real API server: an edit takes effect at once, a bad one only leaves its Event."""

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.flow.waiting import until
from tests.kubernetes.figures import tell
from tests.kubernetes.objects import MODELS_MAP, config_map
from tests.kubernetes.space import Space
from tests.kubernetes.watcher import watching

from ai_gateway.app import Gateway
from ai_gateway.cluster.config_map import ConfigMapRef
from ai_gateway.simulator.settings import Settings
from ai_gateway.simulator.simulator import Simulator

pytestmark = pytest.mark.cluster

NAMED = ConfigMapRef(MODELS_MAP)


async def put(space: Space, content: str) -> None:
    """Writes the ConfigMap."""
    await asyncio.to_thread(space.write, "configmaps", config_map(content))


def models(gateway: Gateway) -> list[str]:
    """Of the config in force."""
    return list(gateway.current.now.config.models)


async def events(space: Space, count: int) -> list[dict[str, Any]]:
    """The Events, once there are so many."""
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + 10
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} Events, not {count}"
        found = await asyncio.to_thread(space.events)
    return found


async def test_an_edit_takes_effect_within_a_second(
    space: Space, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Forty times."""
    await put(space, "models: {m0: }")
    took = []
    async with watching(tmp_path, space.kubeconfig(tmp_path), None, NAMED) as gateway:
        assert models(gateway) == ["m0"]
        for number in range(1, 41):
            began = time.perf_counter()
            writing = asyncio.create_task(put(space, f"models: {{m{number}: }}"))
            await until(lambda wanted=number: models(gateway) == [f"m{wanted}"])  # type: ignore[misc]  # a default in a lambda
            took.append(time.perf_counter() - began)
            await writing
    tell(request, f"edit to effect p50 {statistics.median(took) * 1000:.0f} ms, max {max(took) * 1000:.0f} ms")
    assert max(took) < 1.0


async def test_kubectl_edit_takes_effect(space: Space, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """As a person does it, with an editor."""
    await put(space, "models: {llama3: }\n")
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/llama3/coder/' \"$1\"\n")
    editor.chmod(0o755)
    async with watching(tmp_path, space.kubeconfig(tmp_path), None, NAMED) as gateway:
        await asyncio.to_thread(space.edit, MODELS_MAP, editor)
        lag = await until(lambda: models(gateway) == ["coder"], seconds=1.0)
    tell(request, f"in force {lag * 1000:.0f} ms after kubectl had ended")


async def test_forty_bad_edits_change_nothing_and_leave_an_event_each(space: Space, tmp_path: Path) -> None:
    """`kubectl describe` shows them with the path of the error."""
    await put(space, "models: {llama3: }")
    async with watching(tmp_path, space.kubeconfig(tmp_path), None, NAMED) as gateway:
        for number in range(40):
            await put(space, f"models: {{llama3: {{slots: bad-{number}}}}}")
            await until(lambda wanted=number: gateway.live.total_refused == wanted + 1)  # type: ignore[misc]  # a default in a lambda
            assert models(gateway) == ["llama3"]
        found = await events(space, 40)
        assert {event["reason"] for event in found} == {"ConfigRejected"}
        assert {event["count"] for event in found} == {1}
        described = await asyncio.to_thread(space.kubectl, "describe", "configmap", MODELS_MAP)
        assert described.count("ConfigRejected") == 40
        assert "models.llama3.slots: expected a whole number" in described
        await put(space, "models: {coder: }")
        await until(lambda: models(gateway) == ["coder"] and not gateway.live.reasons)


async def test_replicas_share_an_event_and_a_repeat_raises_its_count(space: Space, tmp_path: Path) -> None:
    """Three gateways refuse the same edit: one Event, count 1. The same mistake again: the same Event, count 2."""
    good, bad = "models: {llama3: }", "models: {llama3: {slots: many}}"
    await put(space, good)
    async with AsyncExitStack() as stack:
        gateways = []
        for number in range(3):
            folder = tmp_path / str(number)
            folder.mkdir()
            following = watching(folder, space.kubeconfig(folder), None, NAMED)
            gateways.append(await stack.enter_async_context(following))

        async def all_see(content: str) -> None:
            await put(space, content)
            for gateway in gateways:
                await until(lambda: bool(gateway.live.reasons) is (content == bad))  # noqa: B023 - used at once

        await all_see(bad)
        (event,) = await events(space, 1)
        assert event["count"] == 1
        await all_see(good)
        await all_see(bad)
        deadline = time.monotonic() + 10
        while event["count"] != 2:
            assert time.monotonic() < deadline, event
            (event,) = await events(space, 1)
        await asyncio.to_thread(space.delete, "configmaps", MODELS_MAP)  # every gateway has had its say by then
        for gateway in gateways:
            await until(lambda: "no ConfigMap" in str(gateway.live.reasons[0]))  # noqa: B023 - used at once
        (event,) = await events(space, 1)
        assert event["count"] == 2
        assert event["involvedObject"]["name"] == MODELS_MAP


async def test_events_tell_that_a_model_is_in_place_and_why_another_is_not(space: Space, tmp_path: Path) -> None:
    """Each once, whatever the gateway tries again."""
    simulator = Simulator(Settings(models=("other:latest",), registry=("coder",)))
    wanted = "{coder: {version: v1, pull: if_missing}, lost: {version: none, pull: if_missing}}"
    async with simulator:
        await put(space, f"models: {wanted}\ndiscovery: {{static: ['{simulator.urls[0]}']}}")
        async with watching(tmp_path, space.kubeconfig(tmp_path), None, NAMED):
            found = {event["reason"]: event for event in await events(space, 2)}
    ready, failed = found["ModelReady"], found["ModelFailed"]
    assert (ready["type"], ready["message"]) == ("Normal", "model coder: coder:v1 is in place on 1 endpoint")
    assert (failed["type"], failed["count"]) == ("Warning", 1)
    assert failed["message"] == (
        "model lost: lost:none is in place on 0 of 1 endpoints: pull model manifest: file does not exist"
    )
    assert {event["involvedObject"]["name"] for event in found.values()} == {MODELS_MAP}


async def test_a_deleted_config_map_keeps_the_last_good_config(space: Space, tmp_path: Path) -> None:
    """It is said, and what comes in its place is taken."""
    await put(space, "models: {llama3: }")
    async with watching(tmp_path, space.kubeconfig(tmp_path), None, NAMED) as gateway:
        await asyncio.to_thread(space.delete, "configmaps", MODELS_MAP)
        await until(lambda: bool(gateway.live.reasons))
        assert "there is no ConfigMap" in str(gateway.live.reasons[0])
        assert models(gateway) == ["llama3"]
        await put(space, "models: {coder: }")
        await until(lambda: models(gateway) == ["coder"] and not gateway.live.reasons)


async def test_without_a_config_map_it_waits_and_says_why(space: Space, tmp_path: Path) -> None:
    """It is taken when it comes; also under another key than usual."""
    named = ConfigMapRef(MODELS_MAP, key="gateway.yml")
    async with watching(tmp_path, space.kubeconfig(tmp_path), None, named) as gateway:
        assert "there is no ConfigMap" in str(gateway.live.reasons[0])
        await put(space, "models: {llama3: }")
        await until(lambda: "has no key 'gateway.yml'; it has config.yml" in str(gateway.live.reasons[0]))
        content = {**config_map(""), "data": {"gateway.yml": "models: {llama3: }"}}
        await asyncio.to_thread(space.write, "configmaps", content)
        await until(lambda: models(gateway) == ["llama3"])
