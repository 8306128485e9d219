"""Several gateways over endpoints that follow the config: one of them writes, all of them switch."""

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
    made,
    pulls,
    switched,
    three,
    told,
    warm,
)
from tests.flow.test_reports import join
from tests.flow.waiting import until
from tests.flow.world import World
from tests.ports import free_port

from ai_gateway.simulator import Content, Fault


def elsewhere(world: World) -> None:
    """Gateways that are made from now on have another config.yml."""
    world.folder = world.folder / "elsewhere"
    world.folder.mkdir()


async def test_all_gateways_switch_to_the_new_version_by_themselves(world: World) -> None:
    """The leader alone writes; no call fails or is cold, at whichever gateway."""
    simulator = await installed(world, 2, tokens_per_second=200.0)
    _, served = await three(world, simulator, V1)
    await warm(served[0], simulator)
    stream = Stream(served, 6)
    await until(lambda: len(stream.statuses) >= 6, "calls run")
    await edit(served, simulator, V2)
    for one in served:
        await switched(one, simulator, "coder:v2")
    seen = len(stream.statuses)
    await until(lambda: len(stream.statuses) >= seen + 12, "calls go on")
    assert await stream.end() == {200}
    assert cold(simulator) == 0
    assert pulls(simulator) == ["coder:v2"] * 2


async def test_the_others_tell_how_far_the_leader_is(world: World) -> None:
    """A pull's progress and its failure are told at each gateway, a sidecar's too."""
    simulator = await installed(world, names=())
    simulator.registry.publish(Content(name="coder:v2", content="two", size=1_000_000))
    simulator.registry.bytes_per_second = 100_000.0
    _, served = await three(world, simulator, V2)
    for one in served:
        shown = await told(one, lambda shown: shown.get("progress"))
        assert shown["state"] == "pulling"
        assert (await one.chat(model="coder")).error["code"] == "model_pulling"
    simulator.endpoints[0].faults.add(Fault(kind="no_registry"))
    await edit(served, simulator, {**V1, "version": "v3"})
    for one in served:
        shown = await told(one, lambda shown: shown["state"] == "failed")
        assert "no such host" in shown["reason"]


async def test_a_leader_that_dies_amid_a_pull_is_replaced_and_no_byte_is_pulled_twice(world: World) -> None:
    simulator = await installed(world, 2)
    simulator.registry.publish(Content(name="coder:v2", content="two", size=1_000_000))
    simulator.registry.bytes_per_second = 200_000.0
    api, served = await three(world, simulator, V1)
    await warm(served[0], simulator)
    first, second, _ = served
    await edit(served, simulator, V2)
    stores = [endpoint.pod.store for endpoint in simulator.endpoints]
    await until(lambda: any(sum(store.partial.values()) > 100_000 for store in stores), "half is there")
    await first.gateway.installer.stop()
    await first.gateway.loader.stop()
    join(api, "a", free_port())  # nobody listens there: as dead as it can be without its process
    await until(lambda: second.gateway.reconciler.may_write, "the other one leads")
    simulator.registry.bytes_per_second = 0.0
    for one in served[1:]:
        await switched(one, simulator, "coder:v2")
    assert all(max(store.downloaded.values()) == 1_000_000 for store in stores)
    assert len(pulls(simulator)) == 3
    assert cold(simulator) == 0


async def test_a_gateway_that_never_writes_follows_all_the_same(world: World) -> None:
    """It says why it writes nothing."""
    simulator = await installed(world)
    served = await following(world, simulator, V2, reconcile={"mode": "never"})
    assert (await served.chat(model="coder")).error["code"] == "model_missing"
    assert (await served.get("/v1/health"))["reconcile"]["complaint"] == "reconcile.mode is never"
    assert asked(simulator, *WRITES) == []
    elsewhere(world)
    writer = await following(world, simulator, V2)
    await until(lambda: made(simulator.endpoints[0]), "another one makes it")
    assert (await writer.chat(model="coder", max_tokens=1)).status == 200
    await switched(served, simulator, "coder:v2")
    assert (await served.chat(model="coder", max_tokens=1)).status == 200


async def test_a_gateway_with_the_old_config_fails_no_call_and_sends_none_to_what_is_not_loaded(world: World) -> None:
    """While another one brings the new version."""
    simulator = await installed(world, 2, tokens_per_second=200.0)
    old = await following(world, simulator, V1, reconcile={"mode": "never"})
    await warm(old, simulator)
    elsewhere(world)
    writer = await following(world, simulator, V1)
    stream = Stream([writer, old], 4)
    await until(lambda: len(stream.statuses) >= 4, "calls run")
    await edit(writer, simulator, V2)
    await switched(writer, simulator, "coder:v2")
    seen = len(stream.statuses)
    await until(lambda: len(stream.statuses) >= seen + 8, "calls go on")
    assert await stream.end() == {200}
    assert cold(simulator) == 0
