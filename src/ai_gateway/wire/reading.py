"""How each parameter of a call is read: checked, normalized in place, or refused by name.

Rules come from ollama/ollama openai/openai.go and, for defaults, from OpenAI's own description of its API.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from ai_gateway.wire.fields import (
    MAX_SHORT_BYTES,
    AnyObject,
    check_numbers,
    flag,
    given,
    number,
    refuse,
    refuse_shape,
    whole_number,
)
from ai_gateway.wire.json_guard import Fields

MAX_TOKENS: Final = 2**31 - 1
_NO_LIMIT: Final = (0, -1, -2)  # Ollama's own values for it; editors send them
_MAX_DEFAULT_BYTES: Final = 64  # of a value that can be a default

# Reads one parameter that is present and not null; returns whether Ollama ignores it.
Reader = Callable[[Fields, str], bool]

_decode = msgspec.json.Decoder().decode


class _Schema(msgspec.Struct, frozen=True, gc=False):
    schema: AnyObject | None = None


class _Format(msgspec.Struct, frozen=True, gc=False):
    type: str
    json_schema: _Schema | None = None


class _Reasoning(msgspec.Struct, frozen=True, gc=False):
    effort: str | None = None


_decode_format = msgspec.json.Decoder(_Format).decode
_decode_stop = msgspec.json.Decoder(list[str | None] | str).decode
_decode_reasoning = msgspec.json.Decoder(_Reasoning).decode
_decode_text = msgspec.json.Decoder(str).decode
_check_object = msgspec.json.Decoder(AnyObject).decode
_encode = msgspec.json.Encoder().encode


def a_number(fields: Fields, name: str) -> bool:
    """Any number that 32 bits can hold: Ollama does not have OpenAI's bounds."""
    number(fields, name)
    return False


def a_flag(fields: Fields, name: str) -> bool:
    """True or false."""
    flag(fields, name)
    return False


def a_text(fields: Fields, name: str) -> bool:
    """A string."""
    if bytes(memoryview(fields[name])[:1]) != b'"':
        refuse(name, f"`{name}` must be a string.")
    return False


def whole(lowest: int, highest: int) -> Reader:
    """A reader of a whole number from `lowest` to `highest`, both included."""

    def read(fields: Fields, name: str) -> bool:
        whole_number(fields, name, lowest, highest)
        return False

    return read


def limit(fields: Fields, name: str) -> bool:
    """A limit of tokens. What means "no limit" counts as absent, so that the model's own in the config applies."""
    expected = f"a whole number from 1 to {MAX_TOKENS}; leave it out, or send -1 or 0, for no limit"
    if whole_number(fields, name, min(_NO_LIMIT), MAX_TOKENS, expected=expected) in _NO_LIMIT:
        del fields[name]
    return False


def newer_limit(fields: Fields, name: str) -> bool:
    """Ollama ignores the newer name of the same limit."""
    limit(fields, name)
    if name in fields:
        fields.setdefault("max_tokens", fields.pop(name))
    return False


def one(fields: Fields, name: str) -> bool:
    """1; Ollama does that anyway."""
    if whole_number(fields, name, 1, 128) != 1:
        refuse(name, "`n` above 1 is not supported: Ollama writes one answer per request; send several requests.")
    del fields[name]
    return False


def stop(fields: Fields, name: str) -> bool:
    """Ollama drops a null; an empty string would end the answer before it begins."""
    text = bytes(fields[name])
    if len(text) > MAX_SHORT_BYTES:
        refuse(name, f"`{name}` is longer than {MAX_SHORT_BYTES} bytes.")
    try:
        wanted = _decode_stop(text)
    except msgspec.ValidationError as error:
        refuse_shape(error, name)
    if isinstance(wanted, list) and not all(wanted):
        wanted = [text for text in wanted if text]
        fields[name] = msgspec.Raw(_encode(wanted))
    if not wanted:
        del fields[name]
    return False


def response_format(fields: Fields, name: str) -> bool:
    """A type that Ollama knows; it would silently ignore any other."""
    try:
        wanted = _decode_format(fields[name])
    except msgspec.ValidationError as error:
        refuse_shape(error, name)
    check_numbers(bytes(fields[name]), name)
    kind = wanted.type.strip().lower()  # as Ollama reads it
    if kind not in ("text", "json_object", "json_schema"):
        refuse(f"{name}.type", f"`{name}.type` must be text, json_object or json_schema.")
    if kind == "json_schema" and (wanted.json_schema is None or wanted.json_schema.schema is None):
        path = f"{name}.json_schema"
        refuse(path, f"`{path}` must be an object with the JSON Schema of the answer under `schema`.")
    return False


# As newer releases of Ollama do; older ones refuse these values.
_EFFORTS: Final = {"minimal": "low", "xhigh": "max", "ultra": "max"}
_KNOWN_EFFORTS: Final = frozenset(("none", "low", "medium", "high", "max", *_EFFORTS))


def effort(fields: Fields, name: str) -> bool:
    """How much a model may think, as a value that every release of Ollama knows."""
    a_text(fields, name)
    fields[name] = msgspec.Raw(_encode(_read_effort(_decode_text(fields[name]), name)))
    return False


def reasoning(fields: Fields, name: str) -> bool:
    """The same in the shape of the Responses API, which Ollama reads first."""
    try:
        effort = _decode_reasoning(fields[name]).effort
    except msgspec.ValidationError as error:
        refuse_shape(error, name)
    if effort:
        fields[name] = msgspec.Raw(_encode({"effort": _read_effort(effort, f"{name}.effort")}))
    return False


def _read_effort(effort: str, path: str) -> str:
    if effort and effort not in _KNOWN_EFFORTS:
        refuse(path, f"`{path}` must be none, minimal, low, medium, high, xhigh or max.")
    return _EFFORTS.get(effort, effort)


def completion_logprobs(fields: Fields, name: str) -> bool:
    """Ollama's text completions have none."""
    if given(fields, name) == b"false":
        del fields[name]
        return False
    return whole_number(fields, name, 0, 20) != 0


def lost_unless(*defaults: object) -> Reader:
    """A reader of a parameter that Ollama ignores: only a value other than OpenAI's default is lost."""

    def read(fields: Fields, name: str) -> bool:
        if not _is_one_of(fields, name, defaults):
            return True
        del fields[name]
        return False

    return read


def refused_unless(why: str, *defaults: object) -> Reader:
    """A reader of a parameter that would change the answer and that Ollama cannot honour."""

    def read(fields: Fields, name: str) -> bool:
        if not _is_one_of(fields, name, defaults):
            refuse(name, f"`{name}` is not supported: {why}")
        del fields[name]
        return False

    return read


def _is_one_of(fields: Fields, name: str, defaults: tuple[object, ...]) -> bool:
    text = bytes(fields[name])
    if len(text) > _MAX_DEFAULT_BYTES:
        return False
    try:
        value = _decode(text)
    except msgspec.DecodeError:  # a number too large for a float
        return False
    return any(value == default and _kind(value) is _kind(default) for default in defaults)


def _kind(value: object) -> type:
    """The type for a comparison: 1 and 1.0 are the same number; true is not a number."""
    return int if type(value) is float else type(value)


def logit_bias(fields: Fields, name: str) -> bool:
    """An object that Ollama ignores; PHP writes an empty one as a list."""
    lost = lost_unless({}, [])(fields, name)
    if lost:
        try:
            _check_object(fields[name])
        except msgspec.ValidationError as error:
            refuse_shape(error, name)
    return lost
