"""Rows of SQLite as entries. Its columns take any value: a row that is no entry is reported as damaged."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from ai_gateway.audit.damage import Damaged, convert
from ai_gateway.audit.entry import AuditEntry, columns
from ai_gateway.audit.tables import NAMES
from ai_gateway.wire.printable import utf8

_BOOLS: Final = tuple((place, name) for place, (name, kind) in enumerate(columns) if kind == "bool")
_BITS: Final = {0: False, 1: True}

# SQLite's own reading of a text that is not UTF-8 would end the whole query.
as_text: Final = partial(str, encoding="utf-8", errors="surrogateescape")


def is_text(value: object) -> bool:
    """Whether it is a text that was UTF-8."""
    return isinstance(value, str) and (value.isascii() or utf8(value) == value)


def read_row(row: Sequence[Any]) -> AuditEntry | Damaged:
    """The entry of a row with the columns NAMES, or what is wrong with it."""
    values = dict(zip(NAMES, row, strict=True))
    for place, name in _BOOLS:
        value = row[place]
        if type(value) is int and value in _BITS:
            values[name] = _BITS[value]
    return convert(values)
