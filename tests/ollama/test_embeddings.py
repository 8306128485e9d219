"""Vectors."""

import base64
import math
import struct
from typing import Any

import httpx
import pytest
from tests.ollama.talk import error_of

TEXTS = ["hello world", "the river", "bread and water in the morning"]


async def embed(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    reply = await client.post("/v1/embeddings", json={"model": "embeddings", **body})
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


async def vectors(client: httpx.AsyncClient, texts: list[str]) -> list[list[float]]:
    return [item["embedding"] for item in (await embed(client, input=texts))["data"]]


async def test_an_answer_has_openais_shape(client: httpx.AsyncClient) -> None:
    answer = await embed(client, input="hello world")
    assert answer["object"] == "list"
    assert answer["model"] == "embeddings"
    assert [(item["object"], item["index"]) for item in answer["data"]] == [("embedding", 0)]
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] > 0


async def test_base64_holds_the_same_numbers(client: httpx.AsyncClient) -> None:
    packed = await embed(client, input=TEXTS, encoding_format="base64")
    for item, numbers in zip(packed["data"], await vectors(client, TEXTS), strict=True):
        content = base64.b64decode(item["embedding"])
        assert list(struct.unpack(f"<{len(numbers)}f", content)) == pytest.approx(numbers, rel=1e-5)


async def test_order_is_kept(client: httpx.AsyncClient) -> None:
    alone = [(await vectors(client, [text]))[0] for text in TEXTS]
    together = await embed(client, input=TEXTS)
    assert [item["index"] for item in together["data"]] == [0, 1, 2]
    for item, vector in zip(together["data"], alone, strict=True):
        assert item["embedding"] == pytest.approx(vector, abs=1e-4)


async def test_dimensions_shorten_a_vector_to_length_one(client: httpx.AsyncClient) -> None:
    (item,) = (await embed(client, input="hello", dimensions=8))["data"]
    assert len(item["embedding"]) == 8
    assert math.hypot(*item["embedding"]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]]])
async def test_token_ids_are_refused_with_the_setting_to_change(client: httpx.AsyncClient, tokens: list[Any]) -> None:
    reply = await client.post("/v1/embeddings", json={"model": "embeddings", "input": tokens})
    assert reply.status_code == 400
    error = error_of(reply)
    assert error["param"] == "input"
    assert "check_embedding_ctx_length" in error["message"]
