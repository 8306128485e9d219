"""The tokens of a stream so far: counted by events with content, never by bytes of log probabilities."""

import json
from typing import Any

import pytest
from tests.wire.recordings import OURS, recorded, relayed

from ai_gateway.wire.answer import LONG_EVENT_BYTES, Shape
from ai_gateway.wire.stream import EventStream

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1787000000, "model": "tiny"}
LOGPROBS = {"content": [{"token": "x", "logprob": -1.5, "bytes": [120], "top_logprobs": [{"token": "y"}] * 20}]}


def chunk(delta: Any, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, **more}
    content = HEAD | {"system_fingerprint": "fp_ollama", "choices": [choice]}
    return b"data: " + json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def counted(*chunks: bytes, shape: Shape = OURS) -> int:
    """Of the whole stream, and the same where each event comes twice: the first time its head is new."""
    stream = EventStream(shape)
    for one in chunks:
        stream.feed(one)
    twice = EventStream(shape)
    for one in (*chunks, *chunks):
        twice.feed(one)
    assert twice.written == 2 * stream.written
    return stream.written


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("chat-stream-usage", 4),
        ("chat-stream-logprobs", 4),
        ("chat-stream-server-killed", 2),
        ("completions-stream-plain", 4),
        ("completions-stream-usage", 4),
        ("completions-stream-runner-killed", 2),
    ],
)
def test_what_ollama_sent_is_counted_as_it_counted(name: str, tokens: int) -> None:
    _, stream = relayed([recorded(name)], OURS)
    assert stream.written == tokens
    if stream.usage is not None:
        assert stream.usage.output_tokens == tokens


@pytest.mark.parametrize(
    ("delta", "tokens"),
    [
        ({"content": "Hi"}, 1),
        ({"role": "assistant", "content": 'say "'}, 1),
        ({"role": "assistant", "content": "", "reasoning": "so"}, 1),
        ({"content": "Gr\u00fcezi"}, 1),
        ({"content": '"content":"","tool_calls":[{'}, 1),
        ({"role": "assistant"}, 0),
        ({"role": "assistant", "content": ""}, 0),
        ({"content": ""}, 0),
        ({}, 0),
    ],
)
def test_an_event_with_content_is_one_token(delta: Any, tokens: int) -> None:
    assert counted(chunk(delta)) == tokens
    assert counted(chunk(delta), shape=Shape("x", "y", reasoning_content=True)) == tokens
    assert counted(chunk(delta, "stop")) == tokens


def test_log_probabilities_do_not_count_as_tokens() -> None:
    """Also with twenty alternatives for each token."""
    one = chunk({"content": "x"}, logprobs=LOGPROBS)
    assert len(one) > LONG_EVENT_BYTES
    assert counted(*[one] * 30) == 30


def test_the_tokens_of_a_tool_call_are_estimated_from_its_bytes() -> None:
    """It comes whole, and was written token by token in silence."""
    call = {"id": "call_1", "index": 0, "type": "function", "function": {"name": "f", "arguments": "x" * 800}}
    _, stream = relayed([recorded("chat-stream-tools")], OURS)
    assert 25 <= stream.written <= 60  # Ollama counted 55
    assert 200 <= counted(chunk({"role": "assistant", "content": "", "tool_calls": [call]})) <= 260


def test_many_tokens_in_one_event_are_estimated_from_its_bytes() -> None:
    assert 180 <= counted(chunk({"content": "word " * 200})) <= 260
