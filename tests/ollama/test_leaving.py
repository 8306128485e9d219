"""Clients that leave: the model stops writing for nobody."""

import asyncio

import httpx
import pytest
from tests.ollama.fleet import Fleet
from tests.ollama.talk import DONE, ask, chat, events, until

CHAT = "/v1/chat/completions"


@pytest.fixture(autouse=True)
def _slow_is_loaded(fleet: Fleet) -> None:
    fleet.load("slow")


async def test_a_client_that_leaves_a_stream_frees_the_model(client: httpx.AsyncClient, fleet: Fleet) -> None:
    async with client.stream("POST", CHAT, json=ask("slow", "hello", stream=True)) as reply:
        words = events(reply)
        first = [await anext(words) for _ in range(3)]
        assert DONE not in first
        await fleet.busy_endpoint()
    await fleet.until_idle()


async def test_a_client_that_leaves_before_the_answer_is_whole_frees_the_model(
    client: httpx.AsyncClient, fleet: Fleet
) -> None:
    call = asyncio.create_task(client.post(CHAT, json=ask("slow", "hello")))
    await fleet.busy_endpoint()
    assert not call.done()
    call.cancel()
    await fleet.until_idle()


async def test_the_slot_of_a_client_that_left_goes_to_the_next(client: httpx.AsyncClient, fleet: Fleet) -> None:
    """One slot per model and endpoint: if any were lost, the third call would wait forever."""
    for _ in range(3):
        async with client.stream("POST", CHAT, json=ask("slow", "hello", stream=True)) as reply:
            await anext(events(reply))
    await fleet.until_idle()
    assert (await chat(client, ask("slow", "hello", max_tokens=1)))["choices"]


async def test_a_client_that_leaves_the_queue_is_forgotten(client: httpx.AsyncClient, fleet: Fleet) -> None:
    async def counts_are(in_flight: int, waiting: int) -> bool:
        slow = (await client.get("/v1/health")).json()["models"]["slow"]
        return bool((slow["in_flight"], slow["waiting"]) == (in_flight, waiting))

    calls = [asyncio.create_task(client.post(CHAT, json=ask("slow", "hello"))) for _ in range(3)]
    await until(lambda: counts_are(in_flight=2, waiting=1))
    for call in calls:
        call.cancel()
    await until(lambda: counts_are(in_flight=0, waiting=0))
    await fleet.until_idle()
