"""Prompts and answers on spans, if turned on: in the conventions' shape, cut to a size."""

import json
from typing import Any

import pytest

from ai_gateway.telemetry.content import MAX_READ_BYTES, MAX_TEXT, KeptContent
from ai_gateway.wire.call import read_call
from ai_gateway.wire.operations import OPERATIONS


def kept(operation: str = "chat", **fields: Any) -> KeptContent:
    """What is kept of a call."""
    return KeptContent(read_call(OPERATIONS[operation], json.dumps({"model": "llama3", **fields}).encode()))


def asked(*messages: Any) -> Any:
    """The input messages of a chat."""
    text = kept(messages=list(messages)).asked()
    return None if text is None else json.loads(text)


def event(**delta: Any) -> bytes:
    """One event of a stream."""
    finish = delta.pop("finish", None)
    return (
        b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode() + b"\n\n"
    )


def test_messages_have_roles_and_parts() -> None:
    """Text, tool calls and their answers; an image is named and not kept."""
    call = {"id": "c1", "type": "function", "function": {"name": "time", "arguments": "{}"}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert asked(
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "noon"},
    ) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {
            "role": "user",
            "parts": [{"type": "text", "content": "What is it?"}, {"type": "blob", "modality": "image"}],
        },
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "time", "arguments": "{}"}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "noon"}]},
    ]


def test_a_text_completion_is_one_message() -> None:
    text = kept("completions", prompt="Once").asked()
    assert text is not None
    assert json.loads(text) == [{"role": "user", "parts": [{"type": "text", "content": "Once"}]}]


def test_what_is_embedded_is_not_kept() -> None:
    assert kept("embeddings", input="SECRET").asked() is None


def test_no_prompt_is_kept_beyond_the_size() -> None:
    """Neither in one message nor in many; a very long one is not read at all."""
    one = asked({"role": "user", "content": "x" * (MAX_TEXT + 5)})
    assert len(one[0]["parts"][0]["content"]) == MAX_TEXT + 1
    many = asked(*({"role": "user", "content": "y" * 1000} for _ in range(100)))
    assert sum(len(message["parts"][0]["content"]) for message in many) <= MAX_TEXT + 1
    assert asked({"role": "user", "content": "z" * MAX_READ_BYTES}) is None


def test_a_stream_is_kept_as_it_passes_and_passes_as_it_is() -> None:
    """Piece by piece, with its reasoning, its tool calls and its end."""
    content = kept(messages=[{"role": "user", "content": "hi"}])
    feed = content.wrap_feed(lambda data: data)
    tool = {"id": "c1", "function": {"name": "time", "arguments": "{}"}}
    events = [event(reasoning="hm"), event(content="It ") + event(content="is"), event(tool_calls=[tool])]
    events += [event(content="", finish="stop"), b"data: [DONE]\n\n"]
    assert [feed(data) for data in events] == events
    assert json.loads(content.answered() or "") == [
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "hm"},
                {"type": "text", "content": "It is"},
                {"type": "tool_call", "id": "c1", "name": "time", "arguments": "{}"},
            ],
            "finish_reason": "stop",
        }
    ]


def test_no_answer_is_kept_beyond_the_size() -> None:
    content = kept(messages=[{"role": "user", "content": "hi"}])
    feed = content.wrap_feed(lambda data: data)
    for _ in range(100):
        feed(event(content="x" * 1000))
    assert len(content.answered() or "") < MAX_TEXT + 500


def test_an_answer_that_was_cut_has_an_error_for_its_end() -> None:
    content = kept(messages=[{"role": "user", "content": "hi"}])
    content.wrap_feed(lambda data: data)(event(content="Half an"))
    assert json.loads(content.answered() or "")[0]["finish_reason"] == "error"


def test_a_whole_answer_is_kept() -> None:
    content = kept(messages=[{"role": "user", "content": "hi"}])
    content.answer(b'{"choices":[{"message":{"role":"assistant","content":"Yes."},"finish_reason":"stop"}]}')
    (message,) = json.loads(content.answered() or "")
    assert (message["parts"], message["finish_reason"]) == ([{"type": "text", "content": "Yes."}], "stop")


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"{", b'{"choices":7}', b'{"choices":[7]}', b'{"choices":[{"message":7}]}', b"\xff", b"[" * 9000),
        b'{"choices":[{"message":{"content":7,"tool_calls":[7,{"function":7}]}}]}',
        b'{"choices":[{"message":{"tool_calls":7}}]}',
    ],
)
def test_what_cannot_be_read_is_left_out(body: bytes) -> None:
    """It never makes a call fail."""
    content = kept(messages=[{"role": "user", "content": "hi"}])
    content.answer(body)
    assert content.answered() is None


@pytest.mark.parametrize(
    "message",
    [
        {"role": "elf", "content": "x"},
        {"role": "assistant", "content": None},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]},
        {"role": "tool", "content": "x", "tool_call_id": None},
    ],
)
def test_odd_messages_raise_nothing(message: Any) -> None:
    assert asked(message, {"role": "user", "content": "hi"})[-1]["parts"] == [{"type": "text", "content": "hi"}]
