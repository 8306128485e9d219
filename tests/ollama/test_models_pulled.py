"""A model that is added to config.yml comes from a real registry to a real Ollama by itself."""

import pytest
from tests.ollama.rollouts import Disk, Rollouts
from tests.ollama.talk import ask, chat, error_of, until

from ai_gateway.wire.made_names import key_of

pytestmark = pytest.mark.ollama

SLOW_BYTES = 100_000  # a second: the file of a tiny model takes five


async def test_a_model_that_is_added_is_pulled_with_progress_and_answers_under_a_made_name(rollouts: Rollouts) -> None:
    """While it comes, callers are told how long; then the tag is gone, and what is there was never loaded twice."""
    rollouts.publisher.publish(f"{rollouts.registry.name('tiny')}:v1")
    rollouts.registry.limit(SLOW_BYTES)
    await rollouts.start({})
    rollouts.edit({"coder": rollouts.model("tiny", "v1")})
    seen: list[float] = []

    async def is_half_way() -> bool:
        reply = await rollouts.client.get("/v1/models/coder")
        shown = reply.json() if reply.status_code == 200 else {}
        if shown.get("state") == "pulling" and shown["progress"]:
            seen.append(shown["progress"])
        return bool(seen) and 0.3 < seen[-1] < 1

    await until(is_half_way)
    assert seen == sorted(seen)
    listed = (await rollouts.client.get("/v1/models")).json()["data"][0]
    assert (listed["id"], listed["state"]) == ("coder", "pulling")
    assert 0.3 < listed["progress"] <= 1
    refused = await rollouts.client.post("/v1/chat/completions", json=ask("coder"))
    assert (refused.status_code, error_of(refused)["code"]) == (503, "model_pulling")
    assert 1 <= int(refused.headers["retry-after"]) <= 60

    made = await rollouts.until_in_place("coder", "v1")
    disk = Disk(rollouts.ollamas[0])
    assert made.key == key_of("default", "coder")
    answer = await chat(rollouts.client, ask("coder", max_tokens=3))
    assert answer["model"] == "coder"
    assert list(disk.loaded) == [made.name]

    async def is_alone() -> bool:
        return disk.names == {made.name}

    await until(is_alone)


async def test_a_pull_that_nobody_wants_any_more_is_cut(rollouts: Rollouts) -> None:
    """And the one of the next edit begins without it."""
    for tag, weights in (("v1", "A"), ("v2", "B")):
        rollouts.publisher.publish(f"{rollouts.registry.name('tiny')}:{tag}", weights)
    rollouts.registry.limit(1)
    await rollouts.start({"coder": rollouts.model("tiny", "v1")})

    async def pulls() -> bool:
        health = (await rollouts.client.get("/v1/health")).json()["reconcile"]
        return [one["step"] for one in health["under_way"]] == ["pull"]

    await until(pulls)
    rollouts.edit({"coder": rollouts.model("tiny", "v2")})
    rollouts.registry.limit(None)
    await rollouts.until_in_place("coder", "v2")
    assert len(Disk(rollouts.ollamas[0]).made) == 1


async def test_a_gateway_that_dies_in_a_pull_leaves_what_has_come_to_the_next(rollouts: Rollouts) -> None:
    rollouts.publisher.publish(f"{rollouts.registry.name('tiny')}:v1")
    rollouts.registry.limit(SLOW_BYTES)
    await rollouts.start({"coder": rollouts.model("tiny", "v1")})
    progress = 0.0

    async def is_beyond(share: float) -> bool:
        nonlocal progress
        progress = (await rollouts.show("coder")).get("progress") or 0.0
        return progress > share

    await until(lambda: is_beyond(0.5))
    rollouts.kill()
    rollouts.registry.limit(SLOW_BYTES)
    await rollouts.start({"coder": rollouts.model("tiny", "v1")})
    await until(lambda: is_beyond(0.0))
    assert progress > 0.3
    await rollouts.until_in_place("coder", "v1")
