"""Entries as people and programs get them: JSON values, lines of JSON (NDJSON), and CSV. Made of `entry.columns`."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from ai_gateway.audit.entry import AuditEntry, columns
from ai_gateway.wire.printable import printable_json, utf8
from ai_gateway.wire.timestamp import timestamp

# What a spreadsheet takes for a formula at the start of a cell (OWASP, "CSV Injection"), full-width signs, too.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NAMES: Final = ("time", *(name for name, _ in columns))

_encode = msgspec.json.Encoder().encode


def as_value(entry: AuditEntry) -> dict[str, Any]:
    """All columns, and before them `time`: the end in RFC 3339, for people. What is not UTF-8 is shown as an escape."""
    values = {"time": timestamp(entry.at_ns), **msgspec.structs.asdict(entry)}
    for name, value in values.items():
        if type(value) is str and not value.isascii():
            values[name] = utf8(value)
    return values


def as_lines(entries: Iterable[AuditEntry]) -> Iterator[bytes]:
    """A line of JSON for each, which nothing in it makes more than that to a terminal."""
    for entry in entries:
        yield printable_json(_encode(as_value(entry))) + b"\n"


def as_csv(entries: Iterable[AuditEntry]) -> Iterator[bytes]:
    """A head line and a line for each (RFC 4180), in UTF-8; nothing in it is a formula to a spreadsheet."""
    yield _row(_NAMES)
    for entry in entries:
        yield _row(tuple(_cell(value) for value in as_value(entry).values()))


def _row(cells: tuple[str, ...]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return "'" + text if isinstance(value, str) and text.startswith(_FORMULA) else text
