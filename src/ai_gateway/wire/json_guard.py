"""What a request body must be before anything in it is believed: one JSON object, in clean UTF-8, each key once.

Ollama reads JSON with Go's encoding/json: keys match whatever their case and the last duplicate wins. So a body
is parsed here, judged here, and only what was parsed here is written upstream; its bytes never are.
"""

import re
from typing import Final

import msgspec

from ai_gateway.errors import InvalidRequest
from ai_gateway.wire import surrogates

MAX_DEPTH: Final = 32

Fields = dict[str, msgspec.Raw]

_decode_fields = msgspec.json.Decoder(Fields).decode

_KEY = re.compile(rb'[ \t\n\r]*"[^"\\]*"[ \t\n\r]*:[ \t\n\r]*')
_AFTER_VALUE = re.compile(rb"[ \t\n\r]*[,}]")
_BRACKETS = bytes.maketrans(b"{[]}", b"(())")
_NO_BRACKETS = bytes(set(range(256)) - set(b'{}[]"'))
_STRING = re.compile(rb'"[^"]*"')
_TOO_MANY_OPEN = b"(" * (MAX_DEPTH + 1)


def read_object(body: bytes, known: dict[str, str]) -> Fields:
    """The top-level keys of a JSON object and their values, unread.

    `known` maps each case-folded key that means something to its one right spelling. Raises InvalidRequest
    for what is no JSON object, is not UTF-8, nests deeper than MAX_DEPTH, or has a key doubled or misspelt by
    case alone.
    """
    try:
        _check_text(body)
        body, fields = _read(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(_why_not_json(body, error), code="invalid_json") from None
    except RecursionError:
        raise _too_deep() from None
    _check_keys(body, fields, known)
    return fields


def _read(body: bytes) -> tuple[bytes, Fields]:
    """The fields and the body they were read from: its own text, or one without halves of surrogate pairs."""
    try:
        return body, _decode_fields(body)
    except msgspec.DecodeError:
        mended = surrogates.mended(body)
        if mended is None:
            raise
        return mended, _decode_fields(mended)


def _check_text(body: bytes) -> None:
    if not body.isascii():
        body.decode()
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _is_deep(body):
        raise _too_deep()


def _is_deep(body: bytes) -> bool:
    """Whether brackets outside strings nest deeper than MAX_DEPTH; each pass takes the innermost pairs away."""
    skeleton = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_BRACKETS)
    # Two quotes side by side leave all else inside or outside strings as it is, and most strings are that by now.
    brackets = _STRING.sub(b"", skeleton.replace(b'""', b"")).translate(_BRACKETS, b'"')
    for _ in range(MAX_DEPTH):
        if _TOO_MANY_OPEN in brackets:  # a body of brackets alone must not cost the passes
            return True
        brackets = brackets.replace(b"()", b"")
        if not brackets:
            return False
    return True


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
        return "The body is not valid JSON: an escape in it is broken."
    if isinstance(error, msgspec.ValidationError) and not body.lstrip().startswith(b"{"):
        return "The body must be a JSON object."
    return f"The body is not valid JSON: {error}."


def _check_keys(body: bytes, fields: Fields, known: dict[str, str]) -> None:
    for key in fields:
        right = known.get(key) or known.get(key.casefold())
        if right is not None and right != key:
            message = f"Key {key!r} is not spelt exactly as {right!r}; Ollama would read it as that one."
            raise InvalidRequest(message, code="ambiguous_key", param=key)
    if len({key.casefold() for key in fields}) == len(fields) and _stand_once(body, fields):
        return
    doubled = _doubled_key(body)
    if doubled is not None:
        message = f"Key {doubled!r} stands more than once (letter case does not tell keys apart)."
        raise InvalidRequest(message, code="duplicate_key", param=doubled)


def _stand_once(body: bytes, fields: Fields) -> bool:
    """Whether each key surely stands once. Without `\\u` a plain key has one spelling, so counting it decides."""
    if b"\\u" in body:
        return _walk(body, fields)
    for key in fields:
        if not (key.isascii() and key.isidentifier()) or body.count(b'"%b"' % key.encode()) != 1:
            return _walk(body, fields)
    return True


def _walk(body: bytes, fields: Fields) -> bool:
    """Whether the body consists of exactly these keys and values, walked from value to value.

    A decoder that keeps the last of two equal keys keeps the first one's place, so a doubled key makes the
    walk meet another value, or more keys, than `fields` holds. A key with an escape in it ends the walk too.
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
    """The first key that stands twice, if any does; slow, and right for every spelling."""
    seen: set[str] = set()
    for key in _keys(body):
        if key.casefold() in seen:
            return key
        seen.add(key.casefold())
    return None


def _keys(body: bytes) -> list[str]:
    import json  # only here: the one decoder that shows a pair twice

    pairs: list[list[tuple[str, object]]] = []
    json.loads(body, object_pairs_hook=pairs.append, parse_int=str, parse_float=str)
    return [key for key, _ in pairs[-1]]
