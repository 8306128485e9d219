"""A whole answer of Ollama's: read, found honest, and given the gateway's id and the model that was asked."""

from collections.abc import Generator
from typing import Any, Final

import msgspec

from ai_gateway.wire.asides import Asides
from ai_gateway.wire.call import Operation
from ai_gateway.wire.json_guard import Fields
from ai_gateway.wire.json_scan import Value
from ai_gateway.wire.stream import Shape, add_reasoning_content
from ai_gateway.wire.usage import Usage, read_usage

_decode_fields = msgspec.json.Decoder(Fields).decode
_decode = msgspec.json.Decoder().decode
_decode_choices = msgspec.json.Decoder(list[Fields]).decode
_encode = msgspec.json.Encoder().encode

SMALL_VALUE: Final = 16 << 10  # bytes of a value that are taken as they are
MOST_DECODED: Final = 256 << 10  # of choices; of larger ones only what is asked for is read

MOST_KEPT: Final = 1 << 20  # of a text


class BadAnswer(Exception):
    """The body is not what Ollama answers; the text says how, for the log."""


class Answer(msgspec.Struct, frozen=True):
    """A body for the client, with what the gateway notes of it. Where it is in `pieces`, `body` has marks in it."""

    body: bytes
    usage: Usage | None
    finish_reason: str | None
    pieces: tuple[bytes, ...] = ()
    asides: Asides | None = None

    def short(self) -> bytes:
        """The body, or as much of a large one as anybody keeps."""
        if self.asides is None:
            return self.body
        return self.asides.short(self.body, MOST_KEPT) if len(self.body) <= MOST_DECODED else b""


def read_answer(operation: Operation, body: bytes, shape: Shape) -> Answer:
    """Ollama's answer, rewritten. Unknown fields stay. Raises BadAnswer for anything that is no whole answer."""
    try:
        fields = _decode_fields(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadAnswer("no JSON object" if body else "an empty body") from None
    return _honest(operation, fields, shape)


def read_large_answer(operation: Operation, values: dict[str, Value], shape: Shape) -> Generator[int, None, Answer]:
    """The same for an answer that was read in pieces, step by step."""
    asides = Asides()
    fields: Fields = {}
    for key, value in values.items():
        if value.size <= SMALL_VALUE:
            fields[key] = msgspec.Raw(value.text())
        elif key == "choices":
            fields[key] = msgspec.Raw((yield from asides.light_value(value, value.size)))
        else:
            fields[key] = msgspec.Raw(asides.whole(value))
    answer = _honest(operation, fields, shape)
    return msgspec.structs.replace(answer, pieces=tuple(asides.pieces(answer.body)), asides=asides)


def _honest(operation: Operation, fields: Fields, shape: Shape) -> Answer:
    usage = read_usage(_value(fields, "usage"))
    if operation == "embeddings":
        if bytes(fields.get("data", b""))[:2] in (b"", b"[]", b"nu"):
            raise BadAnswer("no embeddings in it")
        fields["model"] = msgspec.Raw(_encode(shape.model))
        return Answer(_encode(fields), usage, None)
    finish_reason = (_large_choices if len(bytes(fields.get("choices", b""))) > MOST_DECODED else _choices)(
        fields, shape
    )
    fields["id"] = msgspec.Raw(_encode(shape.id))
    fields["model"] = msgspec.Raw(_encode(shape.model))
    return Answer(_encode(fields), usage, finish_reason)


def _choices(fields: Fields, shape: Shape) -> str:
    choices = _value(fields, "choices")
    finish_reason = _finish_reason(choices)
    if shape.reasoning_content:
        add_reasoning_content({"choices": choices}, "message")
        fields["choices"] = msgspec.Raw(_encode(choices))
    return finish_reason


def _large_choices(fields: Fields, shape: Shape) -> str:
    """As `_choices`, where log probabilities may be megabytes: they stay text."""
    try:
        choices = _decode_choices(fields["choices"])
        finish_reason = _finish_reason([{"finish_reason": _value(choices[0], "finish_reason")}] if choices else [])
        if shape.reasoning_content:
            for choice in choices:
                message = msgspec.json.decode(choice.get("message", b"{}"), type=Fields)
                if "reasoning" in message:
                    message["reasoning_content"] = message["reasoning"]
                    choice["message"] = msgspec.Raw(_encode(message))
            fields["choices"] = msgspec.Raw(_encode(choices))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadAnswer("`choices` cannot be read") from None
    return finish_reason


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
