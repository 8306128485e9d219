"""Checks a call with a large body by the same rules as small ones, piece by piece.

Placeholders stand for long texts meanwhile. The list of messages or inputs may be long too: the rules check a few
items at a time, so that a list of a million never becomes objects at once.
"""

import re
from collections.abc import Generator, Sequence
from typing import Final, NoReturn

import msgspec

from ai_gateway.errors import InvalidRequest
from ai_gateway.wire.call import Call, call_of, is_known
from ai_gateway.wire.json_guard import Fields
from ai_gateway.wire.json_scan import Ending, Inner, Piece, TooMuch, Value
from ai_gateway.wire.json_windows import text_end
from ai_gateway.wire.operations import OPERATIONS, ItemsRule, Operation
from ai_gateway.wire.placeholders import Placeholders, finished

SMALL_VALUE: Final = 16 << 10  # bytes; smaller values are read whole
MOST_OF_FIELD: Final = 1 << 20  # of any value but the call's long list, without long texts
MOST_OF_ITEM: Final = 256 << 10  # of an item of that list, without long texts
SPLIT: Final = frozenset(one.text_field for one in OPERATIONS.values() if one.check_items is not None)

_PLACE: Final = re.compile(rf"\b({'|'.join(sorted(SPLIT))})\[(\d+)\]")

_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode

Steps = Generator[int, None, None]


def read_large(operation: Operation, values: dict[str, Value]) -> Generator[int, None, Call]:
    """The call in a body that was read in pieces. Each step yields by how many bytes it changed the memory in use.

    Raises InvalidRequest, as `read_call`.
    """
    placeholders = Placeholders()
    fields: Fields = {}
    long: _Items | None = None
    for key, value in values.items():
        known = is_known(key)
        if value.size <= SMALL_VALUE:
            fields[key] = msgspec.Raw(value.text())
        elif not known:  # neither the gateway nor Ollama reads it
            fields[key] = msgspec.Raw(placeholders.whole(value))
        elif value.is_split and key == operation.text_field and operation.check_items is not None:
            long = _Items(key, value, placeholders, operation.check_items)
            fields[key] = msgspec.Raw((yield from long.light(0)))
        else:
            fields[key] = msgspec.Raw((yield from _shortened_field(key, value, placeholders)))
        yield 0
    call = call_of(operation, fields, placeholders)
    if long is not None:
        yield from long.check(bytes(fields[long.key]))
        fields[long.key] = msgspec.Raw(placeholders.whole(long.value))
    return call


def _shortened_field(key: str, value: Value, placeholders: Placeholders) -> Generator[int, None, bytes]:
    try:
        return (yield from placeholders.shortened_value(value, MOST_OF_FIELD))
    except TooMuch:
        raise InvalidRequest(f"`{key}` is too large.", code="invalid_value", param=key) from None


class _Items:
    """A long list that the rules check group by group. Changed by `check`, which replaces groups."""

    def __init__(self, key: str, value: Value, placeholders: Placeholders, rule: ItemsRule) -> None:
        self.key = key
        self.value = value
        self._rule = rule
        self._body_placeholders = placeholders
        self._placeholders = placeholders  # of the current group

    def check(self, first: bytes) -> Steps:
        """Checks all groups but the first. The first was checked with its call; `first` is the result."""
        yield self._exchange(0, first)
        for number in range(1, len(self.value.groups)):
            text = yield from self.light(number)
            try:
                normalized = self._rule(text)
            except InvalidRequest as error:
                _refuse_at(error, self.value.groups[:number])
            yield 0 if normalized is None else self._exchange(number, bytes(normalized))

    def light(self, number: int) -> Generator[int, None, bytes]:
        """A group as a list of its own, with placeholders for long texts."""
        group = self.value.groups[number]
        self._placeholders = Placeholders(self._body_placeholders)
        if len(group) == 1:
            return b"[%b]" % group[0]
        try:
            return b"[%b]" % (yield from self._placeholders.shortened(group, MOST_OF_ITEM))
        except TooMuch:
            place = f"{self.key}[{_count(self.value.groups[:number])}]"
            message = f"`{place}` is too large."
            raise InvalidRequest(message, code="invalid_value", param=place) from None

    def _exchange(self, number: int, text: bytes) -> int:
        """Replaces a group; returns by how many bytes the new items are longer."""
        group = self.value.groups[number]
        if len(group) == 1 and text[1:-1] == group[0]:
            return 0
        normalized: list[Piece] = []
        for piece in self._placeholders.pieces(text[1:-1]):
            normalized.append(piece if isinstance(piece, Piece) else _piece(piece, is_first=not normalized))
        self.value.groups[number] = normalized
        return sum(map(len, normalized)) - sum(map(len, group))


def _piece(text: bytes, *, is_first: bool) -> Piece:
    """A part of a group with placeholders. They stand in texts, so each part but the first begins in one."""
    if is_first:
        return Piece(text)
    return Inner(text) if text_end(text, 0) < 0 else Ending(text)


def _refuse_at(error: InvalidRequest, before: Sequence[list[Piece]]) -> NoReturn:
    """The same error, with the item's index in the whole list."""
    count = _count(before)

    def placed(found: "re.Match[str]") -> str:
        return f"{found[1]}[{count + int(found[2])}]"

    param = None if error.param is None else _PLACE.sub(placed, error.param)
    raise InvalidRequest(_PLACE.sub(placed, error.message), code=error.error_code, param=param) from None


def _count(groups: Sequence[list[Piece]]) -> int:
    """How many items there are; slow, for errors only."""
    return sum(
        len(_decode_items(b"[%b]" % finished(Placeholders().shortened(group, MOST_OF_FIELD)))) for group in groups
    )
