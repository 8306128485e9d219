"""Reads a whole answer of Ollama's, checks that it is complete, and writes the gateway's id and model into it.

What it knows of choices holds for the events of a stream, too.
"""

import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Generator
from typing import Any, Final, TypeGuard

import msgspec

from ai_gateway.wire.json_guard import Fields
from ai_gateway.wire.json_scan import NO_OBJECT, Scan, Value
from ai_gateway.wire.placeholders import Placeholders
from ai_gateway.wire.unreadable import UNREADABLE
from ai_gateway.wire.usage import Usage, read_usage, tokens_of_text

MAX_MESSAGE: Final = 2000  # characters of Ollama's error that a client gets

_TEXTS: Final = ("content", "text", "reasoning")
_SLICE_BYTES: Final = 1 << 16
_decode_fields = msgspec.json.Decoder(Fields).decode
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

SPLIT: Final = frozenset(("choices",))  # see Scan
SMALL_VALUE: Final = 16 << 10  # bytes; smaller values are read whole
MOST_OF_MESSAGE: Final = 1 << 20  # bytes of a message without its long texts, such as one with thousands of tool calls

MOST_KEPT: Final = 1 << 20  # bytes of a text


class BadAnswer(Exception):
    """The body is not a valid answer of Ollama's; the text is the reason, for the log."""

    def __init__(self, reason: str, is_garbled: bool = False) -> None:
        super().__init__(reason)
        self.is_garbled = is_garbled  # it is not JSON at all


class Shape(msgspec.Struct, frozen=True):
    """What the client's answer shows: its id and model; of a stream, whether the client asked for usage."""

    id: str
    model: str
    with_usage: bool = False
    reasoning_content: bool = False


class Answer(msgspec.Struct, frozen=True):
    """A body for the client, with usage and end. With `pieces`, they are the body, and `body` has placeholders."""

    body: bytes
    usage: Usage | None
    finish_reason: str | None
    written: int  # tokens of its text, estimated from its bytes
    pieces: tuple[bytes, ...] = ()
    placeholders: Placeholders | None = None

    def short(self) -> bytes:
        """The body; of a large one, as much as content on spans needs."""
        if self.placeholders is None:
            return self.body
        return self.placeholders.short(self.body, MOST_KEPT)


# Makes the client's answer of Ollama's fields, with its usage. Raises BadAnswer if the answer is not complete.
AnswerReader = Callable[[Fields, Shape], Answer]


def read_answer(read: AnswerReader, body: bytes, shape: Shape) -> Answer:
    """Rewrites Ollama's answer; unknown fields stay. Raises BadAnswer if the answer is not complete."""
    try:
        if not body.isascii():
            _check_text(body)
        fields = _decode_fields(body)
    except UNREADABLE:
        raise BadAnswer("no JSON object" if body else "an empty body", is_garbled=True) from None
    return read(fields, shape)


def read_large_answer(read: AnswerReader, values: dict[str, Value], shape: Shape) -> Generator[int, None, Answer]:
    """Like `read_answer`, in steps, for an answer that was read in pieces with `choices` split."""
    placeholders = Placeholders()
    fields: Fields = {}
    text_bytes = 0
    for key, value in values.items():
        if value.size <= SMALL_VALUE:
            fields[key] = msgspec.Raw(value.text())
        elif key == "choices":
            fields[key], text_bytes = yield from _large_choice(value, placeholders)
        else:
            fields[key] = msgspec.Raw(placeholders.whole(value))
    answer = read(fields, shape)
    written = max(answer.written, tokens_of_text(text_bytes))
    pieces = tuple(placeholders.pieces(answer.body))
    return msgspec.structs.replace(answer, written=written, pieces=pieces, placeholders=placeholders)


def _large_choice(value: Value, placeholders: Placeholders) -> Generator[int, None, tuple[msgspec.Raw, int]]:
    """The only choice, with placeholders for long texts and for log probabilities, which may have megabytes; and how
    many bytes of text it has."""
    scan = Scan()
    pieces = value.groups[0][::-1]
    value.groups.clear()
    fields: Fields = {}
    text_bytes = 0
    try:
        while pieces:
            scan.feed(pieces.pop())
            yield 0
        for key, part in scan.end().items():
            text_bytes += part.size if key in ("message", "text") else 0
            if part.size <= SMALL_VALUE:
                fields[key] = msgspec.Raw(part.text())
            elif key in ("message", "text"):
                fields[key] = msgspec.Raw((yield from placeholders.shortened_value(part, MOST_OF_MESSAGE)))
            else:
                fields[key] = msgspec.Raw(placeholders.whole(part))
    except NO_OBJECT:
        raise BadAnswer("`choices` cannot be read") from None
    finally:
        scan.close()
    return msgspec.Raw(b"[%b]" % _encode(fields)), text_bytes


def read_list(key: str, what: str) -> AnswerReader:
    """Reads answers that are a list and have no id, such as vectors; `what` names its items in the log."""

    def read(fields: Fields, shape: Shape) -> Answer:
        usage = read_usage(_value(fields, "usage"))
        if bytes(fields.get(key, b""))[:2] in (b"", b"[]", b"nu"):
            raise BadAnswer(f"it has no {what}")
        fields["model"] = msgspec.Raw(_encode(shape.model))
        return Answer(_encode(fields), usage, None, 0)

    return read


def read_choices(fields: Fields, shape: Shape) -> Answer:
    """Reads what a model wrote: choices, the first with a finish_reason."""
    usage = read_usage(_value(fields, "usage"))
    choices = _value(fields, "choices")
    finish_reason = _finish_reason(choices)
    fields["id"] = msgspec.Raw(_encode(shape.id))
    fields["model"] = msgspec.Raw(_encode(shape.model))
    is_changed = take_empty_content(choices, "message")
    if shape.reasoning_content:
        add_reasoning_content(choices, "message")
        is_changed = True
    if is_changed:
        fields["choices"] = msgspec.Raw(_encode(choices))
    return Answer(_encode(fields), usage, finish_reason, _written(choices))


def _check_text(body: bytes) -> None:
    """Checks that all of an answer is UTF-8, without a second copy of it. Raises UnicodeDecodeError."""
    decode = getincrementaldecoder("utf-8")().decode
    whole = memoryview(body)
    for start in range(0, len(body), _SLICE_BYTES):
        decode(whole[start : start + _SLICE_BYTES])
    decode(b"", final=True)


def _value(fields: Fields, key: str) -> Any:
    raw = fields.get(key)
    try:
        return None if raw is None else _decode(raw)
    except UNREADABLE:
        raise BadAnswer(f"`{key}` cannot be read") from None


def _written(choices: Any) -> int:
    """Tokens of text, reasoning and tool calls, estimated from their bytes."""
    text_bytes = 0
    for choice in choices:
        message = choice.get("message", choice) if isinstance(choice, dict) else None
        if isinstance(message, dict):
            for key in _TEXTS:
                text = message.get(key)
                if text and isinstance(text, str):
                    text_bytes += len(text) if text.isascii() else 3 * len(text)  # about as in UTF-8, without a copy
            text_bytes += len(_encode(message["tool_calls"])) if message.get("tool_calls") else 0
    return tokens_of_text(text_bytes)


def _finish_reason(choices: Any) -> str:
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise BadAnswer("it has no choices")
    finish_reason = choices[0].get("finish_reason")
    if finish_reason is None:  # how Ollama shows that its loop guard or a runner stopped it
        raise BadAnswer("it has no finish_reason: it was cut short")
    if not is_finish_reason(finish_reason):
        raise BadAnswer("its finish_reason is not a word", is_garbled=True)
    return finish_reason


def read_error(body: bytes) -> str:
    """The message in an error body of Ollama's, in the native or OpenAI's shape; "" if there is none."""
    try:
        error = _decode(body)["error"]
    except (*UNREADABLE, KeyError, TypeError):
        return ""
    message = error.get("message") if isinstance(error, dict) else error
    if not isinstance(message, str):
        return ""
    return message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + "…"


MAX_REASON: Final = 64  # characters of a finish_reason
LONG_EVENT_BYTES: Final = 384  # Ollama's events with one token have about 220
_LOGPROBS: Final = b'"logprobs":{'
_TOOL_CALLS: Final = b'"tool_calls":[{'
_SAID: Final = re.compile(rb'"(?:content|text|reasoning|reasoning_content)":\s*"(?!")')


def is_finish_reason(value: Any) -> TypeGuard[str]:
    """Whether the value is a word; the log and spans show it."""
    return isinstance(value, str) and len(value) <= MAX_REASON and value.isprintable()


def tokens_of(event: bytes) -> int:
    """How many tokens an event brings.

    One, as Ollama sends them, with or without log probabilities; none if it has no content (a role, an empty text).
    A tool call, which comes whole, and a text that is too long for one token are estimated from their bytes.
    """
    if _LOGPROBS in event:
        return 1
    at = event.find(_TOOL_CALLS)
    if at >= 0:
        return tokens_of_text(len(event) - at)
    if _SAID.search(event) is None:
        return 0
    return 1 + tokens_of_text(max(0, len(event) - LONG_EVENT_BYTES))


def take_empty_content(choices: Any, part: str) -> bool:
    """Turns `"content": ""` beside tool calls into null, as OpenAI does. Returns whether it changed anything."""
    found = False
    for choice in choices if isinstance(choices, list) else ():
        message = choice.get(part) if isinstance(choice, dict) else None
        if isinstance(message, dict) and message.get("tool_calls") and message.get("content") == "":
            message["content"] = None
            found = True
    return found


def add_reasoning_content(choices: Any, part: str) -> None:
    """Repeats Ollama's `reasoning` as `reasoning_content`, in each choice's `message` or `delta`."""
    for choice in choices if isinstance(choices, list) else ():
        text = choice.get(part) if isinstance(choice, dict) else None
        if isinstance(text, dict) and "reasoning" in text:
            text["reasoning_content"] = text["reasoning"]
