"""Checks that a request body is one JSON object in valid UTF-8 with each key once, before anything reads its values.

Ollama reads JSON with Go's encoding/json: keys match in any case, and the last duplicate wins. So the gateway parses
and checks a body here, and writes only parsed values upstream, never the client's bytes.
"""

import re
from array import array
from collections.abc import Iterable
from itertools import accumulate
from typing import Final

import msgspec

from ai_gateway.errors import InvalidRequest
from ai_gateway.wire import surrogates
from ai_gateway.wire.json_scan import MAX_KEYS, Doubled, Scan, TooMuch
from ai_gateway.wire.json_windows import MAX_DEPTH, NotJson, TooDeep

__all__ = ["MAX_DEPTH", "Fields", "check_spelling", "json_error", "read_object"]

# A larger body, or one with more lists, objects and keys, is read in pieces while it arrives.
SMALL_BYTES: Final = 128 << 10
SMALL_MARKS: Final = 6 << 10
OBJECT_MARKS: Final = 4  # an object costs as much to check as so many other values

Fields = dict[str, msgspec.Raw]

_decode_fields = msgspec.json.Decoder(Fields).decode

_KEY = re.compile(rb'[ \t\n\r]*"[^"\\]*"[ \t\n\r]*:[ \t\n\r]*')
_AFTER_VALUE = re.compile(rb"[ \t\n\r]*[,}]")
_NO_BRACKETS = bytes(set(range(256)) - set(b'{}[]"'))
_STEPS = bytes({91: 1, 123: 1, 93: 255, 125: 255}.get(byte, 0) for byte in range(256))
COUNTED_BYTES: Final = 4 << 10  # up to this size, counting each key is cheaper than a walk from key to key
COUNTED_KEYS: Final = 16
STEPS_AT_ONCE: Final = 8 << 10


def read_object(body: bytes, known: dict[str, str]) -> Fields:
    """The top-level keys of a JSON object and their values, unread.

    `known` maps each known key, case-folded, to its right spelling. Raises InvalidRequest for what is not a JSON
    object, is not UTF-8, nests deeper than MAX_DEPTH, or has a key twice or in the wrong case.
    """
    try:
        if not body.isascii():
            body.decode()
        if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _is_deep(body):
            raise _too_deep()
        body, fields = _read(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(_why_not_json(body, error), code="invalid_json") from None
    except RecursionError:
        raise _too_deep() from None
    _check_keys(body, fields, known)
    return fields


def is_small(body: bytes) -> bool:
    """Whether a body is small enough to read at once."""
    if len(body) <= SMALL_MARKS:
        return True
    return len(body) <= SMALL_BYTES and _marks(body) <= SMALL_MARKS


def _marks(body: bytes) -> int:
    return body.count(b",") + body.count(b"[") + OBJECT_MARKS * body.count(b"{")


def json_error(error: Exception, beginning: bytes) -> InvalidRequest:
    """The error for a body that was read in pieces."""
    if isinstance(error, TooDeep | RecursionError):
        return _too_deep()
    if isinstance(error, Doubled):
        return _doubled(error.key)
    if isinstance(error, TooMuch):
        return InvalidRequest(str(error), code="invalid_json")
    why = _why_not_json(beginning, error)
    if isinstance(error, NotJson) and not beginning.lstrip().startswith(b"{"):
        why = "The body must be a JSON object."
    elif isinstance(error, UnicodeDecodeError):
        why = "The body is not valid UTF-8."
    return InvalidRequest(re.sub(r" \(byte \d+\)", "", why), code="invalid_json")


def _read(body: bytes) -> tuple[bytes, Fields]:
    """The fields and the body that they come from, without halves of surrogate pairs."""
    try:
        return body, _decode_fields(body)
    except msgspec.DecodeError:
        replaced = surrogates.replace_lone(body)
        if replaced is None:
            raise
        return replaced, _decode_fields(replaced)


def _is_deep(body: bytes) -> bool:
    """Whether brackets outside strings nest deeper than MAX_DEPTH."""
    skeleton = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_BRACKETS)
    # Removing two adjacent quotes does not change what is inside strings; most strings are empty by now.
    brackets = b"".join(skeleton.replace(b'""', b"").split(b'"')[::2])
    depth = 0
    for at in range(0, len(brackets), STEPS_AT_ONCE):
        depths = list(accumulate(array("b", brackets[at : at + STEPS_AT_ONCE].translate(_STEPS)), initial=depth))
        if max(depths) > MAX_DEPTH:
            return True
        depth = depths[-1]
    return False


def _too_deep() -> InvalidRequest:
    return InvalidRequest(f"The body nests deeper than {MAX_DEPTH} levels.", code="invalid_json")


def _why_not_json(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "The body is empty; send a JSON object."
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return "The body begins with a byte order mark; send UTF-8 without one."
    if isinstance(error, UnicodeDecodeError):
        return f"The body is not valid UTF-8 (byte {error.start})."
    if "escape" in str(error) or (b"\\u" in body and "truncated" in str(error)):
        return "The body is not valid JSON: it has a broken escape."
    if isinstance(error, msgspec.ValidationError) and not body.lstrip().startswith(b"{"):
        return "The body must be a JSON object."
    return f"The body is not valid JSON: {str(error).removeprefix('JSON is malformed: ')}."


def check_spelling(fields: Iterable[str], known: dict[str, str]) -> None:
    """Raises InvalidRequest for a key that differs from a known key only in case."""
    for key in fields:
        right = known.get(key) or known.get(key.casefold())
        if right is not None and right != key:
            message = f"Key {key!r} must be spelled {right!r}: Ollama would read it as that key."
            raise InvalidRequest(message, code="ambiguous_key", param=key)


def _check_keys(body: bytes, fields: Fields, known: dict[str, str]) -> None:
    check_spelling(fields, known)
    if len(fields) > MAX_KEYS:
        raise InvalidRequest(f"The body has more than {MAX_KEYS} keys.", code="invalid_json")
    if len(set(map(str.casefold, fields))) == len(fields) and _stand_once(body, fields):
        return
    doubled = _doubled_key(body)
    if doubled is not None:
        raise _doubled(doubled)


def _doubled(key: str) -> InvalidRequest:
    message = f"Key {key!r} appears more than once (upper and lower case count as the same)."
    return InvalidRequest(message, code="duplicate_key", param=key)


def _stand_once(body: bytes, fields: Fields) -> bool:
    """Whether each key surely appears once. Without `\\u` a plain key has one spelling, so counting it decides."""
    if len(body) > COUNTED_BYTES or len(fields) > COUNTED_KEYS or b"\\u" in body:
        return _walk(body, fields)
    for key in fields:
        if not (key.isascii() and key.isidentifier()) or body.count(b'"%b"' % key.encode()) != 1:
            return _walk(body, fields)
    return True


def _walk(body: bytes, fields: Fields) -> bool:
    """Whether the body has exactly these keys and values; walks from value to value.

    The decoder keeps the last value of a repeated key in the first one's place. So a repeated key makes the walk
    find another value, or more keys, than `fields` has. A key with an escape ends the walk too.
    """
    at = body.index(b"{") + 1
    for raw in fields.values():
        value = bytes(raw)
        key = _KEY.match(body, at)
        if key is None or not body.startswith(value, key.end()):
            return False
        after = _AFTER_VALUE.match(body, key.end() + len(value))
        if after is None:
            return False
        at = after.end()
    return not body[at:].strip()


def _doubled_key(body: bytes) -> str | None:
    """The first key that appears twice, or None; slow, and right for every spelling."""
    scan = Scan()
    try:
        scan.feed(body)
        scan.end()
    except Doubled as error:
        return error.key
    return None
