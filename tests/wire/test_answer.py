"""Whole answers: complete ones get the gateway's id and model, all others are refused."""

import json
from typing import Any

import pytest
from tests.wire.recordings import OURS, WITH_REASONING, recorded, with_openais_null

from ai_gateway.wire.answer import MAX_MESSAGE, BadAnswer, read_answer, read_error
from ai_gateway.wire.operations import CHAT, OPERATIONS
from ai_gateway.wire.usage import NO_COUNT, Usage


def chat(**fields: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    return json.dumps({"id": "chatcmpl-1", "model": "tiny", "choices": [choice], **fields}).encode()


@pytest.mark.parametrize(
    ("operation", "name", "usage", "finish"),
    [
        ("chat", "chat", Usage(30, 4), "length"),
        ("chat", "chat-tools", Usage(211, 56), "tool_calls"),
        ("completions", "completions", Usage(22, 4), "length"),
        ("embeddings", "embeddings-base64", Usage(7, 0), None),
    ],
)
def test_an_answer_keeps_all_but_its_id_and_model(operation: str, name: str, usage: Usage, finish: str | None) -> None:
    """As Ollama wrote it, with the model that was asked; embeddings have no id, before or after."""
    theirs = json.loads(recorded(name))
    answer = read_answer(OPERATIONS[operation].read_answer, recorded(name), OURS)
    ours = {"model": OURS.model} if operation == "embeddings" else {"id": OURS.id, "model": OURS.model}
    for choice in theirs.get("choices", ()):
        with_openais_null(choice.get("message", {}))
    assert json.loads(answer.body) == {**theirs, **ours}
    assert list(json.loads(answer.body)) == list(theirs)
    assert answer.usage == usage
    assert answer.finish_reason == finish


def test_unknown_fields_and_numbers_survive_as_they_were_written() -> None:
    """What a later Ollama adds reaches the client."""
    body = chat(usage=None)[:-1] + b', "new": {"a": 1.0, "b": 12345678901234567890123}}'
    assert b'{"a": 1.0, "b": 12345678901234567890123}' in read_answer(CHAT.read_answer, body, OURS).body


def test_an_empty_text_beside_tool_calls_is_null() -> None:
    """As OpenAI has it; an empty text alone, and one that says something, stay."""
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    for said, expected in (
        ({"content": "", "tool_calls": calls}, {"content": None, "tool_calls": calls}),
        ({"content": "", "tool_calls": []}, {"content": "", "tool_calls": []}),
        ({"content": ""}, {"content": ""}),
        ({"content": "Hi", "tool_calls": calls}, {"content": "Hi", "tool_calls": calls}),
    ):
        body = chat(choices=[{"message": said, "finish_reason": "stop"}])
        assert json.loads(read_answer(CHAT.read_answer, body, OURS).body)["choices"][0]["message"] == expected


def test_reasoning_is_repeated_if_the_config_wants_it() -> None:
    """Beside Ollama's own key, and only where there is one."""
    body = chat(choices=[{"message": {"content": "", "reasoning": "Hm"}, "finish_reason": "stop"}])
    assert b"reasoning_content" not in read_answer(CHAT.read_answer, body, OURS).body
    message = json.loads(read_answer(CHAT.read_answer, body, WITH_REASONING).body)["choices"][0]["message"]
    assert message == {"content": "", "reasoning": "Hm", "reasoning_content": "Hm"}
    assert b"reasoning_content" not in read_answer(CHAT.read_answer, chat(), WITH_REASONING).body


@pytest.mark.parametrize("operation", ["chat", "completions", "embeddings"])
@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"null", b"[]", b"7", b"<html>", b'{"choices":', b'{"choices":[{"finish_reason":"stop"}]}x', b"{}",
        b'{"error":"it broke"}', b'{"data":[],"choices":[]}', b'{"data":null,"choices":null}',
        b'{"data":[],"choices":[7]}', b'{"data":[],"choices":{"a":1}}', b'{"data":[],"choices":"\xff"}', b'{"\xff":1}',
        b"[" * 100_000, b'{"choices":' + b"[" * 100_000,
    ],
)  # fmt: skip
def test_an_incomplete_answer_is_refused(operation: str, body: bytes) -> None:
    """A 200 that is empty, invalid or an error is a failure of Ollama's and never reaches the client."""
    with pytest.raises(BadAnswer):
        read_answer(OPERATIONS[operation].read_answer, body, OURS)


@pytest.mark.parametrize("operation", ["chat", "completions", "embeddings"])
@pytest.mark.parametrize("odd", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x00", b"\x1b", b"\\ud83d", b"\\x41", b"\n"])
def test_unread_parts_of_an_answer_must_be_valid_too(operation: str, odd: bytes) -> None:
    """It is passed on as it is, and the client's parser would fail on it."""
    good = chat(data=[{"embedding": [0.1]}], new="ODD")
    assert read_answer(OPERATIONS[operation].read_answer, good, OURS).body
    with pytest.raises(BadAnswer, match="no JSON object") as caught:
        read_answer(OPERATIONS[operation].read_answer, good.replace(b"ODD", odd), OURS)
    assert caught.value.is_garbled


def test_a_character_may_lie_anywhere_in_a_large_answer() -> None:
    """A large one is checked in pieces; half a character at its end is invalid."""
    for shift in range(4):
        text = "x" * (65_536 - 100 + shift) + "😀äé" * 40_000
        assert (
            text.encode()
            in read_answer(
                CHAT.read_answer, json.dumps({**json.loads(chat()), "new": text}, ensure_ascii=False).encode(), OURS
            ).body
        )
    cut = chat(new="ODD").replace(b"ODD", b"x" * 70_000 + "😀".encode()[:3])
    with pytest.raises(BadAnswer):
        read_answer(CHAT.read_answer, cut, OURS)


def test_of_a_repeated_key_the_client_gets_the_value_that_was_read() -> None:
    """Each key once; of two lists of choices not the one that says it is finished."""
    body = chat()[:-1] + b', "choices": [{"message": {"content": ""}, "finish_reason": null}]}'
    with pytest.raises(BadAnswer, match="finish_reason"):
        read_answer(CHAT.read_answer, body, OURS)
    assert read_answer(CHAT.read_answer, chat()[:-1] + b', "new": 1, "new": 2}', OURS).body.count(b'"new"') == 1


def test_an_answer_that_was_cut_short_is_not_garbled() -> None:
    """That is Ollama's way of saying that a runner died."""
    with pytest.raises(BadAnswer) as caught:
        read_answer(CHAT.read_answer, chat(choices=[]), OURS)
    assert not caught.value.is_garbled


@pytest.mark.parametrize("choice", [{}, {"finish_reason": None}, {"finish_reason": 7}])
def test_an_answer_without_a_finish_reason_was_cut_short(choice: dict[str, Any]) -> None:
    """So Ollama shows a runner that ended, or its guard against loops."""
    with pytest.raises(BadAnswer, match="finish_reason"):
        read_answer(CHAT.read_answer, chat(choices=[{"message": {"content": "Hi"}, **choice}]), OURS)


@pytest.mark.parametrize(
    "usage", [None, 7, {}, {"prompt_tokens": "3"}, {"prompt_tokens": 3, "completion_tokens": None}]
)
def test_odd_usage_is_no_usage(usage: Any) -> None:
    """The answer itself is good."""
    assert read_answer(CHAT.read_answer, chat(usage=usage), OURS).usage in (None, NO_COUNT)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"no such model","type":"api_error"}}', "no such model"),
        (b'{"error":"no such model"}', "no such model"),
        (b'{"error":{"type":"x"}}', ""),
        (b'{"error":7}', ""),
        (b'{"error":null}', ""),
        (b"{}", ""),
        (b"[]", ""),
        (b"404 page not found", ""),
        (b"\xff", ""),
        (b'{"error":"\xff"}', ""),
        (b"[" * 100_000, ""),
        (b"", ""),
    ],
)
def test_the_message_of_an_error_is_read_in_both_shapes(body: bytes, message: str) -> None:
    """Ollama's native one and OpenAI's; any other body has no message."""
    assert read_error(body) == message


def test_an_error_message_has_a_readable_length() -> None:
    """It becomes part of an answer, of the log and of a trace."""
    assert read_error(json.dumps({"error": "x" * 50_000}).encode()) == "x" * MAX_MESSAGE + "…"
