"""Ollamas that die: clients learn the truth, and nobody else notices."""

import asyncio
from typing import Any

import httpx
from tests.ollama.fleet import Fleet
from tests.ollama.talk import DONE, ask, chat, events, until

CHAT = "/v1/chat/completions"


def long_text(first: str) -> str:
    """The random model reads this for three seconds: time enough to kill it before its own first word.

    `first` must be another word in each test: what an Ollama has read before it answers in a quarter of a second,
    before anybody has seen it compute.
    """
    return first + " the river and the house in the morning with bread and water" * 4


async def health(client: httpx.AsyncClient) -> dict[str, Any]:
    report: dict[str, Any] = (await client.get("/v1/health")).json()
    return report


async def ollama_is(client: httpx.AsyncClient, state: str) -> None:
    async def is_so() -> bool:
        return bool((await health(client))["ollama"] == state)

    await until(is_so)


async def test_a_stream_whose_endpoint_dies_ends_in_an_error(
    fragile_client: httpx.AsyncClient, fragile_fleet: Fleet
) -> None:
    async with fragile_client.stream("POST", CHAT, json=ask("slow", "hello", stream=True)) as reply:
        assert reply.status_code == 200
        coming = events(reply)
        before = [await anext(coming) for _ in range(3)]
        assert all("error" not in event for event in before)
        (await fragile_fleet.busy_endpoint()).kill()
        *_, last = [event async for event in coming]
    assert last != DONE
    assert last["error"]["type"] == "backend_unavailable"
    assert last["error"]["code"] == "upstream_disconnected"


async def test_health_is_degraded_while_an_endpoint_is_dead_and_ok_when_it_is_back(
    fragile_client: httpx.AsyncClient, fragile_fleet: Fleet
) -> None:
    await ollama_is(fragile_client, "ok")
    fragile_fleet.endpoints[0].kill()
    await ollama_is(fragile_client, "degraded")
    assert (await chat(fragile_client, ask("chat", max_tokens=1)))["choices"]
    fragile_fleet.mend()
    await ollama_is(fragile_client, "ok")


async def test_an_endpoint_that_came_back_serves_again(fragile_client: httpx.AsyncClient, fragile_fleet: Fleet) -> None:
    first, second = fragile_fleet.endpoints
    first.kill()
    await ollama_is(fragile_client, "degraded")
    first.start()
    await ollama_is(fragile_client, "ok")
    second.kill()
    assert (await chat(fragile_client, ask("chat", max_tokens=1)))["choices"]


async def test_an_endpoint_that_hangs_is_passed_by_until_it_goes_on(
    fragile_client: httpx.AsyncClient, fragile_fleet: Fleet
) -> None:
    hanging = fragile_fleet.endpoints[0]
    hanging.pause()
    try:
        await ollama_is(fragile_client, "degraded")
        for _ in range(4):
            assert (await chat(fragile_client, ask("chat", max_tokens=1)))["choices"]
    finally:
        hanging.resume()
    await ollama_is(fragile_client, "ok")


async def test_a_stream_whose_endpoint_dies_before_the_first_byte_is_sent_to_the_other(
    fragile_client: httpx.AsyncClient, fragile_fleet: Fleet
) -> None:
    body = ask("slow", long_text("stream"), stream=True, max_tokens=2)

    async def answer() -> list[Any]:
        async with fragile_client.stream("POST", CHAT, json=body) as reply:
            assert reply.status_code == 200, await reply.aread()
            return [event async for event in events(reply)]

    call = asyncio.create_task(answer())
    (await fragile_fleet.busy_endpoint()).kill()
    *chunks, last = await call
    assert last == DONE
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


async def test_a_whole_answer_whose_endpoint_dies_is_written_by_the_other(
    fragile_client: httpx.AsyncClient, fragile_fleet: Fleet
) -> None:
    call = asyncio.create_task(chat(fragile_client, ask("slow", long_text("whole"), max_tokens=4)))
    (await fragile_fleet.busy_endpoint()).kill()
    assert (await call)["usage"]["completion_tokens"] == 4


async def test_a_stream_that_ollama_ends_without_a_word_ends_in_an_error(
    fragile_client: httpx.AsyncClient, fragile_fleet: Fleet
) -> None:
    async with (
        fragile_fleet.truncating(),
        fragile_client.stream("POST", CHAT, json=ask("slow", "hello", stream=True)) as reply,
    ):
        *before, last = [event async for event in events(reply)]
    assert before
    assert all(chunk["model"] == "slow" for chunk in before)
    assert last != DONE
    assert last["error"]["type"] == "backend_unavailable"


async def test_nobody_up_is_said_plainly_and_invites_a_retry(
    fragile_client: httpx.AsyncClient, fragile_fleet: Fleet
) -> None:
    for endpoint in fragile_fleet.endpoints:
        endpoint.kill()
    await ollama_is(fragile_client, "unavailable")
    reply = await fragile_client.post(CHAT, json=ask("chat"))
    assert reply.status_code == 503
    assert reply.json()["error"]["code"] == "no_endpoint"
    assert int(reply.headers["retry-after"]) >= 1
    assert "x-should-retry" not in reply.headers
