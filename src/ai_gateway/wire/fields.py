"""Reads the top-level fields of a body: normalizes a value that has one meaning, or refuses the field by name.

A long list is read in runs, so that of megabytes only a few hundred KiB are objects at once.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, Generic, NoReturn, TypeVar

import msgspec

from ai_gateway.errors import InvalidRequest
from ai_gateway.wire.json_guard import Fields
from ai_gateway.wire.unreadable import UNREADABLE

NULL: Final = msgspec.Raw(b"null")
MAX_NUMBER_LENGTH: Final = 128  # bytes of a number's text; programs print a float in 25 characters at most
MAX_SHORT_BYTES: Final = 64 << 10  # of a value that is always short
MAX_FLOAT: Final = 3.4028234e38  # Ollama computes with 32 bits, and answers 500 to larger numbers

_HUGE: Final = re.compile(rb"[0-9][eE]\+?0*[0-9]{3}")

_decode = msgspec.json.Decoder().decode
# How msgspec words what is wrong: `Expected `str | null`, got `int` - at `$[3].name``.
_WRONG_TYPE: Final = re.compile(r"Expected `(.+?)`, got `(.+?)`")
_MISSING: Final = re.compile(r"Object missing required field `(.+?)`")
_PLACE: Final = re.compile(r" - at `\$(.*)`$")
_INDEX: Final = re.compile(r"^\[(\d+)\]")
_TYPE_NAMES: Final = {
    "str": "a string", "int": "a number", "float": "a number", "bool": "true or false", "array": "a list",
    "object": "an object", "null": "null",
}  # fmt: skip


class AnyObject(msgspec.Struct, frozen=True, gc=False):
    """A JSON object whose content is skipped: decoding checks the syntax and keeps nothing."""


def refuse(param: str, message: str, code: str = "invalid_value") -> NoReturn:
    """Raises InvalidRequest for one field."""
    raise InvalidRequest(message, code=code, param=param)


def refuse_many(count: int, most: int, what: str, path: str) -> None:
    """Raises InvalidRequest for a list of more than `most` items."""
    if count > most:
        refuse(path, f"`{path}` has more than {most} {what}; send fewer.")


def given(fields: Fields, key: str) -> bytes | None:
    """The JSON text of a value, or None if the value is absent or null."""
    raw = fields.get(key)
    if raw is None:
        return None
    text = bytes(raw)
    return None if text == b"null" else text


def read_value(text: bytes, key: str) -> Any:
    """Decodes a value that `read_object` has checked. Raises InvalidRequest for a number that no float can hold."""
    try:
        return _decode(text)
    except msgspec.DecodeError as error:
        refuse(key, f"`{key}` cannot be read: {error}.")


def check_numbers(text: bytes, key: str) -> None:
    """Raises InvalidRequest if any number in a value is too large for a float. Decodes only what looks like one."""
    if _HUGE.search(text) is not None:
        read_value(text, key)


def flag(fields: Fields, key: str) -> bool:
    """True or false; absent is false."""
    text = given(fields, key)
    if text is None:
        return False
    if text not in (b"true", b"false"):
        refuse(key, f"`{key}` must be true or false.")
    return text == b"true"


def whole_number(fields: Fields, key: str, lowest: int, highest: int, *, expected: str = "") -> int | None:
    """An int. Ollama wants plain digits: `100.0` and `1e2`, as JavaScript and Python may write it, become 100."""
    text = given(fields, key)
    if text is None:
        return None
    value = _whole(text)
    if value is None or not lowest <= value <= highest:
        refuse(key, f"`{key}` must be {expected or f'a whole number from {lowest} to {highest}'}.")
    fields[key] = msgspec.Raw(b"%d" % value)
    return value


def _whole(text: bytes) -> int | None:
    value = _number(text)
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value


def _number(text: bytes) -> int | float | None:
    if len(text) > MAX_NUMBER_LENGTH:
        return None
    try:
        value = _decode(text)
    except UNREADABLE:  # too large for a float
        return None
    return value if type(value) in (int, float) else None


def number(fields: Fields, key: str) -> None:
    """A number that a float of 32 bits can hold."""
    text = given(fields, key)
    if text is None:
        return
    value = _number(text)
    if value is None or abs(value) > MAX_FLOAT:
        refuse(key, f"`{key}` must be a number, and no larger than {MAX_FLOAT:.1e}.")


def refuse_shape(error: msgspec.ValidationError, param: str, first: int | None = None) -> NoReturn:
    """Raises InvalidRequest that names the part with the wrong shape; `first` is the index of the run's first item."""
    message = str(error)
    place = _PLACE.search(message)
    path = place[1] if place else ""
    if first is not None:
        path = _INDEX.sub(lambda found: f"[{first + int(found[1])}]", path)
    # Below the first level, msgspec writes three dots for a member of a dict.
    where = param + path.replace("[...]", "")
    if (missing := _MISSING.search(message)) is not None:
        refuse(f"{where}.{missing[1]}", f"`{where}.{missing[1]}` is missing.", "missing_value")
    wrong = _WRONG_TYPE.search(message)
    if wrong is None:
        refuse(where, f"`{where}` cannot be read: {message.partition(' - at ')[0]}.")
    wanted, found = (" or ".join(_TYPE_NAMES.get(one, one) for one in kinds.split(" | ")) for kinds in wrong.groups())
    wanted = wanted.replace("a number", "a whole number") if "int" in wrong[1] else wanted
    refuse(where, f"`{where}` must be {wanted}, not {found}.")


RUN_BYTES: Final = 64 << 10

T = TypeVar("T")

# Where one object may end and the next begin. Strings and deeper lists can look the same: a run that ends there is
# not a list, since brackets stay open, and the next place is tried.
_BETWEEN: Final = re.compile(rb"\}(?=[ \t\n\r]*,[ \t\n\r]*\{)")


class Run(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """Some adjacent items. `text` is a JSON list of them, `at` their position in the whole list."""

    items: list[T]
    text: bytes
    at: int


def runs(text: bytes, decoder: "msgspec.json.Decoder[list[T]]") -> Iterator[Run[T]]:
    """The items of a list that is valid JSON, in runs. Raises msgspec.ValidationError for an item of another shape."""
    if len(text) <= RUN_BYTES:
        yield Run(decoder.decode(text), text, 1)
        return
    at, size, end = 1, RUN_BYTES, len(text) - 1
    while at < end:
        cut = _cut(text, at + size, end)
        is_all = at == 1 and cut == end
        run = text if is_all else b"".join((b"[", memoryview(text)[at:cut], b"]"))
        try:
            items = decoder.decode(run)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            if cut == end:
                raise
            size *= 2
            continue
        yield Run(items, run, at)
        at, size = text.find(b",", cut, end) + 1 or end, RUN_BYTES


def _cut(text: bytes, after: int, end: int) -> int:
    """The end of an object after `after` that another may follow, else the end of the list."""
    brace = text.find(b"}", after, end)
    found = None if brace < 0 else _BETWEEN.search(text, brace, end)
    return end if found is None else found.end()
