"""What is refused, by the gateway or by Ollama, and how that is said."""

from typing import Any

import httpx
import pytest
from tests.ollama.talk import WEATHER_TOOL, ask, error_of

CHAT = "/v1/chat/completions"


async def test_a_model_outside_the_config_is_not_found(client: httpx.AsyncClient) -> None:
    reply = await client.post(CHAT, json=ask("tiny:latest"))
    assert reply.status_code == 404
    error = error_of(reply)
    assert (error["type"], error["code"], error["param"]) == ("invalid_request", "model_not_found", "model")


@pytest.mark.parametrize("streams", [False, True])
async def test_a_model_that_no_endpoint_holds_is_missing_and_a_retry_useless(
    client: httpx.AsyncClient, streams: bool
) -> None:
    reply = await client.post(CHAT, json=ask("ghost", stream=streams))
    assert reply.status_code == 503
    error = error_of(reply)
    assert (error["type"], error["code"]) == ("backend_unavailable", "model_missing")
    assert reply.headers["x-should-retry"] == "false"


async def test_ollamas_own_words_explain_why_tools_are_refused(client: httpx.AsyncClient) -> None:
    reply = await client.post(CHAT, json=ask("without-tools", tools=[WEATHER_TOOL]))
    assert reply.status_code == 400
    error = error_of(reply)
    assert error["type"] == "invalid_request"
    assert "does not support tools" in error["message"]


async def test_an_embedding_model_does_not_chat(client: httpx.AsyncClient) -> None:
    reply = await client.post(CHAT, json=ask("embeddings"))
    assert reply.status_code == 400
    assert "does not support chat" in error_of(reply)["message"]


async def test_a_request_that_ollama_refuses_hurts_nobody_else(client: httpx.AsyncClient) -> None:
    for _ in range(20):
        assert (await client.post(CHAT, json=ask("embeddings"))).status_code == 400
    states = [endpoint["state"] for endpoint in (await client.get("/v1/health")).json()["endpoints"]]
    assert states == ["up", "up"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (ask("chat", n=2), "n"),
        ({"model": "chat", "messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "hello"}]}, "model"),
    ],
)
async def test_a_bad_field_is_named(client: httpx.AsyncClient, body: dict[str, Any], param: str) -> None:
    reply = await client.post(CHAT, json=body)
    assert reply.status_code == 400
    assert error_of(reply)["param"] == param


async def test_an_image_that_would_have_to_be_fetched_is_refused(client: httpx.AsyncClient) -> None:
    image = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/cat.png"}}
    body = {"model": "chat", "messages": [{"role": "user", "content": [image]}]}
    reply = await client.post(CHAT, json=body)
    assert reply.status_code == 400
    assert "data:" in error_of(reply)["message"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/responses", 400), ("/v1/messages", 400), ("/api/tags", 404), ("/v1/audio/transcriptions", 404)],
)
async def test_ollamas_other_paths_are_not_served(client: httpx.AsyncClient, path: str, status: int) -> None:
    reply = await client.post(path, json=ask("chat"))
    assert reply.status_code == status
    assert "/v1/chat/completions" in error_of(reply)["message"]
