"""Answers that come word by word."""

import json
from typing import Any

import httpx
from tests.ollama.talk import CALLS_WEATHER, DONE, WEATHER_TOOL, ask, chat, json_schema, stream, text_of


async def test_chunks_have_one_id_and_the_model_that_was_asked(client: httpx.AsyncClient) -> None:
    *chunks, last = await stream(client, ask("assistant", max_tokens=12, temperature=0))
    assert last == DONE
    assert len(chunks) > 3
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert {chunk["model"] for chunk in chunks} == {"assistant"}
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


async def test_every_stream_has_an_id_of_its_own(client: httpx.AsyncClient) -> None:
    ids = [(await stream(client, ask("chat", max_tokens=1)))[0]["id"] for _ in range(40)]
    assert len(set(ids)) == len(ids)


async def test_only_the_last_chunk_says_why_the_answer_ended(client: httpx.AsyncClient) -> None:
    *chunks, _ = await stream(client, ask("chat", max_tokens=5, temperature=0))
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["length"]


async def test_a_stream_says_what_the_whole_answer_says(client: httpx.AsyncClient) -> None:
    body = ask("chat", "the river and the house", seed=11)
    whole = (await chat(client, body))["choices"][0]["message"]["content"]
    assert text_of(await stream(client, body)) == whole


async def test_usage_comes_only_when_asked_for(client: httpx.AsyncClient) -> None:
    *chunks, _ = await stream(client, ask("chat", max_tokens=3))
    assert all(chunk["choices"] for chunk in chunks)
    assert not any(chunk.get("usage") for chunk in chunks)


async def test_usage_comes_in_the_chunk_before_done(client: httpx.AsyncClient) -> None:
    body = ask("chat", max_tokens=3, temperature=0, stream_options={"include_usage": True})
    *chunks, usage, last = await stream(client, body)
    assert last == DONE
    assert all(chunk["choices"] for chunk in chunks)
    assert usage["choices"] == []
    assert usage["id"] == chunks[0]["id"]
    assert usage["usage"]["completion_tokens"] == 3
    assert usage["usage"]["total_tokens"] == usage["usage"]["prompt_tokens"] + 3


async def test_a_tool_call_is_streamed_whole(client: httpx.AsyncClient) -> None:
    body = ask("chat", "call get_weather", tools=[WEATHER_TOOL], response_format=json_schema(CALLS_WEATHER))
    *chunks, last = await stream(client, body)
    assert last == DONE
    calls: list[Any] = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert [(call["index"], call["function"]["name"]) for call in calls] == [(0, "get_weather")]
    assert set(json.loads(calls[0]["function"]["arguments"])) == {"city"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_plain_completions_are_streamed_too(client: httpx.AsyncClient) -> None:
    body = {"model": "chat", "prompt": "hello world", "max_tokens": 4, "temperature": 0}
    *chunks, last = await stream(client, body, "/v1/completions")
    assert last == DONE
    assert {chunk["model"] for chunk in chunks} == {"chat"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert all(chunk["choices"] for chunk in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


async def test_nothing_on_the_way_may_hold_a_stream_back(client: httpx.AsyncClient) -> None:
    body = ask("chat", max_tokens=1, stream=True)
    reply = await client.post("/v1/chat/completions", json=body)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert "no-cache" in reply.headers["cache-control"]
    assert reply.headers["x-accel-buffering"] == "no"
    assert reply.headers["x-request-id"]


async def test_a_stream_that_is_refused_gets_an_ordinary_error(client: httpx.AsyncClient) -> None:
    reply = await client.post("/v1/chat/completions", json=ask("embeddings", stream=True))
    assert reply.status_code == 400
    assert reply.headers["content-type"].startswith("application/json")
