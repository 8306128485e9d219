"""Entries in an SQLite file: the reading side, on a connection of its own that a writer never waits for."""

import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ai_gateway.audit.chain import Checkpoint, Row, read_checkpoint
from ai_gateway.audit.sqlite_failures import failures
from ai_gateway.audit.sqlite_integrity import reasons
from ai_gateway.audit.sqlite_rows import NAMES, Damaged, as_text, read_row
from ai_gateway.audit.sqlite_schema import ADDED, COMMON, CONDITIONS, INDEXES, VERSION, version_of
from ai_gateway.audit.sqlite_watch import Change, SqliteWatch, reader_of
from ai_gateway.audit.store import (
    MOST_INTENTS,
    MOST_TOKENS,
    DayUsage,
    OpenIntent,
    Page,
    Position,
    Query,
    StoreDamaged,
    StoreLost,
    StoreTooNew,
    StoreUnavailable,
    open_intents,
    reserved_by,
)

MOST_LOOKED_AT: Final = 5000  # entries for one page of filters that no index has together

MOST_VALUE_BYTES: Final = 64 << 20  # what a gateway writes is smaller, whatever `audit.max_content` says

# What has no place in the order of time is in no list; `verify` and the command's export tell of it.
_PLACED: Final = ("typeof(e.at_ns) = 'integer'", "typeof(e.writer) = 'text'", "typeof(e.sequence) = 'integer'")
_PLACES: Final = tuple(NAMES.index(name) for name in ("at_ns", "writer", "sequence"))
_ORDER: Final = "ORDER BY e.at_ns DESC, e.writer DESC, e.sequence DESC"
_CHECKPOINT: Final = ", ".join(Checkpoint.__struct_fields__)
# Of a number that somebody has changed no more is believed than of any other.
_BELIEVED: Final = "CASE typeof({0}) WHEN 'integer' THEN max(0, min({0}, {1})) ELSE {2} END"
_TOLD: Final = " + ".join(_BELIEVED.format(name, MOST_TOKENS, 0) for name in ("tokens_in", "tokens_out"))
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
        self._watch = SqliteWatch(path)

    def open(self) -> None:
        """A connection that cannot write."""
        self.close()
        with failures():
            found = self._path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise StoreDamaged(f"{self._path} is not a file")
            if not found.st_size:
                raise StoreDamaged(f"{self._path} is empty: it holds no audit")
            connection = connect(self._path)
            try:
                if version_of(connection)[0] == 0:
                    raise StoreDamaged(f"{self._path} holds no audit")
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            with suppress(OSError):  # a database that nobody writes to has no journal
                self._watch.hold()

    def page(self, query: Query) -> Page:
        """One walk along one index."""
        walked, rest = _plan(query)
        where, values = _where(query, walked)
        check = MOST_LOOKED_AT if rest else query.limit
        inner = f"FROM entries e INDEXED BY {INDEXES[walked]} WHERE {where} {_ORDER}"
        kept = "".join(f" AND e.{column} = ?" for column, _ in rest)
        sql = (
            f"SELECT {self._listed()} FROM (SELECT e.rowid AS place {inner} LIMIT ?) JOIN entries e ON e.rowid = place "  # noqa: S608
            f"WHERE true{kept} {_ORDER} LIMIT ?"
        )
        with failures():
            found = self._now().execute(sql, (*values, check, *(value for _, value in rest), query.limit)).fetchall()
            read = [read_row(row) for row in found]
            entries = [one for one in read if not isinstance(one, Damaged)]
            damaged = [one for one in read if isinstance(one, Damaged)]
            if len(found) == query.limit:
                return Page(entries, Position(*(found[-1][place] for place in _PLACES)), damaged)
            if not rest:
                return Page(entries, None, damaged)
            # Fewer than asked for: the walk goes on behind the last entry that was looked at, if there is one.
            last = (
                self._open()
                .execute(
                    f"SELECT e.at_ns, e.writer, e.sequence {inner} LIMIT 1 OFFSET ?",
                    (*values, check - 1),
                )
                .fetchone()
            )
        return Page(entries, Position(*last) if last else None, damaged)

    def unplaced(self) -> int:
        """A walk over all rows."""
        sql = f"SELECT count(*) FROM entries e WHERE NOT ({' AND '.join(_PLACED)})"  # noqa: S608
        with failures():
            return int(self._now().execute(sql).fetchone()[0])

    def usage_of_day(self, day: str) -> Sequence[DayUsage]:
        """A walk over the entries of that day."""
        since_ns = int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 10**9
        with failures():
            connection = self._now()
            counted = _column("tokens_counted", version_of(connection)[0])
            sql = (
                "SELECT auth_method, actor, CASE auth_method WHEN 'none' THEN client_address ELSE '' END, tenant, "  # noqa: S608
                f"model_asked, sum({_BELIEVED.format(counted, MOST_TOKENS, _TOLD)}) FROM entries e WHERE "
                "kind = 'end' AND at_ns >= ? AND at_ns < ? AND started_ns >= ? AND model_asked IS NOT NULL "
                "GROUP BY 1, 2, 3, 4, 5"
            )
            with connection:
                connection.execute("BEGIN")  # an intent is open or has its end, and never both
                rows = connection.execute(sql, (since_ns, since_ns + _DAY_NS, since_ns)).fetchall()
                intents = connection.execute("SELECT entry FROM intents LIMIT ?", (MOST_INTENTS,)).fetchall()
        used = [one for row in rows if (one := _usage(row)) is not None and one.tokens]
        return used + reserved_by(open_intents(row[0] for row in intents), since_ns)

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """One transaction."""
        with failures():
            connection = self._now()
            connection.execute("BEGIN")
        try:
            yield
        finally:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")

    def chain(self) -> Iterator[Row]:
        """Raises StoreTooNew where entries have columns that are not known here: their hashes could not be checked."""
        with failures():
            if version_of(self._open())[0] > VERSION:
                raise StoreTooNew("a newer gateway made this audit database; verify it with that version")
            sql = f"SELECT {self._listed()}, e.hash FROM entries e ORDER BY e.writer, e.sequence"  # noqa: S608
            try:
                for row in self._open().execute(sql):
                    yield read_row(row[:-1]), row[-1] if isinstance(row[-1], bytes) else b""
            except sqlite3.DataError as error:
                raise StoreDamaged(f"a value is larger than any that a gateway writes ({error})") from error

    def checkpoints(self) -> Iterator[Checkpoint]:
        """In no order."""
        with failures():
            for row in self._open().execute(f"SELECT {_CHECKPOINT} FROM checkpoints"):  # noqa: S608
                yield read_checkpoint(row)

    def open_intents(self) -> Iterator[OpenIntent]:
        """In no order."""
        with failures():
            for name, writer, content in self._open().execute("SELECT id, writer, entry FROM intents"):
                yield OpenIntent(str(name), str(writer), content if isinstance(content, str | bytes) else b"")

    def reasons(self) -> Iterator[str]:
        """Tables and indexes as they were made, each index with all its rows, each page whole."""
        with failures():
            yield from reasons(self._open())

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

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreUnavailable("the audit database is not open")
        return self._connection

    def _now(self) -> sqlite3.Connection:
        """Opened anew where other files than those that were opened are there now."""
        if self._watch.holds and self._connection is not None:
            try:
                is_stale = self._watch.check() is Change.JOURNAL
            except StoreLost:
                is_stale = True
            if is_stale:
                self.open()
        return self._open()

    def _listed(self) -> str:
        version = version_of(self._open())[0]
        return ", ".join(_column(name, version) for name in NAMES)


def _column(name: str, version: int) -> str:
    """A column, or nothing in its place where no newer gateway has opened the file for writing yet."""
    return f"e.{name}" if ADDED.get(name, 0) <= version else "NULL"


def connect(path: Path) -> sqlite3.Connection:
    """Cannot write; texts may be anything, and no value is larger than MOST_VALUE_BYTES."""
    connection = reader_of(path)
    connection.text_factory = as_text
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_VALUE_BYTES)
    connection.execute("PRAGMA query_only = 1")
    return connection


def _usage(row: Sequence[Any]) -> DayUsage | None:
    """None where somebody has changed what stands there."""
    *texts, tokens = row
    method, actor, address, tenant, model = texts
    if not all(isinstance(text, str) for text in (method, actor, address, model)) or not isinstance(tokens, int):
        return None
    return DayUsage(method, actor, address, tenant if isinstance(tenant, str) else None, model, tokens)


def _plan(query: Query) -> tuple[tuple[str, ...], list[tuple[str, Any]]]:
    """The columns whose index is walked, and the other filters with their values."""
    given = {column: value for name, column in _FILTERS.items() if (value := getattr(query, name)) is not None}
    walked = tuple(column for column, value in given.items() if (column, value) not in COMMON)[:1]
    if "request_id" not in given and {"actor", "model_asked"} <= set(given):
        walked = ("actor", "model_asked")
    return walked, [(column, value) for column, value in given.items() if column not in walked]


def _where(query: Query, walked: tuple[str, ...]) -> tuple[str, list[Any]]:
    parts: list[str] = ["e.kind = 'end'", CONDITIONS.get(walked, "true"), *_PLACED]
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
        # A writer that somebody has changed may be no UTF-8.
        parts.append("e.at_ns <= ? AND (e.at_ns < ? OR (e.writer, e.sequence) < (CAST(? AS TEXT), ?))")
        values += [after.at_ns, after.at_ns, after.writer.encode(errors="surrogateescape"), after.sequence]
    return " AND ".join(parts), values
