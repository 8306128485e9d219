"""Real Ollamas that others change too, models that share what is pulled, and too little room."""

import pytest
from tests.ollama.callers import Callers
from tests.ollama.rollouts import Disk, Rollouts
from tests.ollama.talk import ask, chat, until

pytestmark = pytest.mark.ollama


async def test_two_models_of_one_tag_are_pulled_once_and_share_a_runner(rollouts: Rollouts) -> None:
    """The tag goes when both have their names."""
    rollouts.publisher.publish(f"{rollouts.registry.name('tiny')}:v1")
    (ollama,) = rollouts.ollamas
    disk = Disk(ollama)
    models = {
        "coder": rollouts.model("tiny", "v1", system="You answer with code."),
        "Writer.2/x": rollouts.model("tiny", "v1", system="You answer with prose."),
    }
    await rollouts.start(models)
    for model_id in models:
        await rollouts.until_in_place(model_id)
        await chat(rollouts.client, ask(model_id, max_tokens=3))

    async def are_alone() -> bool:
        return disk.names == disk.made

    await until(are_alone)
    assert (disk.calls("/api/pull"), ollama.loads) == (1, 1)
    assert len(disk.names) == 4  # what is as it was pulled, and what is made of it


async def test_what_somebody_deletes_comes_back(rollouts: Rollouts) -> None:
    rollouts.publisher.publish(f"{rollouts.registry.name('tiny')}:v1")
    await rollouts.start({"coder": rollouts.model("tiny", "v1")})
    made = await rollouts.until_in_place("coder")
    (ollama,) = rollouts.ollamas
    Disk(ollama).delete(made.name)

    async def is_pulled_again() -> bool:
        return Disk(ollama).made == {made.name}

    await until(is_pulled_again)
    await rollouts.until_in_place("coder")
    await chat(rollouts.client, ask("coder", max_tokens=3))


async def test_a_tag_that_somebody_moves_by_a_pull_is_followed_and_stays(rollouts: Rollouts) -> None:
    """The content that was served before has a name, so it serves until the other one is loaded."""
    tag = f"{rollouts.registry.name('theirs')}:v1"
    rollouts.publisher.publish(tag, "A")
    disk = Disk(rollouts.ollamas[0])
    disk.post("/api/pull", model=tag, insecure=True)
    await rollouts.start({"coder": rollouts.model("theirs", "v1", system="You are a river.")})
    old = await rollouts.until_in_place("coder")
    async with Callers(rollouts) as callers:
        await rollouts.until_in_place("coder", loaded=True)
        rollouts.publisher.publish(tag, "B")
        disk.post("/api/pull", model=tag, insecure=True)
        new = await rollouts.until_in_place("coder", loaded=True, but=old.digest)
        await callers.some_more()
    assert new.number > old.number
    assert {tag, old.name, new.name} <= disk.names


async def test_an_embedding_model_goes_from_one_version_to_another(rollouts: Rollouts) -> None:
    for tag, letter in (("v1", "A"), ("v2", "B")):
        rollouts.publisher.publish_embeddings(f"{rollouts.registry.name('embed')}:{tag}", letter)
    ollama = rollouts.ollamas[0]
    await rollouts.start({"words": rollouts.model("embed", "v1")})
    for tag in ("v1", "v2"):
        rollouts.edit({"words": rollouts.model("embed", tag)})

        async def is_asked(wanted: str = tag) -> bool:
            return str((await rollouts.show("words"))["ollama"]).endswith(wanted)

        await until(is_asked)
        await rollouts.until_in_place("words", tag)
        reply = await rollouts.client.post("/v1/embeddings", json={"model": "words", "input": "hello"})
        assert reply.status_code == 200
        assert reply.json()["model"] == "words"
    await rollouts.until_in_place("words", "v2", loaded=True)
    assert ollama.loads == 2


@pytest.mark.parametrize("rooms", [1], indirect=True)
@pytest.mark.parametrize("count", [2], indirect=True)
async def test_with_room_for_one_model_a_rollout_fails_no_call(rollouts: Rollouts) -> None:
    """The gateway does not know that Ollama has so little room."""
    for tag, weights in (("v1", "A"), ("v2", "B")):
        rollouts.publisher.publish(f"{rollouts.registry.name('tiny')}:{tag}", weights)
    await rollouts.start({"coder": rollouts.model("tiny", "v1")})
    await rollouts.until_in_place("coder", "v1")
    async with Callers(rollouts) as callers:
        await rollouts.until_in_place("coder", "v1", loaded=True)
        rollouts.edit({"coder": rollouts.model("tiny", "v2")})
        await rollouts.until_in_place("coder", "v2", loaded=True)
        await callers.some_more()
