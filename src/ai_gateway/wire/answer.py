"""A whole answer of Ollama's: read, found honest, and given the gateway's id and the model that was asked."""

from typing import Any

import msgspec

from ai_gateway.wire.call import Operation
from ai_gateway.wire.json_guard import Fields
from ai_gateway.wire.stream import Shape, add_reasoning_content, take_empty_content
from ai_gateway.wire.usage import Usage, read_usage

_decode_fields = msgspec.json.Decoder(Fields).decode
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class BadAnswer(Exception):
    """The body is not what Ollama answers; the text says how, for the log."""


class Answer(msgspec.Struct, frozen=True):
    """A body for the client, with what the gateway notes of it."""

    body: bytes
    usage: Usage | None
    finish_reason: str | None


def read_answer(operation: Operation, body: bytes, shape: Shape) -> Answer:
    """Ollama's answer, rewritten. Unknown fields stay. Raises BadAnswer for anything that is no whole answer."""
    try:
        fields = _decode_fields(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadAnswer("no JSON object" if body else "an empty body") from None
    usage = read_usage(_value(fields, "usage"))
    if operation == "embeddings":
        if bytes(fields.get("data", b""))[:2] in (b"", b"[]", b"nu"):
            raise BadAnswer("no embeddings in it")
        fields["model"] = msgspec.Raw(_encode(shape.model))
        return Answer(_encode(fields), usage, None)
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
    return Answer(_encode(fields), usage, finish_reason)


def _value(fields: Fields, key: str) -> Any:
    raw = fields.get(key)
    try:
        return None if raw is None else _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadAnswer(f"`{key}` cannot be read") from None


def _finish_reason(choices: Any) -> str:
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise BadAnswer("no choices in it")
    finish_reason = choices[0].get("finish_reason")
    if not isinstance(finish_reason, str):  # how Ollama shows that its loop guard or a runner stopped it
        raise BadAnswer("no finish_reason: it was cut short")
    return finish_reason


def read_error(body: bytes) -> str:
    """The message in an error body of Ollama's, native or OpenAI shape; "" where there is none."""
    try:
        error = _decode(body)["error"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        return ""
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else ""
