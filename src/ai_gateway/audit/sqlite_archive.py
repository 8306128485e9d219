"""Entries in an SQLite file: the reading side, on a connection of its own that a writer never waits for."""

import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from ai_gateway.audit import tables
from ai_gateway.audit.chain import Checkpoint, Row, read_checkpoint
from ai_gateway.audit.sqlite_failures import failures
from ai_gateway.audit.sqlite_rows import as_text, read_row
from ai_gateway.audit.sqlite_schema import COMMON, CONDITIONS, reasons, version_of
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
    charged_by,
    open_intents,
)

MOST_VALUE_BYTES: Final = 64 << 20  # what a gateway writes is smaller, whatever `audit.max_content` says

# What has no place in the order of time is in no list; `verify` and the command's export report it.
_PLACED: Final = ("typeof(e.at_ns) = 'integer'", "typeof(e.writer) = 'text'", "typeof(e.sequence) = 'integer'")
_ORDER: Final = "ORDER BY e.at_ns DESC, e.writer DESC, e.sequence DESC"
# A number that was changed counts for no more than a call can have.
_BELIEVED: Final = "CASE typeof({0}) WHEN 'integer' THEN max(0, min({0}, {1})) ELSE {2} END"
_BY_OLLAMA: Final = " + ".join(_BELIEVED.format(name, MOST_TOKENS, 0) for name in ("tokens_in", "tokens_out"))
_TOKENS: Final = f"sum({_BELIEVED.format('tokens_counted', MOST_TOKENS, _BY_OLLAMA)})"
_LISTED: Final = ", ".join(f"e.{name}" for name in tables.NAMES)


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
            found = self._found()
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
            with suppress(OSError):  # a database without a writer has no journal
                self._watch.hold()

    def _found(self) -> os.stat_result:
        try:
            return self._path.stat()
        except OSError as error:
            raise StoreUnavailable(f"cannot read {self._path}: {error.strerror}") from error

    def page(self, query: Query) -> Page:
        """One walk along one index."""
        walked, rest = tables.plan(query, COMMON)
        where, values = _where(query, walked)
        check = tables.MOST_LOOKED_AT if rest else query.limit
        index = tables.INDEXES[tuple(column for column, _ in walked)]
        inner = f"FROM entries e INDEXED BY {index} WHERE {where} {_ORDER}"
        kept = "".join(f" AND e.{column} = ?" for column, _ in rest)
        sql = (
            f"SELECT {_LISTED} FROM (SELECT e.rowid AS place {inner} LIMIT ?) JOIN entries e ON e.rowid = place "  # noqa: S608
            f"WHERE true{kept} {_ORDER} LIMIT ?"
        )
        with failures():
            found = self._now().execute(sql, (*values, check, *(value for _, value in rest), query.limit)).fetchall()
            then = tables.position(found[-1]) if len(found) == query.limit else None
            if then is None and rest:
                # Fewer than asked for: the walk goes on behind the last entry that was read, if there is one.
                last_one = f"SELECT e.at_ns, e.writer, e.sequence {inner} LIMIT 1 OFFSET ?"
                last = self._open().execute(last_one, (*values, check - 1)).fetchone()
                then = Position(*last) if last else None
        return tables.paged([read_row(row) for row in found], then)

    def unplaced(self) -> int:
        """A walk over all rows."""
        sql = f"SELECT count(*) FROM entries e WHERE NOT ({' AND '.join(_PLACED)})"  # noqa: S608
        with failures():
            return int(self._now().execute(sql).fetchone()[0])

    def usage_of_day(self, day: str) -> Sequence[DayUsage]:
        """A walk over the entries of that day."""
        since_ns = tables.beginning(day)
        with failures():
            connection = self._now()
            sql = tables.USAGE.format("?", "?", "?", tokens=_TOKENS, ends="entries WHERE kind = 'end'")
            with connection:
                connection.execute("BEGIN")  # an intent is open or has its end, and never both
                rows = connection.execute(sql, (since_ns, since_ns + tables.DAY_NS, since_ns)).fetchall()
                intents = connection.execute("SELECT entry FROM intents LIMIT ?", (MOST_INTENTS,)).fetchall()
        used = [one for row in rows if (one := _usage(row)) is not None and one.tokens]
        return used + charged_by(open_intents(row[0] for row in intents), since_ns)

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
            if version_of(self._open())[0] > tables.VERSION:
                raise StoreTooNew(f"a newer gateway made {self._path}; verify it with that version")
            sql = f"SELECT {_LISTED}, e.hash FROM entries e ORDER BY e.writer, e.sequence"  # noqa: S608
            try:
                for row in self._open().execute(sql):
                    yield read_row(row[:-1]), row[-1] if isinstance(row[-1], bytes) else b""
            except sqlite3.DataError as error:
                raise StoreDamaged(f"a value is larger than any that a gateway writes ({error})") from error

    def checkpoints(self) -> Iterator[Checkpoint]:
        """In no order."""
        with failures():
            for row in self._open().execute(f"SELECT {tables.CHECKPOINT_NAMES} FROM checkpoints"):  # noqa: S608
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
        """See sqlite3_interrupt: the query ends with an error."""
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


def connect(path: Path) -> sqlite3.Connection:
    """Cannot write; texts may be anything, and no value is larger than MOST_VALUE_BYTES."""
    connection = reader_of(path)
    connection.text_factory = as_text
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_VALUE_BYTES)
    connection.execute("PRAGMA query_only = 1")
    return connection


def _usage(row: Sequence[Any]) -> DayUsage | None:
    """None where the row was changed."""
    *texts, tokens = row
    method, actor, address, tenant, model = texts
    if not all(isinstance(text, str) for text in (method, actor, address, model)) or not isinstance(tokens, int):
        return None
    return DayUsage(method, actor, address, tenant if isinstance(tenant, str) else None, model, tokens)


def _where(query: Query, walked: tables.Values) -> tuple[str, list[Any]]:
    keys = tuple(column for column, _ in walked)
    parts = ["e.kind = 'end'", CONDITIONS.get(keys, "true"), *_PLACED, *(f"e.{column} = ?" for column in keys)]
    values = [value for _, value in walked]
    for condition, bound in ((">=", query.since_ns), ("<", query.until_ns)):
        if bound is not None:
            parts.append(f"e.at_ns {condition} ?")
            values.append(bound)
    if query.after is not None:
        after = query.after
        # A writer that was changed may be no UTF-8.
        parts.append("e.at_ns <= ? AND (e.at_ns < ? OR (e.writer, e.sequence) < (CAST(? AS TEXT), ?))")
        values += [after.at_ns, after.at_ns, after.writer.encode(errors="surrogateescape"), after.sequence]
    return " AND ".join(parts), values
