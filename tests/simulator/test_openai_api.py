"""The OpenAI side on a real socket, byte for byte where the gateway reads bytes."""

import base64
import json
import re
import struct

import openai
import pytest
from tests.simulator.conftest import FAST, HELLO, ask, chat

from ai_gateway.simulator import Settings, Simulator
from ai_gateway.simulator.endpoint import Endpoint

_HEAD = (
    rb'data: {"id":"chatcmpl-N","object":"chat.completion.chunk","created":T,"model":"llama3",'
    rb'"system_fingerprint":"fp_ollama","choices":['
)
_USAGE = b'],"usage":{"prompt_tokens":4,"completion_tokens":2,"total_tokens":6}}\n\ndata: [DONE]\n\n'


def plain(body: bytes) -> bytes:
    """Without what differs from call to call."""
    return re.sub(rb'"created":\d+', b'"created":T', re.sub(rb"cmpl-\d{1,3}", b"cmpl-N", body))


def test_settings_decide_the_version() -> None:
    assert Settings().reported_version == "0.33.0"
    assert Settings(dialect="old").reported_version == "0.24.0"


async def test_a_new_chat_stream_has_the_exact_bytes(endpoint: Endpoint) -> None:
    reply = await chat(endpoint, stream=True, max_tokens=2, stream_options={"include_usage": True})
    assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")
    assert plain(reply.body) == b"".join(
        (
            _HEAD + b'{"index":0,"delta":{"role":"assistant","content":"I"},"finish_reason":null}]}\n\n',
            _HEAD + b'{"index":0,"delta":{"content":" am"},"finish_reason":null}]}\n\n',
            _HEAD + b'{"index":0,"delta":{},"finish_reason":"length"}]}\n\n',
            _HEAD + _USAGE,
        )
    )


async def test_an_old_chat_stream_has_the_exact_bytes() -> None:
    settings = Settings(models=("llama3",), dialect="old", load_seconds=0, tokens_per_second=0)
    async with Simulator(settings) as simulator:
        reply = await chat(simulator.endpoints[0], stream=True, max_tokens=2, stream_options={"include_usage": True})
    assert plain(reply.body) == b"".join(
        (
            _HEAD + b'{"index":0,"delta":{"role":"assistant","content":"I"},"finish_reason":null}]}\n\n',
            _HEAD + b'{"index":0,"delta":{"role":"assistant","content":" am"},"finish_reason":null}]}\n\n',
            _HEAD + b'{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"length"}]}\n\n',
            _HEAD + _USAGE,
        )
    )


async def test_a_whole_chat_answer_has_the_exact_bytes(endpoint: Endpoint) -> None:
    reply = await chat(endpoint, max_tokens=2)
    assert plain(reply.body) == (
        b'{"id":"chatcmpl-N","object":"chat.completion","created":T,"model":"llama3","system_fingerprint":"fp_ollama",'
        b'"choices":[{"index":0,"message":{"role":"assistant","content":"I am"},"finish_reason":"length"}],'
        b'"usage":{"prompt_tokens":4,"completion_tokens":2,"total_tokens":6}}\n'
    )


async def test_the_model_is_echoed_as_it_was_written(endpoint: Endpoint) -> None:
    assert (await chat(endpoint, model="LLama3:latest")).json["model"] == "LLama3:latest"


async def test_max_completion_tokens_and_n_are_ignored(endpoint: Endpoint) -> None:
    answer = (await chat(endpoint, max_completion_tokens=1, n=3)).json
    assert len(answer["choices"]) == 1
    assert answer["usage"]["completion_tokens"] > 1


async def test_tool_calls_come_whole_in_one_chunk_before_the_finish(endpoint: Endpoint) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]
    events = (await chat(endpoint, "get_weather in Paris", tools=tools, stream=True)).events
    delta, finish = (event["choices"][0] for event in events[:2])
    (call,) = delta["delta"]["tool_calls"]
    assert list(call) == ["id", "index", "type", "function"]
    assert call["function"] == {"name": "get_weather", "arguments": '{"city":"text"}'}
    assert (finish["delta"], finish["finish_reason"]) == ({}, "tool_calls")
    whole = (await chat(endpoint, "get_weather in Paris", tools=tools)).json["choices"][0]
    assert (whole["message"]["content"], whole["finish_reason"]) == ("", "tool_calls")


async def test_a_thinking_model_reasons_before_it_answers(endpoint: Endpoint) -> None:
    events = (await chat(endpoint, model="qwen3:8b", stream=True, reasoning_effort="low")).events
    deltas = [event["choices"][0]["delta"] for event in events[:-2]]
    kinds = ["reasoning" in delta for delta in deltas]
    assert kinds[0]
    assert not kinds[-1]
    assert kinds == sorted(kinds, reverse=True)
    refusal = await chat(endpoint, reasoning_effort="low")
    assert (refusal.status, refusal.json["error"]["message"]) == (400, '"llama3" does not support thinking')


async def test_json_is_answered_if_json_is_requested(endpoint: Endpoint) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    content = (await chat(endpoint, response_format=shape)).json["choices"][0]["message"]["content"]
    assert json.loads(content) == {"name": "text"}


async def test_logprobs_come_with_each_token_when_asked_for(endpoint: Endpoint) -> None:
    choice = (await chat(endpoint, max_tokens=2, logprobs=True, top_logprobs=2)).json["choices"][0]
    first, second = choice["logprobs"]["content"]
    assert (first["token"], first["bytes"], len(second["top_logprobs"])) == ("I", [73], 2)
    events = (await chat(endpoint, max_tokens=1, logprobs=True, stream=True)).events
    assert list(events[0]["choices"][0]) == ["index", "delta", "finish_reason", "logprobs"]
    assert "top_logprobs" not in events[0]["choices"][0]["logprobs"]["content"][0]


async def test_completions_carry_zero_usage_until_the_last_chunk(endpoint: Endpoint) -> None:
    body = {
        "model": "llama3",
        "prompt": "hi",
        "max_tokens": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    events = (await ask(endpoint, "POST", "/v1/completions", body)).events
    assert [event["usage"]["total_tokens"] for event in events[:-1]] == [0, 0, 5]
    assert (events[-2]["choices"], events[-1], events[0]["object"]) == ([], "[DONE]", "text_completion")
    body = {"model": "llama3", "prompt": ["a", "b"]}
    assert (await ask(endpoint, "POST", "/v1/completions", body)).status == 400


async def test_an_empty_completion_loads(endpoint: Endpoint) -> None:
    reply = await ask(endpoint, "POST", "/v1/completions", {"model": "llama3", "prompt": ""})
    assert reply.json["choices"][0]["finish_reason"] == "load"


async def test_embeddings_are_the_same_in_both_encodings(endpoint: Endpoint) -> None:
    body = {"model": "nomic-embed-text", "input": ["a", "b"], "dimensions": 4}
    floats = (await ask(endpoint, "POST", "/v1/embeddings", body)).json
    packed = (await ask(endpoint, "POST", "/v1/embeddings", body | {"encoding_format": "base64"})).json
    unpacked = [struct.unpack("<4f", base64.b64decode(row["embedding"])) for row in packed["data"]]
    assert [pytest.approx(row["embedding"]) for row in floats["data"]] == unpacked
    assert [row["index"] for row in floats["data"]] == [0, 1]
    assert list(floats) == ["object", "data", "model", "usage"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"input": [1, 2]}, 400, "invalid input type"),
        ({"input": [[1]]}, 400, "invalid input type"),
        ({"input": []}, 400, "invalid input"),
        ({}, 400, "invalid input"),
        ({"input": "a", "model": "nope"}, 404, 'model "nope" not found, try pulling it first'),
        (
            {"input": "a", "model": "llama3"},
            501,
            "This server does not support embeddings. Start it with `--embeddings`",
        ),
        ({"input": "a", "encoding_format": "x"}, 400, None),
    ],
)
async def test_embeddings_that_ollama_refuses(
    endpoint: Endpoint, body: dict[str, object], status: int, message: str | None
) -> None:
    reply = await ask(endpoint, "POST", "/v1/embeddings", {"model": "nomic-embed-text"} | body)
    assert reply.status == status
    assert message in (None, reply.json["error"]["message"])


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"model": "nope"}, 404, "model 'nope' not found"),
        ({"model": ""}, 400, "model is required"),
        ({"model": "a b"}, 400, "invalid model name"),
        ({"model": "nomic-embed-text"}, 400, '"nomic-embed-text" does not support chat'),
        ({"messages": []}, 400, "[] is too short - 'messages'"),
        ({"messages": [{"role": "user", "content": None}]}, 400, "invalid message content type: <nil>"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, 400, "invalid message format"),
        (
            {"max_tokens": 10.0},
            400,
            "json: cannot unmarshal number 10.0 into Go struct field ChatCompletionRequest.max_tokens of type int",
        ),
        ({"reasoning_effort": "wild"}, 400, None),
        ({"messages": [{"role": "user", "content": "long " * 9000}]}, 400, None),
        ({"top_logprobs": 21}, 400, "top_logprobs must be between 0 and 20"),
    ],
)
async def test_chats_that_ollama_refuses(
    endpoint: Endpoint, changes: dict[str, object], status: int, message: str | None
) -> None:
    reply = await ask(endpoint, "POST", "/v1/chat/completions", {"model": "llama3", "messages": HELLO} | changes)
    error = reply.json["error"]
    types = {400: "invalid_request_error", 404: "not_found_error"}
    assert (reply.status, error["type"], error["param"], error["code"]) == (status, types[status], None, None)
    assert message in (None, error["message"])


async def test_a_cloud_model_is_refused_in_the_native_shape(endpoint: Endpoint) -> None:
    reply = await chat(endpoint, model="gpt-oss:120b-cloud")
    assert (reply.status, reply.json) == (403, {"error": "ollama cloud is disabled: remote model is unavailable"})


async def test_a_model_without_tools_refuses_them() -> None:
    settings = Settings(models=("plain",), capabilities={"plain": ("completion",)})
    async with Simulator(settings) as simulator:
        tools = [{"type": "function", "function": {"name": "f"}}]
        reply = await chat(simulator.endpoints[0], model="plain", tools=tools)
    assert reply.json["error"]["message"] == "registry.ollama.ai/library/plain:latest does not support tools"


async def test_models_are_listed_and_null_if_there_are_none(endpoint: Endpoint) -> None:
    listed = (await ask(endpoint, "GET", "/v1/models")).json
    assert list(listed["data"][0]) == ["id", "object", "created", "owned_by"]
    assert listed["data"][0]["id"] == "llama3:latest"
    assert (await ask(endpoint, "GET", "/v1/models/llama3")).json["id"] == "llama3"
    assert (await ask(endpoint, "GET", "/v1/models/me%2Fllama3")).status == 404
    async with Simulator(Settings(models=())) as simulator:
        assert (await ask(simulator.endpoints[0], "GET", "/v1/models")).json == {"object": "list", "data": None}


async def test_openais_own_client_reads_all_of_it() -> None:
    async with (
        Simulator(FAST) as simulator,
        openai.AsyncOpenAI(base_url=f"{simulator.urls[0]}/v1", api_key="x", max_retries=0) as client,
    ):
        stream = await client.chat.completions.create(
            model="llama3", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        assert text.startswith("I am a simulated llama3:latest.")
        vectors = await client.embeddings.create(model="nomic-embed-text", input="hi")
        assert len(vectors.data[0].embedding) == 384
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="nope", messages=[{"role": "user", "content": "hi"}])
