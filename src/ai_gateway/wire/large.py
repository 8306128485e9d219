"""A call whose body is large: the same rules as for small ones, asked piece by piece.

Long texts are set aside while the rules are asked. The list that a call is about (messages, inputs) may be long
besides: it is looked at a few items at a time, so that no list of a million is ever made an object of.
"""

import re
from collections.abc import Generator, Sequence
from typing import Final, NoReturn

import msgspec

from ai_gateway.errors import InvalidRequest
from ai_gateway.wire.asides import Asides, finished
from ai_gateway.wire.call import Call, call_of, is_known
from ai_gateway.wire.json_guard import Fields
from ai_gateway.wire.json_scan import Piece, TooMuch, Value
from ai_gateway.wire.operations import OPERATIONS, ItemsRule, Operation

SMALL_VALUE: Final = 16 << 10  # bytes that are taken as they are
MOST_OF_FIELD: Final = 1 << 20  # of any value but the list that the call is about, long texts apart
MOST_OF_ITEM: Final = 256 << 10  # likewise of one of its items
SPLIT: Final = frozenset(one.text_field for one in OPERATIONS.values() if one.check_items is not None)

_PLACE: Final = re.compile(rf"\b({'|'.join(sorted(SPLIT))})\[(\d+)\]")

_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode

Steps = Generator[int, None, None]


def read_large(operation: Operation, values: dict[str, Value]) -> Generator[int, None, Call]:
    """The call in a body that was read in pieces, step by step; each yields by how much it has changed what is held.

    Raises InvalidRequest, as `read_call`.
    """
    asides = Asides()
    fields: Fields = {}
    long: _Items | None = None
    for key, value in values.items():
        known = is_known(key)
        if value.size <= SMALL_VALUE:
            fields[key] = msgspec.Raw(value.text())
        elif not known:  # nobody looks at it, Ollama neither
            fields[key] = msgspec.Raw(asides.whole(value))
        elif value.is_split and key == operation.text_field and operation.check_items is not None:
            long = _Items(key, value, asides, operation.check_items)
            fields[key] = msgspec.Raw((yield from long.light(0)))
        else:
            fields[key] = msgspec.Raw((yield from _light_field(key, value, asides)))
        yield 0
    call = call_of(operation, fields, asides)
    if long is not None:
        yield from long.judge(bytes(fields[long.key]))
        fields[long.key] = msgspec.Raw(asides.whole(long.value))
    return call


def _light_field(key: str, value: Value, asides: Asides) -> Generator[int, None, bytes]:
    try:
        return (yield from asides.light_value(value, MOST_OF_FIELD))
    except TooMuch:
        raise InvalidRequest(f"`{key}` is too large to be read.", code="invalid_value", param=key) from None


class _Items:
    """A long list on its way through the rules, group by group. Changed by `judge`, which exchanges groups."""

    def __init__(self, key: str, value: Value, asides: Asides, rule: ItemsRule) -> None:
        self.key = key
        self.value = value
        self._rule = rule
        self._asides = asides
        self._aside = asides  # what is set aside of the group that is looked at

    def judge(self, first: bytes) -> Steps:
        """Asks the rules about all groups but the first, which was judged with its call and came out as `first`."""
        yield self._exchange(0, first)
        for number in range(1, len(self.value.groups)):
            text = yield from self.light(number)
            try:
                mended = self._rule(text)
            except InvalidRequest as error:
                _refuse_at(error, self.value.groups[:number])
            yield 0 if mended is None else self._exchange(number, bytes(mended))

    def light(self, number: int) -> Generator[int, None, bytes]:
        """A group as a list of its own, in which long texts are short where there are any."""
        group = self.value.groups[number]
        self._aside = Asides(self._asides)
        if len(group) == 1:
            return b"[%b]" % group[0]
        try:
            return b"[%b]" % (yield from self._aside.light(group, MOST_OF_ITEM))
        except TooMuch:
            place = f"{self.key}[{_count(self.value.groups[:number])}]"
            message = f"`{place}` is too large to be read."
            raise InvalidRequest(message, code="invalid_value", param=place) from None

    def _exchange(self, number: int, text: bytes) -> int:
        """Puts other items in the place of a group; returns how many bytes more they are."""
        group = self.value.groups[number]
        if len(group) == 1 and text[1:-1] == group[0]:
            return 0
        mended = [piece if isinstance(piece, Piece) else Piece(piece) for piece in self._aside.pieces(text[1:-1])]
        self.value.groups[number] = mended
        return sum(map(len, mended)) - sum(map(len, group))


def _refuse_at(error: InvalidRequest, before: Sequence[list[Piece]]) -> NoReturn:
    """The same refusal, with the place that the item has in the whole list."""
    count = _count(before)

    def placed(found: "re.Match[str]") -> str:
        return f"{found[1]}[{count + int(found[2])}]"

    param = None if error.param is None else _PLACE.sub(placed, error.param)
    raise InvalidRequest(_PLACE.sub(placed, error.message), code=error.error_code, param=param) from None


def _count(groups: Sequence[list[Piece]]) -> int:
    """How many items there are; only for whoever is refused."""
    return sum(len(_decode_items(b"[%b]" % finished(Asides().light(group, MOST_OF_FIELD)))) for group in groups)
