"""A whole answer of Ollama's: read, found honest, and given the gateway's id and the model that was asked."""

from codecs import getincrementaldecoder
from collections.abc import Callable, Generator
from typing import Any, Final

import msgspec

from ai_gateway.wire.asides import Asides
from ai_gateway.wire.choices import add_reasoning_content, is_finish_reason, take_empty_content
from ai_gateway.wire.json_guard import Fields
from ai_gateway.wire.json_scan import NO_OBJECT, Scan, Value
from ai_gateway.wire.stream import Shape
from ai_gateway.wire.unreadable import UNREADABLE
from ai_gateway.wire.usage import Usage, read_usage, tokens_of_text

MAX_MESSAGE: Final = 2000  # characters that a client gets of an error of Ollama's

_TEXTS: Final = ("content", "text", "reasoning")
_SLICE_BYTES: Final = 1 << 16
_decode_fields = msgspec.json.Decoder(Fields).decode
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

SPLIT: Final = frozenset(("choices",))  # see Scan
SMALL_VALUE: Final = 16 << 10  # bytes of a value that are taken as they are
MOST_OF_MESSAGE: Final = 1 << 20  # its long texts apart: of a message with thousands of tool calls

MOST_KEPT: Final = 1 << 20  # of a text


class BadAnswer(Exception):
    """The body is not what Ollama answers; the text says how, for the log."""

    def __init__(self, reason: str, is_garbled: bool = False) -> None:
        super().__init__(reason)
        self.is_garbled = is_garbled  # it is not even JSON


class Answer(msgspec.Struct, frozen=True):
    """A body for the client, with what the gateway notes of it. Where it is in `pieces`, `body` has marks in it."""

    body: bytes
    usage: Usage | None
    finish_reason: str | None
    written: int  # tokens of its text, as far as its bytes tell
    pieces: tuple[bytes, ...] = ()
    asides: Asides | None = None

    def short(self) -> bytes:
        """The body, or as much of a large one as anybody keeps."""
        if self.asides is None:
            return self.body
        return self.asides.short(self.body, MOST_KEPT)


# Makes the client's answer of Ollama's fields, with its usage. Raises BadAnswer where they are no finished answer.
AnswerReader = Callable[[Fields, Shape], Answer]


def read_answer(read: AnswerReader, body: bytes, shape: Shape) -> Answer:
    """Ollama's answer, rewritten. Unknown fields stay. Raises BadAnswer for anything that is no whole answer."""
    try:
        _check_text(body)
        fields = _decode_fields(body)
    except UNREADABLE:
        raise BadAnswer("no JSON object" if body else "an empty body", is_garbled=True) from None
    return read(fields, shape)


def read_large_answer(read: AnswerReader, values: dict[str, Value], shape: Shape) -> Generator[int, None, Answer]:
    """The same for an answer that was read in pieces, step by step; `choices` were split."""
    asides = Asides()
    fields: Fields = {}
    said = 0
    for key, value in values.items():
        if value.size <= SMALL_VALUE:
            fields[key] = msgspec.Raw(value.text())
        elif key == "choices":
            fields[key], said = yield from _large_choice(value, asides)
        else:
            fields[key] = msgspec.Raw(asides.whole(value))
    answer = read(fields, shape)
    written = max(answer.written, tokens_of_text(said))
    pieces = tuple(asides.pieces(answer.body))
    return msgspec.structs.replace(answer, written=written, pieces=pieces, asides=asides)


def _large_choice(value: Value, asides: Asides) -> Generator[int, None, tuple[msgspec.Raw, int]]:
    """The one choice there is, in which long texts are short, and log probabilities, which may be megabytes, aside; and
    how many bytes are said in it."""
    scan = Scan()
    pieces = value.groups[0][::-1]
    value.groups.clear()
    fields: Fields = {}
    said = 0
    try:
        while pieces:
            scan.feed(pieces.pop())
            yield 0
        for key, part in scan.end().items():
            said += part.size if key in ("message", "text") else 0
            if part.size <= SMALL_VALUE:
                fields[key] = msgspec.Raw(part.text())
            elif key in ("message", "text"):
                fields[key] = msgspec.Raw((yield from asides.light_value(part, MOST_OF_MESSAGE)))
            else:
                fields[key] = msgspec.Raw(asides.whole(part))
    except NO_OBJECT:
        raise BadAnswer("`choices` cannot be read") from None
    finally:
        scan.close()
    return msgspec.Raw(b"[%b]" % _encode(fields)), said


def read_list(key: str, what: str) -> AnswerReader:
    """Reads answers that are a list and have no id, such as vectors; `what` names its items in the log."""

    def read(fields: Fields, shape: Shape) -> Answer:
        usage = read_usage(_value(fields, "usage"))
        if bytes(fields.get(key, b""))[:2] in (b"", b"[]", b"nu"):
            raise BadAnswer(f"no {what} in it")
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
    """What is not read of an answer must be UTF-8, too. Raises UnicodeDecodeError; makes no second copy of it all."""
    if body.isascii():
        return
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
    """What was said and thought, and what tools are called with."""
    said = 0
    for choice in choices:
        message = choice.get("message", choice) if isinstance(choice, dict) else None
        if isinstance(message, dict):
            for key in _TEXTS:
                text = message.get(key)
                if text and isinstance(text, str):
                    said += len(text) if text.isascii() else 3 * len(text)  # about as in UTF-8, without a copy
            said += len(_encode(message["tool_calls"])) if message.get("tool_calls") else 0
    return tokens_of_text(said)


def _finish_reason(choices: Any) -> str:
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise BadAnswer("no choices in it")
    finish_reason = choices[0].get("finish_reason")
    if finish_reason is None:  # how Ollama shows that its loop guard or a runner stopped it
        raise BadAnswer("no finish_reason: it was cut short")
    if not is_finish_reason(finish_reason):
        raise BadAnswer("a finish_reason that is no word", is_garbled=True)
    return finish_reason


def read_error(body: bytes) -> str:
    """The message in an error body of Ollama's, native or OpenAI shape; "" where there is none."""
    try:
        error = _decode(body)["error"]
    except (*UNREADABLE, KeyError, TypeError):
        return ""
    message = error.get("message") if isinstance(error, dict) else error
    if not isinstance(message, str):
        return ""
    return message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + "…"
