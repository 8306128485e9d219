"""What a client sends and how it reads the answer, without any client library."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx

DONE = "[DONE]"
WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
# A random model calls nothing by itself: a grammar makes it write the call that Ollama then recognises.
CALLS_WEATHER = {
    "type": "object",
    "properties": {
        "name": {"const": "get_weather"},
        "parameters": {"type": "object", "properties": {"city": {"enum": ["Bern"]}}, "required": ["city"]},
    },
    "required": ["name", "parameters"],
}


def ask(model: str, text: str = "hello world", **more: Any) -> dict[str, Any]:
    """The body of a chat call."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """A `response_format`."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


async def chat(client: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a chat call; it must be 200."""
    reply = await client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


async def events(reply: httpx.Response) -> AsyncIterator[Any]:
    """Each SSE event's data, parsed; `DONE` as it is. Every event is one `data:` line and a blank one."""
    is_open = False
    async for line in reply.aiter_lines():
        if line.startswith("data: "):
            assert not is_open, "an event without its blank line"
            is_open = True
            data = line.removeprefix("data: ")
            yield DONE if data == DONE else json.loads(data)
        elif line:
            assert line.startswith(":"), line
        else:
            is_open = False
    assert not is_open, "the last event has no blank line"


async def stream(client: httpx.AsyncClient, body: dict[str, Any], path: str = "/v1/chat/completions") -> list[Any]:
    """All events of a streamed answer."""
    async with client.stream("POST", path, json={**body, "stream": True}) as reply:
        assert reply.status_code == 200, await reply.aread()
        return [event async for event in events(reply)]


def text_of(chunks: list[Any]) -> str:
    """What a streamed answer says."""
    choices = [choice for chunk in chunks if chunk != DONE for choice in chunk["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def error_of(reply: httpx.Response) -> dict[str, Any]:
    """The error of a refusal, in the one shape that all have."""
    assert reply.headers["content-type"].startswith("application/json")
    assert reply.headers["x-request-id"]
    body = reply.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"type", "message", "code", "param"}
    return error


async def until(happens: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    """Waits for something that another process does."""
    deadline = time.monotonic() + seconds
    while not await happens():
        assert time.monotonic() < deadline, f"did not happen within {seconds} s"
        await asyncio.sleep(0.05)
