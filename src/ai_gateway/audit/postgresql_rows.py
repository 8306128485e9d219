"""Entries as rows of PostgreSQL and back."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ai_gateway.audit.damage import Damaged, convert
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.tables import NAMES

# What PostgreSQL has no place for in a text, and the sign that stands before it. A client may send both.
_NUL: Final = "\x00"
_SIGN: Final = "\x1a"


def to_text(value: str) -> str:
    """Any text as PostgreSQL can keep it."""
    if _NUL not in value and _SIGN not in value:
        return value
    return value.replace(_SIGN, _SIGN + _SIGN).replace(_NUL, _SIGN + "0")


def from_text(value: str) -> str:
    """The text that was given to `to_text`."""
    if _SIGN not in value:
        return value
    parts = value.split(_SIGN + _SIGN)
    return _SIGN.join(part.replace(_SIGN + "0", _NUL) for part in parts)


def to_row(entry: AuditEntry) -> tuple[Any, ...]:
    """The values in the order of NAMES."""
    return tuple([to_text(value) if type(value) is str else value for value in msgspec.structs.astuple(entry)])


def from_row(row: Sequence[Any]) -> AuditEntry | Damaged:
    """The entry of a row with the columns NAMES, or what is wrong with it."""
    values = [from_text(value) if type(value) is str else value for value in row]
    return convert(dict(zip(NAMES, values, strict=True)))
