"""Rows of a store that are no entries any more: a person or a disk has changed them."""

from typing import Any, Final, get_args

import msgspec

from ai_gateway.audit.entry import AuditEntry, EntryKind, EntryOutcome, columns

_MOST: Final = 2**63 - 1
_TYPES: Final = {"text": (str, "a text"), "int": (int, "a whole number"), "bool": (bool, "true or false")}
_REQUIRED: Final = frozenset(field.name for field in msgspec.structs.fields(AuditEntry) if field.required)
_WORDS: Final = {"kind": get_args(EntryKind), "outcome": get_args(EntryOutcome)}
# Each column with the type of its values, what that is called, and whether it may be empty.
_COLUMNS: Final = tuple((name, *_TYPES[kind], name not in _REQUIRED) for name, kind in columns)
_MOST_SHOWN: Final = 40


class Damaged(msgspec.Struct, frozen=True):
    """A row that is no entry. `writer` and `sequence` as far as they can be read; `reason` says what is wrong."""

    writer: str
    sequence: int | None
    reason: str


def convert(values: dict[str, Any]) -> AuditEntry | Damaged:
    """The entry with these values, or what is wrong with the first one that no entry has."""
    for name, kind, words, may_be_none in _COLUMNS:
        value = values[name]
        if type(value) is kind:
            continue
        if value is not None or not may_be_none:
            return _damaged(values, f"{name} is {_shown(value)}, not {words}")
    for name, known in _WORDS.items():
        if values[name] not in known:
            return _damaged(values, f"{name} is {_shown(values[name])}, not one of {', '.join(known)}")
    return AuditEntry(**values)


def reason_of(entry: AuditEntry) -> str | None:
    """What makes an entry one that cannot be written as JSON: text that is not UTF-8, or a number of no store."""
    for name, value in zip(entry.__struct_fields__, msgspec.structs.astuple(entry), strict=True):
        if type(value) is str:
            try:
                value.encode()
            except UnicodeEncodeError:
                return f"{name} is not UTF-8"
        elif type(value) is int and not -_MOST - 1 <= value <= _MOST:
            return f"{name} is {_shown(value)}, larger than any number of a store"
    return None


def _damaged(values: dict[str, Any], reason: str) -> Damaged:
    writer, sequence = values["writer"], values["sequence"]
    name = writer if isinstance(writer, str) else f"({_shown(writer)})"
    return Damaged(name.encode(errors="replace").decode(), sequence if isinstance(sequence, int) else None, reason)


def _shown(value: Any) -> str:
    """A value in a few words; its text may be a person's, so that little of it is shown."""
    if value is None:
        return "empty"
    if isinstance(value, bytes | memoryview):
        return f"{len(value)} bytes"
    text = value.encode(errors="replace").decode() if isinstance(value, str) else str(value)
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}...")
