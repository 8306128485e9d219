"""`langchain-openai`, which writes some fields in its own way."""

import json

import openai
import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import SecretStr
from tests.ollama.gateway import Gateway

KEY = SecretStr("unused")


def chat_model(gateway: Gateway, model: str = "chat") -> ChatOpenAI:
    """LangChain sends `max_tokens` as `max_completion_tokens`, always."""
    return ChatOpenAI(
        model=model, base_url=f"{gateway.url}/v1", api_key=KEY, max_completion_tokens=6, temperature=0, max_retries=0
    )


def test_invoke_answers_and_keeps_the_token_limit(gateway: Gateway) -> None:
    answer = chat_model(gateway).invoke([SystemMessage("answer in words"), HumanMessage("hello world")])
    assert answer.content
    assert answer.response_metadata["finish_reason"] == "length"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == 6


async def test_ainvoke_answers(gateway: Gateway) -> None:
    assert (await chat_model(gateway).ainvoke("hello world")).content


def test_stream_gives_pieces_of_one_answer(gateway: Gateway) -> None:
    pieces = list(chat_model(gateway).stream("hello world"))
    assert len(pieces) > 2
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    assert isinstance(whole, AIMessageChunk)
    assert whole.response_metadata["finish_reason"] == "length"
    assert whole.content == chat_model(gateway).invoke("hello world").content


def test_stream_counts_tokens_when_told_to(gateway: Gateway) -> None:
    pieces = list(chat_model(gateway).stream("hello world", stream_usage=True))
    counts = [piece.usage_metadata["output_tokens"] for piece in pieces if piece.usage_metadata]
    assert counts == [6]


def test_an_unknown_model_is_a_not_found_error(gateway: Gateway) -> None:
    with pytest.raises(openai.NotFoundError):
        chat_model(gateway, "nobody").invoke("hello")


def test_structured_output_is_parsed(gateway: Gateway) -> None:
    schema = {
        "title": "colour",
        "type": "object",
        "properties": {"name": {"type": "string", "enum": ["red", "blue"]}},
        "required": ["name"],
    }
    model = ChatOpenAI(model="chat", base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0)
    answer = model.with_structured_output(schema, method="json_schema").invoke("hello")
    assert json.loads(json.dumps(answer))["name"] in ("red", "blue")


def test_embeddings_of_texts(gateway: Gateway) -> None:
    """With the default of `check_embedding_ctx_length` it would send token ids, which Ollama cannot read."""
    model = OpenAIEmbeddings(
        model="embeddings", base_url=f"{gateway.url}/v1", api_key=KEY, check_embedding_ctx_length=False, max_retries=0
    )
    documents = model.embed_documents(["hello world", "the river"])
    assert len(documents) == 2
    assert documents[1] == pytest.approx(model.embed_query("the river"), abs=1e-4)
