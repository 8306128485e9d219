"""Entries in PostgreSQL: the reading side, on a connection of its own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ai_gateway.audit import tables
from ai_gateway.audit.chain import Checkpoint, Row, read_checkpoint
from ai_gateway.audit.postgresql_connection import PostgresqlConnection
from ai_gateway.audit.postgresql_rows import from_row, from_text, to_text
from ai_gateway.audit.postgresql_schema import INDEXED_CHARACTERS, is_listed, reasons, version_of
from ai_gateway.audit.store import (
    MOST_INTENTS,
    MOST_TOKENS,
    DayUsage,
    OpenIntent,
    Page,
    Position,
    Query,
    StoreDamaged,
    StoreTooNew,
    StoreUnavailable,
    charged_by,
    open_intents,
)

if TYPE_CHECKING:
    from psycopg import Connection

AT_ONCE: Final = 1000  # rows of a whole chain

_ORDER: Final = "ORDER BY at_ns DESC, writer DESC, sequence DESC"
# Everything is read along its index, also where the planner knows nothing of a new day yet or would rather sort it.
# Compiling such a query (jit) takes longer than most of them.
_OFF: Final = ("enable_sort", "enable_incremental_sort", "enable_seqscan", "enable_bitmapscan", "jit")
_WALK: Final = ", ".join(f"set_config('{way}', 'off', true)" for way in _OFF)
# A number that was changed counts for no more than a call can have.
_BELIEVED: Final = f"greatest(0, least(coalesce({{}}, 0), {MOST_TOKENS}))"
_BY_OLLAMA: Final = " + ".join(_BELIEVED.format(name) for name in ("tokens_in", "tokens_out"))
_COUNTED: Final = f"CASE WHEN tokens_counted IS NULL THEN {_BY_OLLAMA} ELSE {_BELIEVED.format('tokens_counted')} END"
_TOKENS: Final = f"sum({_COUNTED})::bigint"
# An end may be late only where its intent was closed by another one; else somebody hid it, and its hash is left out.
_HASH: Final = (
    "CASE WHEN is_late AND NOT EXISTS (SELECT FROM audit_entries other WHERE other.intent = mine.intent "
    f"AND left(other.request_id, {INDEXED_CHARACTERS}) = left(mine.request_id, {INDEXED_CHARACTERS}) "
    f"AND {is_listed('other.')}) THEN ''::bytea ELSE hash END"
)


class PostgresqlArchive:
    """The database that `dsn` names, whose tables a store has made."""

    def __init__(self, dsn: Callable[[], str]) -> None:
        self._connection = PostgresqlConnection(dsn, is_reading=True)
        self._unchanging: Connection[tuple[Any, ...]] | None = None

    def open(self) -> None:
        """Checks that there is an audit."""
        with self._connection.transaction() as connection:
            try:
                version, _ = version_of(connection)
            except StoreUnavailable as error:
                raise StoreDamaged(str(error)) from error
            if not version:
                raise StoreDamaged("the database holds no audit")

    def page(self, query: Query) -> Page:
        """One walk along one index."""
        walked, rest = tables.plan(query)
        where, values = _where(query, walked)
        check = tables.MOST_LOOKED_AT if rest else query.limit
        inner = f"FROM audit_entries WHERE {where} {_ORDER}"
        others = "".join(f" AND {column} = %s" for column, _ in rest)
        given = [to_text(value) if isinstance(value, str) else value for _, value in rest]
        with self._connection.transaction() as connection:
            sql = (
                f"WITH walked AS (SELECT * {inner} LIMIT %s) "  # noqa: S608
                f"SELECT {tables.LISTED} FROM walked WHERE true{others} {_ORDER} LIMIT %s"
            )
            connection.execute(f"SELECT {_WALK}")
            found = connection.execute(sql, (*values, check, *given, query.limit)).fetchall()
            then = tables.position(found[-1]) if len(found) == query.limit else None
            if then is None and rest:
                # Fewer than asked for: the walk goes on behind the last entry that was read, if there is one.
                last_one = f"SELECT at_ns, writer, sequence {inner} LIMIT 1 OFFSET %s"
                last = connection.execute(last_one, (*values, check - 1)).fetchone()
                then = Position(*last) if last else None
        if then is not None:
            then = msgspec.structs.replace(then, writer=from_text(then.writer))
        return tables.paged([from_row(row) for row in found], then)

    def unplaced(self) -> int:
        """The tables let none in."""
        return 0

    def usage_of_day(self, day: str) -> Sequence[DayUsage]:
        """A walk over the partition of that day."""
        since_ns = tables.beginning(day)
        with self._connection.transaction() as connection:
            sql = tables.USAGE.format("%s", "%s", "%s", tokens=_TOKENS, ends=f"audit_entries WHERE {is_listed()}")
            rows = connection.execute(sql, (since_ns, since_ns + tables.DAY_NS, since_ns)).fetchall()
            intents = connection.execute("SELECT entry FROM audit_intents LIMIT %s", (MOST_INTENTS,)).fetchall()
        used = [_usage(row) for row in rows if row[-1]]
        return used + charged_by(open_intents(row[0] for row in intents), since_ns)

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """One transaction."""
        with self._connection.transaction(None) as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            connection.execute("SELECT set_config('statement_timeout', '0', true)")
            self._unchanging = connection
            try:
                yield
            finally:
                self._unchanging = None

    @contextmanager
    def _reading(self) -> "Iterator[Connection[tuple[Any, ...]]]":
        if self._unchanging is not None:
            yield self._unchanging
            return
        with self._connection.transaction(None) as connection:
            connection.execute("SELECT set_config('statement_timeout', '0', true)")
            yield connection

    def _rows(self, name: str, sql: str) -> Iterator[tuple[Any, ...]]:
        """Some at a time."""
        with self._reading() as connection, connection.cursor(name) as cursor:
            cursor.itersize = AT_ONCE
            cursor.execute(sql)
            yield from cursor

    def chain(self) -> Iterator[Row]:
        """Raises StoreTooNew where entries have columns that are not known here: their hashes could not be checked."""
        with self._reading() as connection:
            if version_of(connection)[0] > tables.VERSION:
                raise StoreTooNew("a newer gateway made the audit's tables; verify them with that version")
            connection.execute(f"SELECT {_WALK}")
            sql = f"SELECT {tables.LISTED}, {_HASH} FROM audit_entries mine ORDER BY writer, sequence"  # noqa: S608
            for row in self._rows("chain", sql):
                yield from_row(row[:-1]), row[-1]

    def checkpoints(self) -> Iterator[Checkpoint]:
        """In no order."""
        for row in self._rows("checkpoints", f"SELECT {tables.CHECKPOINT_NAMES} FROM audit_checkpoints"):  # noqa: S608
            yield read_checkpoint(row)

    def open_intents(self) -> Iterator[OpenIntent]:
        """In no order."""
        for name, writer, content in self._rows("intents", "SELECT id, writer, entry FROM audit_intents"):
            yield OpenIntent(from_text(str(name)), str(writer), str(content))

    def reasons(self) -> Iterator[str]:
        """Tables as they were made, and the chain's index with all rows."""
        with self._reading() as connection:
            yield from reasons(connection)

    def interrupt(self) -> None:
        """Asks the server to end the query; may take a second if the server is away."""
        self._connection.interrupt()

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def _where(query: Query, walked: tables.Values) -> tuple[str, list[Any]]:
    parts, values = [is_listed()], list[Any]()
    for column, value in walked:
        if isinstance(value, str):
            text = to_text(value)
            parts.append(f"left({column}, {INDEXED_CHARACTERS}) = %s AND {column} = %s")
            values += [text[:INDEXED_CHARACTERS], text]
        else:
            parts.append(f"{column} = %s")
            values.append(value)
    for condition, bound in ((">=", query.since_ns), ("<", query.until_ns)):
        if bound is not None:
            parts.append(f"at_ns {condition} %s")
            values.append(bound)
    if query.after is not None:
        parts.append("at_ns <= %s AND (at_ns, writer, sequence) < (%s, %s, %s)")
        values += [query.after.at_ns, query.after.at_ns, to_text(query.after.writer), query.after.sequence]
    return " AND ".join(parts), values


def _usage(row: Sequence[Any]) -> DayUsage:
    method, actor, address, tenant, model, tokens = row
    owner = None if tenant is None else from_text(tenant)
    return DayUsage(method, from_text(actor), from_text(address), owner, from_text(model), tokens)
