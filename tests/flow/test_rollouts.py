"""Edits of the config are followed by whole endpoints: what is written to them, and what callers see meanwhile."""

import pytest
from tests.flow.rollouts import (
    V1,
    V2,
    WRITES,
    Stream,
    asked,
    cold,
    edit,
    following,
    installed,
    is_loaded,
    loads,
    made,
    on_disk,
    pulls,
    serving,
    switched,
    told,
    warm,
)
from tests.flow.waiting import until
from tests.flow.world import World, chat, config

from ai_gateway.simulator import Content
from ai_gateway.upstream import installing

NEW = {"ollama": "coder", "version": "v9", "pull": "if_missing"}


async def test_a_model_that_is_added_is_pulled_and_then_served(world: World) -> None:
    """Until then calls are told how long it takes, and lists show how far it is."""
    simulator = await installed(world, names=())
    simulator.registry.publish(Content(name="coder:v9", content="nine", size=1_000_000))
    simulator.registry.bytes_per_second = 10_000.0
    served = await following(world, simulator, None)
    await edit(served, simulator, NEW)
    (listed,) = (await served.get("/v1/models"))["data"]
    assert (listed["id"], listed["state"]) == ("coder", "pulling")
    shown = await told(served, lambda shown: shown.get("progress"))
    assert (shown["state"], shown["done"], shown["total"]) == ("pulling", 0, 1)
    assert 0 < shown["progress"] < 1
    refused = await served.chat(model="coder")
    assert (refused.status, refused.error["code"]) == (503, "model_pulling")
    assert 1 <= int(refused.header("retry-after") or 0) <= 60
    simulator.registry.bytes_per_second = 0.0
    await until(lambda: made(simulator.endpoints[0]), "the model has a name")
    assert (await served.chat(model="coder", max_tokens=1)).status == 200
    assert on_disk(simulator.endpoints[0]) == {*made(simulator.endpoints[0])}, "its tag is gone again"
    assert (await served.get("/v1/models/coder"))["state"] == "ready"
    assert cold(simulator) == 0


async def test_another_version_takes_over_while_calls_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """None fails and none is cold; the former version leaves later."""
    monkeypatch.setattr(installing, "SHORT_KEEP", "1s")
    simulator = await installed(world, 3, tokens_per_second=200.0)
    served = await following(world, simulator, V1)
    await warm(served, simulator)
    assert pulls(simulator) == []
    stream = Stream([served], 6)
    await until(lambda: len(stream.statuses) >= 6, "calls run")
    await edit(served, simulator, V2)
    await switched(served, simulator, "coder:v2")
    seen = len(stream.statuses)
    await until(lambda: len(stream.statuses) >= seen + 12, "calls go on")
    assert await stream.end() == {200}
    assert cold(simulator) == 0
    assert pulls(simulator) == ["coder:v2"] * 3
    await until(lambda: [len(one.pod.leasing.scheduler.runners) for one in simulator.endpoints] == [1, 1, 1])
    assert all("coder:v1" in on_disk(endpoint) for endpoint in simulator.endpoints), "it is somebody else's"


async def test_another_system_message_loads_nothing(world: World) -> None:
    simulator = await installed(world, 2)
    served = await following(world, simulator, V1)
    await warm(served, simulator)
    before = loads(simulator)
    await edit(served, simulator, {**V1, "system": "You answer with code.", "parameters": {"top_k": 7}})

    def is_new() -> bool:
        return all(body["model"] in serving(served).values() for _, body in asked(simulator, "/api/create")) and bool(
            asked(simulator, "/api/create")
        )

    await until(lambda: is_new() and len(asked(simulator, "/api/create")) == 2, "it is made everywhere")
    await until(lambda: is_loaded(served))
    assert (await served.chat(model="coder", max_tokens=1)).status == 200
    assert (loads(simulator), cold(simulator), pulls(simulator)) == (before, 0, [])
    (body, _) = (body for _, body in asked(simulator, "/api/create"))
    assert (body["system"], body["parameters"]) == ("You answer with code.", {"top_k": 7})


async def test_another_context_is_loaded_on_one_endpoint_after_the_other(world: World) -> None:
    """Each is drained before; calls go to the others meanwhile."""
    simulator = await installed(world, 3, tokens_per_second=200.0, load_seconds=0.2)
    served = await following(world, simulator, V1)
    await warm(served, simulator)
    stream = Stream([served], 4)
    await until(lambda: len(stream.statuses) >= 4, "calls run")
    most = 0

    def is_done() -> bool:
        nonlocal most
        empty = sum(not one.is_resident(serving(served)[one.address.authority]) for one in endpoints)
        most = max(most, empty)
        contexts = [
            runner.context_length
            for one in simulator.endpoints
            for runner in one.pod.leasing.scheduler.runners.values()
        ]
        return contexts == [512] * 3 and is_loaded(served)

    endpoints = tuple(served.gateway.fleet.endpoints.values())
    await edit(served, simulator, {**V1, "parameters": {"num_ctx": 512}})
    await until(is_done, "all have the new context")
    assert await stream.end() == {200}
    assert (cold(simulator), pulls(simulator)) == (0, [])
    assert most == 1


async def test_back_to_the_former_version_nothing_is_pulled(world: World) -> None:
    simulator = await installed(world, 2)
    served = await following(world, simulator, V1)
    await warm(served, simulator)
    await edit(served, simulator, V2)
    await switched(served, simulator, "coder:v2")
    before = len(pulls(simulator))
    await edit(served, simulator, V1)
    await switched(served, simulator, "coder:v1")
    assert (len(pulls(simulator)), cold(simulator)) == (before, 0)


async def test_a_model_that_is_taken_out_gets_404_at_once_and_running_answers_end(world: World) -> None:
    simulator = await installed(world, tokens_per_second=50.0)
    served = await following(world, simulator, V1)
    await warm(served, simulator)
    line = await served.begin(chat(model="coder", stream=True, max_tokens=30))
    await line.head()
    await line.event()
    await edit(served, simulator, None)
    assert (await served.chat(model="coder")).status == 404
    assert (await line.rest()).endswith(b"data: [DONE]\n\n")
    assert "coder:v1" in on_disk(simulator.endpoints[0])


async def test_a_tag_that_moves_is_followed_where_the_config_asks_for_it(world: World) -> None:
    """With `pull: always`, after its interval; what was there goes on serving until the new content is loaded."""
    simulator = await installed(world, 2)
    served = await following(world, simulator, {**V1, "pull": "always"}, reconcile={"pull_interval": "1s"})
    await warm(served, simulator)
    simulator.registry.publish(Content(name="coder:v1", content="moved", size=1000))
    await switched(served, simulator, "coder:v1")
    assert cold(simulator) == 0
    assert (await served.chat(model="coder", max_tokens=1)).status == 200


async def test_without_the_keys_nothing_is_written_to_any_endpoint(world: World) -> None:
    """Whatever is missing, edited, or moved in the registry."""
    simulator = await installed(world, 2, names=("llama3", "codellama:13b", "coder:v1"))
    served = await world.gateway(simulator.urls)
    for name in ("llama3", "coder"):
        assert (await served.chat(model=name, max_tokens=1)).status == 200
    assert (await served.chat(model="embed")).status == 503
    await edit(served, simulator, {"ollama": "coder", "version": "v2"})
    assert (await served.chat(model="coder")).error["code"] == "model_missing"
    simulator.registry.publish(Content(name="coder:v1", content="moved"))
    await served.reload(config(simulator.urls))
    looks = [one.ledger.by_path for one in simulator.endpoints]
    seen = max(look["/api/tags"] for look in looks)
    await until(lambda: all(look["/api/tags"] > seen + 5 for look in looks), "it looks on")
    assert asked(simulator, *WRITES) == []
