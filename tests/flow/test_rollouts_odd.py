"""Edits that fail, or come too quickly, and what others do to endpoints that follow the config."""

import pytest
from tests.flow.rollouts import (
    V1,
    V2,
    cold,
    direct,
    edit,
    following,
    installed,
    made,
    on_disk,
    pulls,
    switched,
    told,
    warm,
)
from tests.flow.waiting import until
from tests.flow.world import World

from ai_gateway.simulator import Content, Fault


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("disk_full", "no space left on device"),
        ("bad_digest", "digest mismatch"),
        ("no_registry", "no such host"),
        ("unknown", "file does not exist"),
    ],
)
async def test_a_version_that_cannot_be_pulled_leaves_the_old_one_serving(
    world: World, fault: str, reason: str
) -> None:
    """The state tells it, with the reason; after two endpoints no third one is tried."""
    simulator = await installed(world, 3)
    served = await following(world, simulator, V1)
    await warm(served, simulator)
    if fault == "unknown":
        simulator.registry.withdraw("coder:v2")
    for endpoint in simulator.endpoints if fault != "unknown" else ():
        endpoint.faults.add(Fault(kind=fault))  # type: ignore[arg-type]
    await edit(served, simulator, V2)
    shown = await told(served, lambda shown: shown["state"] == "failed")
    assert reason in shown["reason"]
    assert (shown["done"], shown["total"]) == (0, 3)
    assert len(pulls(simulator)) == 2
    assert (await served.chat(model="coder", max_tokens=1)).status == 200
    assert cold(simulator) == 0


async def test_of_twenty_edits_the_last_one_counts(world: World) -> None:
    """No version is downloaded twice on an endpoint, and most never are."""
    simulator = await installed(world, 2)
    simulator.registry.bytes_per_second = 2e8
    for number in range(20):
        simulator.registry.publish(Content(name=f"coder:x{number}", content=f"x{number}", size=100_000_000))
    served = await following(world, simulator, V1, reconcile={"prune": "1s"})
    await warm(served, simulator)
    for number in range(20):
        await edit(served, simulator, {**V1, "version": f"x{number}"}, reconcile={"prune": "1s"})
    simulator.registry.bytes_per_second = 0.0
    await switched(served, simulator, "coder:x19")
    await until(lambda: all(len(made(one)) <= 2 for one in simulator.endpoints), "what nobody wants is gone")
    assert (await served.chat(model="coder", max_tokens=1)).status == 200
    await until(
        lambda: all(on_disk(one) - {*made(one)} == {"coder:v1"} for one in simulator.endpoints),
        "and so are the tags that it pulled",
    )
    assert all(max(one.pod.store.downloaded.values()) <= 100_000_000 for one in simulator.endpoints)
    assert cold(simulator) == 0


async def test_a_name_that_somebody_deletes_is_made_again(world: World) -> None:
    simulator = await installed(world)
    served = await following(world, simulator, V2)
    await until(lambda: made(simulator.endpoints[0]))
    await direct(simulator.endpoints[0], made(simulator.endpoints[0])[0])
    (name,) = made(simulator.endpoints[0])
    simulator.endpoints[0].pod.store.delete(name)
    await until(lambda: made(simulator.endpoints[0]), "it is made anew")
    await until(lambda: not served.gateway.reconciler.under_way)
    assert (await served.chat(model="coder", max_tokens=1)).status == 200
