"""What clients of OpenAI read of an answer: its nulls, the words of an overflow, and what is not served."""

import json
from typing import Any

import openai
import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from pydantic import SecretStr
from tests.attack.table import Tried
from tests.flow.upstream import DONE, END, SSE_HEAD, Visit, event, framed, whole
from tests.flow.world import CHAT, Served, World, chat

CALLS = [{"id": "c", "index": 0, "type": "function", "function": {"name": "f", "arguments": "{}"}}]
NOTHING_USED = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
OVERFLOWS = [
    "the input length exceeds the context length",
    "the prompt is longer than the context length currently available",
    "prompt too long; exceeded max context length by 20 tokens",
    "request (6001 tokens) exceeds the available context size (512 tokens), try increasing it",
    '{"error":{"message":"x","type":"exceed_context_size_error","n_prompt_tokens":6001,"n_ctx":512}}',
]


def client(served: Served) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"http://127.0.0.1:{served.port}/v1", api_key="unused", max_retries=0)


def langchain(openai_client: AsyncOpenAI) -> ChatOpenAI:
    """LangChain's model over the connections of a client that the test closes."""
    return ChatOpenAI(
        model="llama3",
        base_url=str(openai_client.base_url),
        api_key=SecretStr("unused"),
        max_retries=0,
        http_async_client=openai_client._client,
    )


@pytest.mark.attack("clients", "a message that only calls tools has null for a content, whole and as a stream")
async def test_tool_calls_stand_beside_null(world: World) -> None:
    async def act(visit: Visit) -> None:
        if visit.fields.get("stream"):
            delta = {"role": "assistant", "content": "", "tool_calls": CALLS}
            choice = {"index": 0, "delta": delta, "finish_reason": None}
            pieces = [event("a"), event("", choices=[choice]), event("", "tool_calls"), DONE]
            await visit.say(SSE_HEAD, *map(framed, pieces), END)
            return
        message = {"role": "assistant", "content": "", "tool_calls": CALLS}
        choices = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
        await visit.say(whole(json.dumps({"id": "x", "model": "llama3:latest", "choices": choices}).encode()))

    served = await world.gateway([(await world.upstream(act)).url])
    assert (await served.chat()).json["choices"][0]["message"]["content"] is None
    events = [json.loads(text[6:]) for text in (await served.chat(stream=True)).events[:-1]]
    assert [one["choices"][0]["delta"]["content"] for one in events] == ["a", None, ""]


@pytest.mark.attack("clients", "a text completion's stream has null for a usage until its last chunk")
@pytest.mark.parametrize("asks", [True, False])
async def test_no_chunk_has_used_nothing(world: World, asks: bool) -> None:
    served = await world.gateway((await world.simulator()).urls)
    body = {
        "model": "llama3",
        "prompt": "x",
        "max_tokens": 5,
        "stream": True,
        "stream_options": {"include_usage": asks},
    }
    reply = await served.ask("POST", "/v1/completions", json.dumps(body).encode())
    events = [json.loads(text[6:]) for text in reply.events[:-1]]
    assert len(events) > 4
    *chunks, last = events
    if asks:
        assert all(one["usage"] is None and one["choices"] for one in chunks)
        assert last["choices"] == []
        assert last["usage"]["completion_tokens"] == 5
    else:
        assert not any("usage" in one for one in events)


@pytest.mark.attack(
    "clients", "a context overflow in each of Ollama's wordings is known as one by OpenAI's and LangChain's"
)
@pytest.mark.parametrize("status", ["400 Bad Request", "500 Internal Server Error"])
async def test_an_overflow_is_known_as_one(world: World, tried: Tried, status: str) -> None:
    said = ""

    async def act(visit: Visit) -> None:
        error = {"message": said, "type": "invalid_request_error", "param": None, "code": None}
        await visit.say(whole(json.dumps({"error": error}).encode(), status))

    served = await world.gateway([(await world.upstream(act)).url])
    tried.times = 3 * len(OVERFLOWS)
    for wording in OVERFLOWS:
        said = wording
        reply = await served.chat()
        assert reply.status == 400
        assert (reply.error["code"], reply.error["param"]) == ("context_length_exceeded", "messages")
        assert "This model's maximum context length is" in reply.error["message"]
        async with client(served) as one:
            with pytest.raises(openai.BadRequestError) as caught:
                await one.chat.completions.create(
                    model="llama3", messages=[{"role": "user", "content": "x"}], stream=True
                )
            assert caught.value.code == "context_length_exceeded"
            with pytest.raises(ContextOverflowError):
                await langchain(one).ainvoke("hello")


@pytest.mark.attack("clients", "a JSON Schema that makes no grammar is the request's error, on no second endpoint")
async def test_a_bad_schema_is_tried_once(world: World) -> None:
    async def act(visit: Visit) -> None:
        error = {"message": "invalid JSON schema in format", "type": "api_error", "param": None, "code": None}
        await visit.say(whole(json.dumps({"error": error}).encode(), "500 Internal Server Error"))

    upstreams = [await world.upstream(act) for _ in range(2)]
    served = await world.gateway([one.url for one in upstreams])
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "http://x/y"}}}
    reply = await served.chat(response_format=shape)
    assert (reply.status, reply.error["param"]) == (400, "response_format.json_schema.schema")
    assert sum(len(one.visits) for one in upstreams) == 1


@pytest.mark.attack("clients", "an API that is not served does not make clients say that the model does not exist")
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages", "/v1/messages/count_tokens"])
async def test_what_is_not_served_is_said(world: World, path: str) -> None:
    served = await world.gateway((await world.simulator()).urls)
    reply = await served.ask("POST", path, chat())
    assert (reply.status, reply.error["code"]) == (400, "unsupported_route")
    if path == "/v1/responses":
        async with client(served) as one:
            with pytest.raises(openai.BadRequestError, match=r"is not served here.*/v1/chat/completions"):
                await one.responses.create(model="llama3", input="x")


@pytest.mark.attack("clients", "LangChain's structured output by a forced tool is never refused")
async def test_structured_output_by_a_tool_is_sent(world: World) -> None:
    async def act(visit: Visit) -> None:
        assert [tool["function"]["name"] for tool in visit.fields["tools"]] == ["colour"]
        assert "tool_choice" not in visit.fields
        made = [{"id": "c", "type": "function", "function": {"name": "colour", "arguments": '{"name":"red"}'}}]
        message = {"role": "assistant", "content": "", "tool_calls": made}
        choices = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
        content = {"id": "x", "object": "chat.completion", "created": 1, "model": "llama3:latest", "choices": choices}
        await visit.say(whole(json.dumps(content).encode()))

    served = await world.gateway([(await world.upstream(act)).url])
    schema: dict[str, Any] = {"title": "colour", "type": "object", "properties": {"name": {"type": "string"}}}
    async with client(served) as one:
        model = langchain(one)
        answer = await model.with_structured_output(schema, method="function_calling").ainvoke("hello")
    assert answer == {"name": "red"}
    assert CHAT in served.last.path
