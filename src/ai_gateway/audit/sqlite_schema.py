"""The tables of the SQLite store and how they came to be: one step for each version, forward only.

Whether the tables are still as they were made is found here, too: an index that lacks a row hides it from every list.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Final

from ai_gateway.audit.entry import ColumnKind, columns
from ai_gateway.audit.sqlite_failures import transaction
from ai_gateway.audit.store import StoreDamaged
from ai_gateway.audit.tables import CHANGED, INDEXES, Step, check_writable

_TYPES: Final[dict[ColumnKind, str]] = {"text": "TEXT", "int": "INTEGER", "bool": "INTEGER"}


# What is in an index; a query that walks it must say the same. What is true of nearly every entry is in none: a walk
# along the time finds those soon enough, and each index costs 3 us per entry.
CONDITIONS: Final[dict[tuple[str, ...], str]] = {
    ("tenant",): "tenant IS NOT NULL",
    ("status",): "status <> 200",
    ("outcome",): "outcome <> 'ok'",
}
COMMON: Final = (("status", 200), ("outcome", "ok"))


MOST_REASONS: Final = 20
_MADE: Final = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
_OWN: Final = ("entries", "intents", "writers", "checkpoints", "schema")
# Programs of its own would run with each write, and a view could stand in the place of a table.
_FOREIGN: Final = ("trigger", "view")


def _first() -> tuple[str, ...]:
    listed = ", ".join(f"{name} {_TYPES[kind]}" for name, kind in columns)
    indexes = [
        f"CREATE INDEX {name} ON entries ({', '.join((*keys, 'at_ns'))}) "
        f"WHERE kind = 'end' AND {CONDITIONS.get(keys, 'true')}"
        for keys, name in INDEXES.items()
    ]
    return (
        f"CREATE TABLE entries ({listed}, hash BLOB)",
        "CREATE UNIQUE INDEX chain ON entries (writer, sequence)",
        *indexes,
        "CREATE TABLE intents (id TEXT PRIMARY KEY, writer TEXT, entry BLOB) WITHOUT ROWID",
        "CREATE TABLE writers (writer TEXT PRIMARY KEY, seen_ns INTEGER) WITHOUT ROWID",
        "CREATE TABLE checkpoints (kind TEXT, writer TEXT, sequence INTEGER, hash TEXT, at_ns INTEGER, seal TEXT)",
        "CREATE INDEX checkpoints_writer ON checkpoints (writer, sequence)",
        "CREATE INDEX checkpoints_time ON checkpoints (at_ns)",
    )


STEPS: Final = (Step(_first()),)


def migrate(connection: sqlite3.Connection, steps: Sequence[Step] = STEPS) -> None:
    """Takes the steps that are missing, in one transaction. Raises StoreTooNew."""
    version, writable_from = version_of(connection)
    if version >= len(steps):
        check_writable(writable_from, len(steps))
        return
    with transaction(connection):
        # Another gateway may have been faster.
        version, writable_from = version_of(connection)
        connection.execute("CREATE TABLE IF NOT EXISTS schema (version INTEGER, writable_from INTEGER)")
        for step in steps[version:]:
            for statement in step.statements:
                connection.execute(statement)
            writable_from = max(writable_from, step.writable_from)
        connection.execute("DELETE FROM schema")
        connection.execute("INSERT INTO schema VALUES (?, ?)", (max(version, len(steps)), writable_from))


def version_of(connection: sqlite3.Connection) -> tuple[int, int]:
    """The version of the tables and the least one that may write; (0, 0) for an empty database."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema'").fetchone():
        return 0, 0
    row = connection.execute("SELECT version, writable_from FROM schema").fetchone()
    if row is None or any(type(value) is not int or value < 1 for value in row):
        raise StoreDamaged(CHANGED)
    return row[0], row[1]


def reasons(connection: sqlite3.Connection) -> Iterator[str]:
    """A sentence for each thing that is not as it was made; what SQLite finds itself comes last."""
    wanted = _wanted()
    for kind, name, sql in connection.execute(_MADE):
        made = wanted.pop((kind, name), None)
        if made is None and (kind in _FOREIGN or name in _OWN):
            yield f"there is a {kind} {name}, which no gateway has made"
        elif made is not None and made != sql:
            yield f"the {kind} {name} is not as a gateway makes it"
    for kind, name in wanted:
        yield f"the {kind} {name} is gone"
    for (found,) in connection.execute(f"PRAGMA integrity_check({MOST_REASONS})"):
        if found != "ok":
            yield f"SQLite finds: {found}"


def _wanted() -> dict[tuple[str, str], str]:
    """What a gateway of this version makes."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        migrate(fresh)
        return {(kind, name): sql for kind, name, sql in fresh.execute(_MADE)}
