"""What a real registry refuses, and what becomes of the model meanwhile."""

import pytest
from tests.ollama.rollouts import Rollouts
from tests.ollama.talk import ask, chat

pytestmark = pytest.mark.ollama


async def test_an_unknown_tag_fails_with_the_registrys_words_and_the_old_version_serves_on(rollouts: Rollouts) -> None:
    rollouts.publisher.publish(f"{rollouts.registry.name('tiny')}:v1")
    await rollouts.start({"coder": rollouts.model("tiny", "v1")})
    made = await rollouts.until_in_place("coder", "v1")
    rollouts.edit({"coder": rollouts.model("tiny", "no-such-tag")})
    assert await rollouts.until_failed("coder") == "pull model manifest: file does not exist"
    assert await rollouts.served("coder") == [made]
    assert (await chat(rollouts.client, ask("coder", max_tokens=3)))["choices"]


async def test_a_pull_goes_on_when_the_registry_is_back(rollouts: Rollouts) -> None:
    rollouts.publisher.publish(f"{rollouts.registry.name('tiny')}:v1")
    rollouts.registry.stop()
    await rollouts.start({"coder": rollouts.model("tiny", "v1")})
    assert "connection refused" in await rollouts.until_failed("coder")
    refused = await rollouts.client.post("/v1/chat/completions", json=ask("coder"))
    assert refused.status_code == 503
    rollouts.registry.start()
    await rollouts.until_in_place("coder", "v1")


async def test_a_registry_without_tls_must_be_named_as_such(rollouts: Rollouts) -> None:
    rollouts.publisher.publish(f"{rollouts.registry.name('tiny')}:v1")
    await rollouts.start({"coder": rollouts.model("tiny", "v1")}, insecure_registries=[])
    assert "server gave HTTP response to HTTPS client" in await rollouts.until_failed("coder")
    rollouts.edit({"coder": rollouts.model("tiny", "v1")})
    await rollouts.until_in_place("coder", "v1")
