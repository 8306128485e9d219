"""A model of config.yml goes from one version to another on real Ollamas, and back."""

from datetime import UTC, datetime

import pytest
from tests.ollama.callers import Callers
from tests.ollama.rollouts import Disk, Rollouts
from tests.ollama.talk import ask, chat, until

pytestmark = pytest.mark.ollama

SOON_SECONDS = 61  # the replaced version is told to leave after a minute


def seconds_left(entry: dict[str, str]) -> float:
    """How long a runner of /api/ps stays without calls."""
    return (datetime.fromisoformat(entry["expires_at"]) - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize("count", [2], indirect=True)
async def test_an_edit_of_the_version_is_a_rollout_without_a_failed_call_and_goes_back_without_a_pull(
    rollouts: Rollouts,
) -> None:
    """On both endpoints. The old version is told to leave once the new one is loaded."""
    name = rollouts.registry.name("tiny")
    for tag, weights in (("v1", "A"), ("v2", "B")):
        rollouts.publisher.publish(f"{name}:{tag}", weights)
    disks = [Disk(ollama) for ollama in rollouts.ollamas]
    await rollouts.start({"coder": rollouts.model("tiny", "v1")})
    old = await rollouts.until_in_place("coder", "v1")
    async with Callers(rollouts) as callers:
        await rollouts.until_in_place("coder", "v1", loaded=True)
        rollouts.edit({"coder": rollouts.model("tiny", "v2")})
        new = await rollouts.until_in_place("coder", "v2", loaded=True)
        await callers.some_more()

        async def are_told() -> bool:
            old_ones = [disk.loaded.get(old.name) for disk in disks]
            return all(one is None or seconds_left(one) < SOON_SECONDS for one in old_ones)

        await until(are_told)
        assert all(new.name in disk.loaded for disk in disks)
        for disk in disks:
            assert disk.made == {old.name, new.name}
        pulls = [disk.calls("/api/pull") for disk in disks]
        rollouts.edit({"coder": rollouts.model("tiny", "v1")})
        assert await rollouts.until_in_place("coder", "v1", loaded=True) == old
        await callers.some_more()
    assert [disk.calls("/api/pull") for disk in disks] == pulls
    assert all(disk.made == {old.name, new.name} for disk in disks)


async def test_a_tag_that_the_registry_moves_is_followed_and_the_previous_content_stays(rollouts: Rollouts) -> None:
    name = f"{rollouts.registry.name('moving')}:v1"
    model = rollouts.model("moving", "v1", pull="always")
    rollouts.publisher.publish(name, "A")
    await rollouts.start({"coder": model}, pull_interval="1s")
    old = await rollouts.until_in_place("coder")
    async with Callers(rollouts) as callers:
        await rollouts.until_in_place("coder", loaded=True)
        rollouts.publisher.publish(name, "B")
        new = await rollouts.until_in_place("coder", loaded=True, but=old.digest)
        await callers.some_more()
    assert (new.spec, new.number) == (old.spec, old.number + 1)
    disk = Disk(rollouts.ollamas[0])
    assert disk.made == {old.name, new.name}
    assert disk.post("/api/generate", model=old.name, prompt="hello", options={"num_predict": 3})["done"]


async def test_a_copy_shares_the_runner_of_its_tag_so_nothing_is_loaded_at_the_switch(rollouts: Rollouts) -> None:
    """The tag was pulled by somebody else, so it stays."""
    tag = f"{rollouts.registry.name('tiny')}:v1"
    rollouts.publisher.publish(tag)
    (ollama,) = rollouts.ollamas
    Disk(ollama).post("/api/pull", model=tag, insecure=True)
    await rollouts.start({"coder": rollouts.model("tiny", "v1")})
    await chat(rollouts.client, ask("coder", max_tokens=3))
    assert (await rollouts.served("coder"), list(Disk(ollama).loaded), ollama.loads) == ([None], [tag], 1)
    rollouts.edit({"coder": rollouts.model("tiny", "v1", pull="always")})
    made = await rollouts.until_in_place("coder", loaded=True)
    await chat(rollouts.client, ask("coder", max_tokens=3))
    assert (list(Disk(ollama).loaded), ollama.loads) == ([tag], 1)
    assert Disk(ollama).names == {tag, made.name}
