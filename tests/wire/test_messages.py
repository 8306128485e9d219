"""The messages of a chat: a message with one meaning is normalized, any other is refused by its path."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from ai_gateway.errors import InvalidRequest
from ai_gateway.wire.content import MAX_PARTS
from ai_gateway.wire.fields import RUN_BYTES
from ai_gateway.wire.prompts import normalize
from ai_gateway.wire.tool_calls import MAX_CALLS

USER = {"role": "user", "content": "Hi"}
PNG = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
TEXT = {"type": "text", "text": "a"}


def call(**function: Any) -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}", **function}}


def assistant(**said: Any) -> dict[str, Any]:
    return {"role": "assistant", **said}


def normalized(*messages: Any) -> Any:
    """The messages as they go to Ollama."""
    text = json.dumps(messages).encode()
    new = normalize(text)
    return json.loads(text if new is None else new)


def failure(*messages: Any) -> str | None:
    """The param of the refusal."""
    with pytest.raises(InvalidRequest) as caught:
        normalize(json.dumps(messages).encode())
    assert caught.value.error_status == 400
    assert caught.value.param is not None
    assert f"`{caught.value.param}`" in caught.value.message or "data:" in caught.value.message
    return caught.value.param


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param(assistant(content=None), assistant(content=""), id="an assistant that said nothing"),
        pytest.param(assistant(), assistant(content=""), id="no content at all"),
        pytest.param(assistant(content=None, tool_calls=[]), assistant(content=""), id="an empty list of calls"),
        pytest.param(assistant(content="a", tool_calls=[]), assistant(content="a"), id="beside a text too"),
        pytest.param(assistant(content=None, refusal="No."), assistant(content="No.", refusal="No."), id="a refusal"),
        pytest.param(
            assistant(content=[{"type": "refusal", "refusal": "No."}]), assistant(content="No."), id="as a part"
        ),
        pytest.param(assistant(content=[]), assistant(content=""), id="an empty list of parts"),
        pytest.param(
            assistant(content=[], tool_calls=[call()]),
            assistant(content="", tool_calls=[call()]),
            id="which Ollama would give to the message before",
        ),
        pytest.param(
            {"role": "tool", "content": None, "tool_call_id": "c1"},
            {"role": "tool", "content": "", "tool_call_id": "c1"},
            id="a tool that answered nothing",
        ),
        pytest.param(
            {"role": "tool", "content": [TEXT, {"type": "text", "text": "é\n"}], "tool_call_id": "c1"},
            {"role": "tool", "content": "aé\n", "tool_call_id": "c1"},
            id="parts of a tool's answer, beside which Ollama forgets the id",
        ),
        pytest.param({"role": "developer", "content": "x"}, {"role": "system", "content": "x"}, id="developer"),
        pytest.param({"role": "DEVELOPER", "content": [TEXT]}, {"role": "system", "content": [TEXT]}, id="in capitals"),
        pytest.param(
            {"role": "function", "name": "f", "content": "x"},
            {"role": "tool", "name": "f", "content": "x"},
            id="function",
        ),
        pytest.param(
            assistant(content=None, function_call={"name": "f", "arguments": "{}"}),
            assistant(content=None, tool_calls=[{"type": "function", "function": {"name": "f", "arguments": "{}"}}]),
            id="function_call",
        ),
        pytest.param(
            assistant(content="a", function_call=None, tool_calls=None, audio=None),
            assistant(content="a", function_call=None, tool_calls=None, audio=None),
            id="what an SDK dumps",
        ),
    ],
)  # fmt: skip
def test_a_message_with_one_meaning_is_normalized(message: Any, expected: Any) -> None:
    """And its neighbours stay as they are."""
    assert normalized(USER, message, USER) == [USER, expected, USER]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", "{}"), (" \n", "{}"), (None, "{}"), ({"a": 1.50}, '{"a": 1.5}'), ({}, "{}"),
        ('{"a":1}', '{"a":1}'), (' {"a":1}\n', ' {"a":1}\n'), ("null", "null"), ('{"a":"\\ud83d"}', '{"a":"\\ud83d"}'),
    ],
)  # fmt: skip
def test_arguments_are_the_text_of_a_json_object(arguments: Any, expected: str) -> None:
    """None at all are `{}`; an object is written as text; what Go reads stays, half of a surrogate pair too."""
    message = assistant(content=None, tool_calls=[call(), call(arguments=arguments)])
    assert normalized(message) == [assistant(content=None, tool_calls=[call(), call(arguments=expected)])]


def test_arguments_that_are_missing_are_none() -> None:
    """Other keys of the call stay."""
    bare = {"id": "c1", "x": 1.5, "function": {"name": "f", "y": [None]}}
    (message,) = normalized(assistant(content=None, tool_calls=[bare]))
    assert message["tool_calls"] == [{"id": "c1", "x": 1.5, "function": {"name": "f", "y": [None], "arguments": "{}"}}]


@pytest.mark.parametrize(
    ("message", "place"),
    [
        (None, ""), ("Hi", ""), (1, ""), ([], ""), (True, ""),
        ({"content": "Hi"}, ".role"),
        ({"role": None, "content": "Hi"}, ".role"),
        ({"role": "", "content": "Hi"}, ".role"),
        ({"role": 1, "content": "Hi"}, ".role"),
        ({"role": "user"}, ".content"),
        ({"role": "user", "content": None}, ".content"),
        ({"role": "system", "content": None}, ".content"),
        ({"role": "user", "content": []}, ".content"),
        ({"role": "user", "content": 3}, ".content"),
        ({"role": "user", "content": True}, ".content"),
        ({"role": "user", "content": {"type": "text", "text": "x"}}, ".content"),
        ({"role": "user", "content": "x", "name": 1}, ".name"),
        ({"role": "tool", "content": "x", "tool_call_id": 1}, ".tool_call_id"),
        ({"role": "assistant", "content": "x", "reasoning": {}}, ".reasoning"),
        ({"role": "function", "content": "x"}, ".name"),
        ({"role": "user", "content": ["x"]}, ".content[0]"),
        ({"role": "user", "content": [TEXT, None]}, ".content[1]"),
        ({"role": "user", "content": [{"text": "x"}]}, ".content[0].type"),
        ({"role": "user", "content": [TEXT, {"type": "file", "file": {}}]}, ".content[1].type"),
        ({"role": "user", "content": [{"type": "text", "text": 1}]}, ".content[0].text"),
        ({"role": "user", "content": [{"type": "text"}]}, ".content[0].text"),
        ({"role": "user", "content": [{"type": "image_url"}]}, ".content[0].image_url"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, ".content[0].image_url.url"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": "data:image/gif;base64,AA"}]},
         ".content[0].image_url"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": "https://x/y"}]}, ".content[0].image_url"),
        ({"role": "user", "content": [{"type": "input_audio"}]}, ".content[0].input_audio"),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, ".content[0].input_audio.data"),
        (assistant(content=[{"type": "refusal", "refusal": "x"}, PNG]), ".content"),
        (assistant(content=None, tool_calls={}), ".tool_calls"),
        (assistant(content=None, tool_calls="x"), ".tool_calls"),
        (assistant(content=None, tool_calls=[None]), ".tool_calls[0]"),
        (assistant(content=None, tool_calls=[{"id": "c"}]), ".tool_calls[0].function"),
        (assistant(content=None, tool_calls=[call(), {"function": {}}]), ".tool_calls[1].function.name"),
        (assistant(content=None, tool_calls=[call(name="")]), ".tool_calls[0].function.name"),
        (assistant(content=None, tool_calls=[{**call(), "id": 3}]), ".tool_calls[0].id"),
        (assistant(content=None, tool_calls=[{**call(), "type": "custom"}]), ".tool_calls[0].type"),
        (assistant(content=None, function_call={"arguments": "{}"}), ".function_call.name"),
        (assistant(content=None, function_call="f"), ".function_call"),
    ],
)  # fmt: skip
def test_an_invalid_message_is_refused_by_its_path(message: Any, place: str) -> None:
    """In OpenAI's way of writing a path."""
    assert failure(USER, message, USER) == f"messages[1]{place}"


@pytest.mark.parametrize(
    "arguments",
    [
        "{a",
        "[]",
        '"x"',
        "1",
        '{"a":1}x',
        '{"a":NaN}',
        '{"a":1e999}',
        "{" * 40_000,
        "\u00a0{}",
        "{}\x1f",
        '{"\\ud83d":1}',
        7,
        [],
        True,
    ],
)
def test_arguments_that_are_no_object_are_refused(arguments: Any) -> None:
    """Ollama's own words for all of them are `invalid tool call arguments`."""
    message = assistant(content="x", tool_calls=[call(), call(arguments=arguments)])
    assert failure(USER, message) == "messages[1].tool_calls[1].function.arguments"


@pytest.mark.parametrize(
    "message",
    [
        {"role": "elf", "content": "x"},  # a role of a template's own, such as Granite's `control`
        {"role": "tool", "content": "x"},
        {
            "role": "user",
            "content": [TEXT, PNG, {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}],
        },
        {"role": "user", "content": [{"type": "image_url", "image_url": "data:;base64,AAAA"}]},
        assistant(content=None, tool_calls=[call()], annotations=[], refusal=None),
        assistant(content="", tool_calls=[call()]),
    ],
)
def test_what_ollama_reads_stays_unchanged(message: Any) -> None:
    """No byte of it changes."""
    assert normalize(json.dumps([USER, message]).encode()) is None


def test_escaped_slashes_are_slashes() -> None:
    """PHP writes an image's type that way."""
    image = rb'{"type":"image_url","image_url":{"url":"data:image\/png;base64,AAAA"}}'
    assert normalize(b'[{"role":"user","content":[%b]}]' % image) is None


@pytest.mark.parametrize(
    ("message", "most", "place"),
    [
        (lambda count: {"role": "user", "content": [{"type": "text", "text": "a"}] * count}, MAX_PARTS, "content"),
        (lambda count: assistant(content="", tool_calls=[call(name="f")] * count), MAX_CALLS, "tool_calls"),
    ],
)
def test_a_message_has_a_bounded_number_of_parts_and_calls(
    message: Callable[[int], Any], most: int, place: str
) -> None:
    """All of a message's are checked in one step, however little they weigh."""
    normalize(json.dumps([message(most)]).encode())
    assert failure(USER, message(most + 1)) == f"messages[1].{place}"


def test_a_long_conversation_is_normalized_only_where_necessary() -> None:
    """It is read a run at a time; every message comes out once and in order, whatever text it has."""
    odd = {"role": "developer", "content": '}, {"role": ' * 50}
    parts = {"role": "user", "content": [{"type": "text", "text": "},{}" * 99}] * 90}
    messages = [odd if at % 7 == 3 else parts if at % 7 == 5 else {**USER, "name": str(at)} for at in range(700)]
    text = json.dumps(messages).encode()
    assert len(text) > 8 * RUN_BYTES
    new = normalize(text)
    assert new is not None
    expected = [{**one, "role": "system"} if one["role"] == "developer" else one for one in messages]
    assert json.loads(new) == expected
    broken = [*messages, {"role": "user", "content": 7}]
    assert failure(*broken) == "messages[700].content"
    assert failure(*messages, 7) == "messages[700]"
