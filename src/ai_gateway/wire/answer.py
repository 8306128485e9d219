"""A whole answer of Ollama's: read, found honest, and given the gateway's id and the model that was asked."""

from collections.abc import Generator
from typing import Any, Final

import msgspec

from ai_gateway.wire.asides import Asides
from ai_gateway.wire.call import Operation
from ai_gateway.wire.json_guard import Fields
from ai_gateway.wire.json_scan import UNREADABLE, Scan, Value
from ai_gateway.wire.stream import Shape, add_reasoning_content
from ai_gateway.wire.usage import Usage, read_usage

_decode_fields = msgspec.json.Decoder(Fields).decode
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

SPLIT: Final = frozenset(("choices",))  # see Scan
SMALL_VALUE: Final = 16 << 10  # bytes of a value that are taken as they are
MOST_OF_MESSAGE: Final = 1 << 20  # its long texts apart: of a message with thousands of tool calls

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
        return self.asides.short(self.body, MOST_KEPT)


def read_answer(operation: Operation, body: bytes, shape: Shape) -> Answer:
    """Ollama's answer, rewritten. Unknown fields stay. Raises BadAnswer for anything that is no whole answer."""
    try:
        fields = _decode_fields(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadAnswer("no JSON object" if body else "an empty body") from None
    return _honest(operation, fields, shape)


def read_large_answer(operation: Operation, values: dict[str, Value], shape: Shape) -> Generator[int, None, Answer]:
    """The same for an answer that was read in pieces, step by step; `choices` were split."""
    asides = Asides()
    fields: Fields = {}
    for key, value in values.items():
        if value.size <= SMALL_VALUE:
            fields[key] = msgspec.Raw(value.text())
        elif key == "choices":
            fields[key] = yield from _large_choice(value, asides, shape)
        else:
            fields[key] = msgspec.Raw(asides.whole(value))
    answer = _honest(operation, fields, shape)
    return msgspec.structs.replace(answer, pieces=tuple(asides.pieces(answer.body)), asides=asides)


def _large_choice(value: Value, asides: Asides, shape: Shape) -> Generator[int, None, msgspec.Raw]:
    """The one choice there is, in which long texts are short, and log probabilities, which may be megabytes, aside."""
    scan = Scan()
    pieces = value.groups[0][::-1]
    value.groups.clear()
    try:
        while pieces:
            scan.feed(pieces.pop())
            yield 0
        fields: Fields = {}
        for key, part in scan.end().items():
            if part.size <= SMALL_VALUE:
                fields[key] = msgspec.Raw(part.text())
            elif key in ("message", "text"):
                fields[key] = msgspec.Raw((yield from asides.light_value(part, MOST_OF_MESSAGE)))
            else:
                fields[key] = msgspec.Raw(asides.whole(part))
    except UNREADABLE:
        raise BadAnswer("`choices` cannot be read") from None
    return msgspec.Raw(b"[%b]" % _encode(fields))


def _honest(operation: Operation, fields: Fields, shape: Shape) -> Answer:
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
    if shape.reasoning_content:
        content = {"choices": choices}
        add_reasoning_content(content, "message")
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
