"""Tool calls of earlier messages. Their arguments must be JSON in a string; some clients send an object instead."""

from typing import Final

import msgspec

from ai_gateway.errors import InvalidRequest
from ai_gateway.wire import surrogates
from ai_gateway.wire.fields import NULL, AnyObject, Run, check_numbers, refuse, refuse_many, refuse_shape, runs
from ai_gateway.wire.json_guard import Fields

MAX_CALLS: Final = 512  # of one message: they are all checked in one step, and others wait that long

_QUOTE: Final = ord('"')
_BLANKS: Final = " \t\r\n"  # the only white space of JSON
_NO_ARGUMENTS: Final = msgspec.Raw(b'"{}"')


class _Function(msgspec.Struct, frozen=True, gc=False):
    name: str
    arguments: msgspec.Raw = NULL


class _ToolCall(msgspec.Struct, frozen=True, gc=False):
    function: _Function | None = None
    id: str | None = None
    type: str | None = None
    index: int | None = None


class Calls(msgspec.Struct, frozen=True, gc=False):
    """The calls of one message: their count, and their new JSON text if something changes. No text: no calls."""

    count: int = 0
    changed: bool = False
    text: msgspec.Raw | None = None


_calls: Final = msgspec.json.Decoder(list[_ToolCall])
_decode_function = msgspec.json.Decoder(_Function).decode
_decode_items = msgspec.json.Decoder(list[Fields]).decode
_decode_fields = msgspec.json.Decoder(Fields).decode
_decode_text = msgspec.json.Decoder(str).decode
_check_object = msgspec.json.Decoder(AnyObject | None).decode
_encode = msgspec.json.Encoder().encode


def normalized_calls(raw: msgspec.Raw, path: str) -> Calls:
    """Normalizes `tool_calls`. Raises InvalidRequest with the path of the wrong part."""
    if memoryview(raw)[0] == ord("n"):
        return Calls()
    count, normalized = 0, bytearray(b"[")
    changed = False
    try:
        for run in runs(bytes(raw), _calls):
            refuse_many(count + len(run.items), MAX_CALLS, "calls", path)
            text = _normalized_run(run, path, count)
            changed |= text is not None
            normalized += b"," * (count > 0) + (text or run.text)[1:-1]
            count += len(run.items)
    except msgspec.ValidationError as error:
        refuse_shape(error, path, count)
    if not count:  # an empty list counts as none
        return Calls(0, changed=True)
    normalized += b"]"
    return Calls(count, changed, msgspec.Raw(normalized) if changed else None)


def from_function_call(raw: msgspec.Raw, path: str) -> Calls:
    """A list with the call in `function_call`, the older field."""
    try:
        function = _decode_function(raw)
    except msgspec.ValidationError as error:
        refuse_shape(error, path)
    arguments = _normalized_arguments(function.arguments, f"{path}.arguments") or function.arguments
    call = {"type": "function", "function": {"name": function.name, "arguments": arguments}}
    return Calls(1, changed=True, text=msgspec.Raw(_encode([call])))


def _normalized_run(run: Run[_ToolCall], path: str, first: int) -> bytes | None:
    changes = {}
    for index, call in enumerate(run.items):
        where = f"{path}[{first + index}]"
        if call.type not in (None, "", "function"):
            refuse(f"{where}.type", f"`{where}.type` is {call.type[:64]!r}: Ollama supports only calls of functions.")
        if call.function is None or not call.function.name:
            missing = f"{where}.function" if call.function is None else f"{where}.function.name"
            refuse(missing, f"`{missing}` is missing: name the function that was called.", "missing_value")
        arguments = _normalized_arguments(call.function.arguments, f"{where}.function.arguments")
        if arguments is not None:
            changes[index] = arguments
    if not changes:
        return None
    items = _decode_items(run.text)
    for index, arguments in changes.items():
        function = _decode_fields(items[index]["function"])
        function["arguments"] = arguments
        items[index]["function"] = msgspec.Raw(_encode(function))
    return _encode(items)


def _normalized_arguments(raw: msgspec.Raw, path: str) -> msgspec.Raw | None:
    """Arguments as the text of a JSON object, or None if they are that already. Missing arguments become `{}`."""
    first = memoryview(raw)[0]
    if first == ord("n"):
        return _NO_ARGUMENTS
    if first == ord("{"):
        return msgspec.Raw(_encode(bytes(raw).decode()))
    if first != _QUOTE:
        refuse(path, f"`{path}` must be a string that holds a JSON object.")
    text = _decode_text(raw).strip(_BLANKS)
    if not text.strip():
        return _NO_ARGUMENTS
    if not _is_object(text.encode()):
        refuse(path, f"`{path}` must be a string that holds a JSON object, but it holds invalid JSON or another value.")
    check_numbers(text.encode(), path)
    return None


def _is_object(text: bytes) -> bool:
    """Whether Go reads a text as a JSON object or null, also with lone halves of surrogate pairs."""
    try:
        _check_object(text)
    except (msgspec.ValidationError, RecursionError):
        return False
    except msgspec.DecodeError:
        try:
            whole = surrogates.replace_lone(text)
        except InvalidRequest:
            return False
        return whole is not None and _is_object(whole)
    return True
