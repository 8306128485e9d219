"""Conversations and parameters as client libraries send them: a real Ollama answers what the gateway made of them."""

import json
from typing import Any

import httpx
import pytest
from tests.ollama.fleet import Fleet
from tests.ollama.simulated import Simulated
from tests.ollama.talk import WEATHER_TOOL, ask, error_of, json_schema

CHAT = "/v1/chat/completions"
USER = {"role": "user", "content": "hello"}


def call(**function: Any) -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}", **function}}


def assistant(**said: Any) -> dict[str, Any]:
    return {"role": "assistant", **said}


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(assistant(content=None), id="null"),
        pytest.param(assistant(), id="no content"),
        pytest.param(assistant(content=None, tool_calls=[]), id="an empty list of calls"),
        pytest.param(assistant(content=[], tool_calls=[call()]), id="an empty list of parts"),
        pytest.param(assistant(content=None, tool_calls=[call(arguments="")]), id="empty arguments"),
        pytest.param(assistant(content=None, tool_calls=[call(arguments={"city": "Bern"})]), id="an object"),
        pytest.param(assistant(content=None, tool_calls=[call(arguments='{"a":"\\ud83d"}')]), id="half an emoji"),
        pytest.param(assistant(content=None, function_call={"name": "f", "arguments": ""}), id="function_call"),
        pytest.param(assistant(content=None, refusal="no"), id="a refusal"),
        pytest.param({"role": "function", "name": "f", "content": "x"}, id="function"),
        pytest.param({"role": "tool", "tool_call_id": "c1", "content": None}, id="no answer"),
        pytest.param({"role": "tool", "content": [{"type": "text", "text": "x"}]}, id="parts of an answer"),
    ],
)
async def test_a_history_is_understood(client: httpx.AsyncClient, message: dict[str, Any]) -> None:
    """Most of them Ollama itself refuses."""
    reply = await client.post(CHAT, json={"model": "chat", "messages": [USER, message, USER], "max_tokens": 2})
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize(
    "more",
    [
        {"max_tokens": 3.0, "seed": 1.0},
        {"max_tokens": 3, "stop": [""]},
        {"max_tokens": 3, "reasoning_effort": "none"},
        {"max_tokens": 3, "tools": [WEATHER_TOOL], "tool_choice": "required"},
        {"max_tokens": 3, "logit_bias": {"1": 1}, "store": True},
        {"max_tokens": 3, "user": "a\ud83d"},
    ],
)
async def test_parameters_are_understood(client: httpx.AsyncClient, more: dict[str, Any]) -> None:
    """Ollama reads no 3.0, and would answer nothing where an empty text stops it."""
    body = json.dumps(ask("chat", temperature=0, **more))  # httpx writes no half of a pair
    reply = await client.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 200, reply.text
    assert reply.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": []}}}]}, "tools[0]"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"temperature": 1e300}, "temperature"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
    ],
)
async def test_what_cannot_be_done_is_named(client: httpx.AsyncClient, more: dict[str, Any], param: str) -> None:
    """Whoever refuses it."""
    reply = await client.post(CHAT, json=ask("chat", **more))
    assert reply.status_code == 400, reply.text
    assert str(error_of(reply)["param"]).startswith(param)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"response_format": json_schema({"$ref": "http://x/y"})}, "response_format.json_schema.schema"),
        ({"tools": [{"function": {"name": "f", "parameters": {"properties": {"a": True}}}}]}, "tools.function"),
    ],
)
async def test_what_only_a_real_ollama_refuses_is_named(
    client: httpx.AsyncClient, fleet: Fleet, more: dict[str, Any], param: str
) -> None:
    """In Go's words, or with a 500; a simulated one has no grammar and no Go."""
    reply = await client.post(CHAT, json=ask("chat", max_tokens=3, **more))
    if isinstance(fleet.endpoints[0], Simulated):
        assert reply.status_code == 200, reply.text
        return
    assert reply.status_code == 400, reply.text
    assert str(error_of(reply)["param"]).startswith(param)
