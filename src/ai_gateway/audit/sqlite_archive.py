"""Entries in an SQLite file: the reading side, on a connection of its own that a writer never waits for."""

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ai_gateway.audit.chain import Checkpoint
from ai_gateway.audit.entry import Entry, columns
from ai_gateway.audit.sqlite import BUSY_SECONDS, failures
from ai_gateway.audit.sqlite_schema import ADDED, COMMON, CONDITIONS, INDEXES, VERSION, version_of
from ai_gateway.audit.store import (
    MOST_INTENTS,
    MOST_TOKENS,
    DayUsage,
    Page,
    Position,
    Query,
    StoreTooNew,
    StoreUnavailable,
    open_intents,
    reserved_by,
)

MOST_LOOKED_AT: Final = 5000  # entries for one page of filters that no index has together

_NAMES: Final = tuple(name for name, _ in columns)
_BOOLS: Final = tuple(place for place, (_, kind) in enumerate(columns) if kind == "bool")
_ORDER: Final = "ORDER BY e.at_ns DESC, e.writer DESC, e.sequence DESC"
_CHECKPOINT: Final = ", ".join(Checkpoint.__struct_fields__)
_TOLD: Final = " + ".join(f"min(coalesce({name}, 0), {MOST_TOKENS})" for name in ("tokens_in", "tokens_out"))
_DAY_NS: Final = 86_400 * 10**9
# The filters by the column that they look at, the most selective first: the first one chooses the index.
_FILTERS: Final = {
    "request_id": "request_id", "actor": "actor", "model": "model_asked", "tenant": "tenant", "status": "status",
    "outcome": "outcome",
}  # fmt: skip


class SqliteArchive:
    """The database at `path`, which must be there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """A connection that cannot write."""
        self.close()
        with failures():
            uri = f"{self._path.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
            connection.execute("PRAGMA query_only = 1")
            if version_of(connection)[0] == 0:
                connection.close()
                raise StoreUnavailable(f"{self._path} holds no audit")
            self._connection = connection

    def page(self, query: Query) -> Page:
        """One walk along one index."""
        walked, rest = _plan(query)
        where, values = _where(query, walked)
        look = MOST_LOOKED_AT if rest else query.limit
        inner = f"FROM entries e INDEXED BY {INDEXES[walked]} WHERE {where} {_ORDER}"
        kept = "".join(f" AND e.{column} = ?" for column, _ in rest)
        sql = (
            f"SELECT {self._listed()} FROM (SELECT e.rowid AS place {inner} LIMIT ?) JOIN entries e ON e.rowid = place "  # noqa: S608
            f"WHERE true{kept} {_ORDER} LIMIT ?"
        )
        with failures():
            found = self._open().execute(sql, (*values, look, *(value for _, value in rest), query.limit)).fetchall()
            entries = [_entry(row) for row in found]
            if len(entries) == query.limit:
                return Page(entries, position(entries[-1]))
            if not rest:
                return Page(entries, None)
            # Fewer than asked for: the walk goes on behind the last entry that was looked at, if there is one.
            last = (
                self._open()
                .execute(
                    f"SELECT e.at_ns, e.writer, e.sequence {inner} LIMIT 1 OFFSET ?",
                    (*values, look - 1),
                )
                .fetchone()
            )
        return Page(entries, Position(*last) if last else None)

    def usage_of_day(self, day: str) -> Sequence[DayUsage]:
        """A walk over the entries of that day."""
        since_ns = int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 10**9
        with failures():
            counted = _column("tokens_counted", version_of(self._open())[0])
            sql = (
                "SELECT auth_method, actor, CASE auth_method WHEN 'none' THEN client_address ELSE '' END, tenant, "  # noqa: S608
                f"model_asked, sum(coalesce({counted}, {_TOLD})) FROM entries e WHERE "
                "kind = 'end' AND at_ns >= ? AND at_ns < ? AND started_ns >= ? AND model_asked IS NOT NULL "
                "GROUP BY 1, 2, 3, 4, 5"
            )
            with self._open() as connection:
                connection.execute("BEGIN")  # an intent is open or has its end, and never both
                rows = connection.execute(sql, (since_ns, since_ns + _DAY_NS, since_ns)).fetchall()
                intents = connection.execute("SELECT entry FROM intents LIMIT ?", (MOST_INTENTS,)).fetchall()
        used = [DayUsage(*row) for row in rows if row[-1]]
        return used + reserved_by(open_intents(row[0] for row in intents), since_ns)

    def chain(self) -> Iterator[tuple[Entry, bytes]]:
        """Raises StoreTooNew where entries have columns that are not known here: their hashes could not be checked."""
        with failures():
            if version_of(self._open())[0] > VERSION:
                raise StoreTooNew("a newer gateway made this audit database; verify it with that version")
            sql = f"SELECT {self._listed()}, e.hash FROM entries e ORDER BY e.writer, e.sequence"  # noqa: S608
            for row in self._open().execute(sql):
                yield _entry(row[:-1]), row[-1] if isinstance(row[-1], bytes) else b""

    def checkpoints(self) -> Sequence[Checkpoint]:
        """In no order."""
        with failures():
            rows = self._open().execute(f"SELECT {_CHECKPOINT} FROM checkpoints").fetchall()  # noqa: S608
        return [Checkpoint(*row) for row in rows]

    def interrupt(self) -> None:
        """See sqlite3_interrupt: the question ends with an error."""
        connection = self._connection
        if connection is not None:
            connection.interrupt()

    def close(self) -> None:
        """Closes the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _listed(self) -> str:
        version = version_of(self._open())[0]
        return ", ".join(_column(name, version) for name in _NAMES)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreUnavailable("the audit database is not open")
        return self._connection


def _column(name: str, version: int) -> str:
    """A column, or nothing in its place where no newer gateway has opened the file for writing yet."""
    return f"e.{name}" if ADDED.get(name, 0) <= version else "NULL"


def position(entry: Entry) -> Position:
    """Where an entry stands in the list."""
    return Position(entry.at_ns, entry.writer, entry.sequence)


def _entry(row: Sequence[Any]) -> Entry:
    """What stands there, whatever it is: somebody may have edited it, and verification must say so."""
    values = list(row)
    for place in _BOOLS:
        values[place] = bool(values[place])
    return Entry(**dict(zip(_NAMES, values, strict=True)))


def _plan(query: Query) -> tuple[tuple[str, ...], list[tuple[str, Any]]]:
    """The columns whose index is walked, and the other filters with their values."""
    given = {column: value for name, column in _FILTERS.items() if (value := getattr(query, name)) is not None}
    walked = tuple(column for column, value in given.items() if (column, value) not in COMMON)[:1]
    if "request_id" not in given and {"actor", "model_asked"} <= set(given):
        walked = ("actor", "model_asked")
    return walked, [(column, value) for column, value in given.items() if column not in walked]


def _where(query: Query, walked: tuple[str, ...]) -> tuple[str, list[Any]]:
    parts: list[str] = ["e.kind = 'end'", CONDITIONS.get(walked, "true")]
    values: list[Any] = []
    given = {column: getattr(query, name) for name, column in _FILTERS.items()}
    for column in walked:
        parts.append(f"e.{column} = ?")
        values.append(given[column])
    if query.since_ns is not None:
        parts.append("e.at_ns >= ?")
        values.append(query.since_ns)
    if query.until_ns is not None:
        parts.append("e.at_ns < ?")
        values.append(query.until_ns)
    if query.after is not None:
        after = query.after
        parts.append("e.at_ns <= ? AND (e.at_ns < ? OR (e.writer, e.sequence) < (?, ?))")
        values += [after.at_ns, after.at_ns, after.writer, after.sequence]
    return " AND ".join(parts), values
