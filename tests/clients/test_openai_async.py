"""The `openai` package, asynchronous."""

import asyncio
from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam
from tests.ollama.fleet import Fleet
from tests.ollama.gateway import Gateway

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello world"}]


def make_client(gateway: Gateway) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="unused", timeout=60, max_retries=0)


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[AsyncOpenAI]:
    async with make_client(gateway) as client:
        yield client


async def test_many_chats_at_once_are_all_answered(client: AsyncOpenAI) -> None:
    """More than the fleet has slots: the rest wait for their turn."""
    calls = [client.chat.completions.create(model="chat", messages=HELLO, max_tokens=5) for _ in range(20)]
    answers = await asyncio.gather(*calls)
    assert len({answer.id for answer in answers}) == 20
    assert all(answer.choices[0].finish_reason for answer in answers)


async def test_a_stream_arrives_in_pieces(client: AsyncOpenAI) -> None:
    chunks = await client.chat.completions.create(
        model="assistant", messages=HELLO, max_tokens=6, temperature=0, stream=True
    )
    pieces = [chunk async for chunk in chunks]
    assert all(piece.choices for piece in pieces)
    assert {piece.model for piece in pieces} == {"assistant"}
    assert pieces[-1].choices[0].finish_reason == "length"


async def test_embeddings_come_with_the_default_encoding(client: AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="embeddings", input="hello world")
    assert all(isinstance(number, float) for number in answer.data[0].embedding)


async def test_an_unknown_model_is_a_not_found_error(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await client.chat.completions.create(model="nobody", messages=HELLO)


async def test_a_stream_of_a_missing_model_is_refused_before_it_begins(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model="ghost", messages=HELLO, stream=True)
    assert caught.value.status_code == 503


async def test_a_stream_that_is_closed_early_frees_the_model(fragile_gateway: Gateway, fragile_fleet: Fleet) -> None:
    async with make_client(fragile_gateway) as client:
        chunks = await client.chat.completions.create(model="slow", messages=HELLO, stream=True)
        assert (await anext(chunks)).choices
        await fragile_fleet.busy_endpoint()
        await chunks.close()
        await fragile_fleet.until_idle()


async def test_a_stream_that_breaks_raises(fragile_gateway: Gateway, fragile_fleet: Fleet) -> None:
    async with make_client(fragile_gateway) as client:
        chunks = await client.chat.completions.create(model="slow", messages=HELLO, stream=True)
        assert (await anext(chunks)).choices
        (await fragile_fleet.busy_endpoint()).kill()
        with pytest.raises(openai.APIError) as caught:
            async for _ in chunks:
                pass
    assert caught.value.code == "upstream_disconnected"
