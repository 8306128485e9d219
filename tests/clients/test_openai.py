"""The `openai` package, synchronous, as an application uses it."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam
from tests.ollama.fleet import Fleet
from tests.ollama.gateway import Gateway
from tests.ollama.talk import CALLS_WEATHER, WEATHER_TOOL

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello world"}]


def make_client(gateway: Gateway, **more: Any) -> OpenAI:
    return OpenAI(base_url=f"{gateway.url}/v1", api_key="unused", timeout=60, **{"max_retries": 0, **more})


class Counting:
    """Requests sent, as an event hook of the client's HTTP library sees them."""

    def __init__(self) -> None:
        self.sent = 0
        self.first = threading.Event()
        self.http_client = openai.DefaultHttpxClient(event_hooks={"request": [self._count]}, trust_env=False)

    def _count(self, _request: object) -> None:
        self.sent += 1
        self.first.set()


@pytest.fixture
def client(gateway: Gateway) -> Iterator[OpenAI]:
    with make_client(gateway) as client:
        yield client


def test_a_chat_is_answered(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="chat", messages=HELLO, max_tokens=5, temperature=0)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    assert answer._request_id


def test_a_stream_arrives_in_pieces(client: OpenAI) -> None:
    with client.chat.completions.create(
        model="chat",
        messages=HELLO,
        max_tokens=8,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    ) as chunks:
        *pieces, last = chunks
    assert len(pieces) > 2
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert last.usage is not None
    assert last.usage.completion_tokens == 8


def test_the_stream_helper_puts_the_answer_together(client: OpenAI) -> None:
    with client.chat.completions.stream(model="chat", messages=HELLO, seed=3) as stream:
        answer = stream.get_final_completion()
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content


def test_the_stream_helper_learns_that_an_answer_was_cut_short(client: OpenAI) -> None:
    with (
        client.chat.completions.stream(model="chat", messages=HELLO, max_tokens=3, temperature=0) as stream,
        pytest.raises(openai.LengthFinishReasonError),
    ):
        stream.get_final_completion()


def test_a_tool_call_is_understood(client: OpenAI) -> None:
    call: Any = {"tools": [WEATHER_TOOL]}
    shape: Any = {"type": "json_schema", "json_schema": {"name": "call", "schema": CALLS_WEATHER}}
    answer = client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "call get_weather"}], response_format=shape, **call
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    (made,) = answer.choices[0].message.tool_calls or []
    assert made.type == "function"
    assert "city" in json.loads(made.function.arguments)


def test_embeddings_come_with_the_default_encoding(client: OpenAI) -> None:
    """The library asks for base64 unless told otherwise, and unpacks it."""
    texts = ["hello world", "the river"]
    packed = client.embeddings.create(model="embeddings", input=texts)
    plain = client.embeddings.create(model="embeddings", input=texts, encoding_format="float")
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.index == other.index
        assert one.embedding == pytest.approx(other.embedding, rel=1e-5)


def test_models_are_listed_and_retrieved(client: OpenAI) -> None:
    assert {"chat", "assistant"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("assistant").id == "assistant"


def test_an_unknown_model_is_a_not_found_error(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="nobody", messages=HELLO)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert caught.value.request_id


def test_a_request_that_ollama_refuses_is_a_bad_request_error(client: OpenAI) -> None:
    tools: Any = [WEATHER_TOOL]
    with pytest.raises(openai.BadRequestError, match="does not support tools"):
        client.chat.completions.create(model="without-tools", messages=HELLO, tools=tools)


def test_token_ids_are_a_bad_request_error_that_names_the_setting(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length"):
        client.embeddings.create(model="embeddings", input=[[1, 2, 3]])


def test_a_missing_model_is_not_tried_again(gateway: Gateway) -> None:
    counting = Counting()
    with (
        make_client(gateway, max_retries=5, http_client=counting.http_client) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.chat.completions.create(model="ghost", messages=HELLO)
    assert caught.value.status_code == 503
    assert caught.value.code == "model_missing"
    assert counting.sent == 1


def test_a_retry_waits_as_long_as_it_was_told_and_then_succeeds(fragile_gateway: Gateway, fragile_fleet: Fleet) -> None:
    for endpoint in fragile_fleet.endpoints:
        endpoint.kill()
    refusal = _until_nobody_is_up(fragile_gateway)
    counting = Counting()
    began = time.monotonic()
    with (
        make_client(fragile_gateway, max_retries=40, http_client=counting.http_client) as client,
        ThreadPoolExecutor(1) as threads,
    ):
        call = threads.submit(client.chat.completions.create, model="chat", messages=HELLO, max_tokens=1)
        counting.first.wait(60)
        fragile_fleet.mend()
        assert call.result().choices
    assert counting.sent > 1
    assert time.monotonic() - began >= int(refusal.headers["retry-after-ms"]) / 1000


def test_a_stream_that_breaks_raises(fragile_gateway: Gateway, fragile_fleet: Fleet) -> None:
    with make_client(fragile_gateway) as client:
        chunks = client.chat.completions.create(model="slow", messages=HELLO, stream=True)
        assert next(chunks).choices
        for endpoint in fragile_fleet.endpoints:
            endpoint.kill()
        with pytest.raises(openai.APIError) as caught:
            list(chunks)
    assert caught.value.code == "upstream_disconnected"


def _until_nobody_is_up(gateway: Gateway) -> httpx.Response:
    """Waits until the gateway knows it; returns its refusal."""
    body = {"model": "chat", "messages": HELLO, "max_tokens": 1}
    deadline = time.monotonic() + 60
    with httpx.Client(base_url=gateway.url, trust_env=False, timeout=30) as client:
        while time.monotonic() < deadline:
            reply = client.post("/v1/chat/completions", json=body)
            if reply.status_code == 503 and reply.json()["error"]["code"] == "no_endpoint":
                return reply
    raise AssertionError(f"somebody still answers: {reply.text}")
