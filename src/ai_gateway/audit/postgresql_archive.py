"""Entries in PostgreSQL: the reading side, on a connection of its own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ai_gateway.audit.chain import Checkpoint, Row, read_checkpoint
from ai_gateway.audit.damage import Damaged
from ai_gateway.audit.postgresql_connection import PostgresqlConnection
from ai_gateway.audit.postgresql_integrity import reasons
from ai_gateway.audit.postgresql_rows import NAMES, from_row, from_text, to_text
from ai_gateway.audit.postgresql_schema import ADDED, DAY_NS, INDEXED_CHARACTERS, VERSION, is_listed, version_of
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
    open_intents,
    reserved_by,
)

if TYPE_CHECKING:
    from psycopg import Connection

MOST_LOOKED_AT: Final = 5000  # entries for one page of filters that no index has together
AT_ONCE: Final = 1000  # rows of a whole chain

_PLACES: Final = tuple(NAMES.index(name) for name in ("at_ns", "writer", "sequence"))
_ORDER: Final = "ORDER BY at_ns DESC, writer DESC, sequence DESC"
# Everything is read along its index, also where the planner knows nothing of a new day yet or would rather sort it.
# Compiling such a query (jit) takes longer than most of them.
_OFF: Final = ("enable_sort", "enable_incremental_sort", "enable_seqscan", "enable_bitmapscan", "jit")
_WALK: Final = ", ".join(f"set_config('{way}', 'off', true)" for way in _OFF)
# Of a number that somebody has changed no more is believed than of any other.
_BELIEVED: Final = f"greatest(0, least(coalesce({{}}, 0), {MOST_TOKENS}))"
_TOLD: Final = " + ".join(_BELIEVED.format(name) for name in ("tokens_in", "tokens_out"))
_COUNTED: Final = _BELIEVED.format("{counted}")
_CHECKPOINT: Final = ", ".join(Checkpoint.__struct_fields__)
# The filters by the column that they look at, the most selective first: the first one chooses the index.
_FILTERS: Final = {
    "request_id": "request_id", "actor": "actor", "model": "model_asked", "tenant": "tenant", "status": "status",
    "outcome": "outcome",
}  # fmt: skip
# An end may be late only where its intent was closed by another one; else somebody hid it, and its hash is not told.
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
        """Looks whether there is an audit."""
        with self._connection.transaction() as connection:
            try:
                version, _ = version_of(connection)
            except StoreUnavailable as error:
                raise StoreDamaged(str(error)) from error
            if not version:
                raise StoreDamaged("the database holds no audit")

    def page(self, query: Query) -> Page:
        """One walk along one index."""
        walked, rest = _plan(query)
        where, values = _where(query, walked)
        if not rest:
            with self._connection.transaction() as connection:
                sql = f"SELECT {_listed(connection)} FROM audit_entries WHERE {where} {_ORDER} LIMIT %s"  # noqa: S608
                connection.execute(f"SELECT {_WALK}")
                found = connection.execute(sql, (*values, query.limit)).fetchall()
            return _page(found, _position(found[-1]) if len(found) == query.limit else None)
        return self._searched(query, where, values, rest)

    def _searched(self, query: Query, where: str, values: list[Any], rest: list[tuple[str, Any]]) -> Page:
        """A page out of the next entries along an index. Where it ends early, the next one goes on behind them."""
        others = " AND ".join(f"{column} = %s" for column, _ in rest)
        last_one = f"SELECT at_ns, writer, sequence FROM audit_entries WHERE {where} {_ORDER} LIMIT 1 OFFSET %s"  # noqa: S608
        last = None
        with self._connection.transaction() as connection:
            sql = (
                f"WITH walked AS (SELECT * FROM audit_entries WHERE {where} {_ORDER} LIMIT %s) "  # noqa: S608
                f"SELECT {_listed(connection)} FROM walked WHERE {others} {_ORDER} LIMIT %s"
            )
            connection.execute(f"SELECT {_WALK}")
            given = [to_text(value) if isinstance(value, str) else value for _, value in rest]
            found = connection.execute(sql, (*values, MOST_LOOKED_AT, *given, query.limit)).fetchall()
            if len(found) < query.limit:
                last = connection.execute(last_one, (*values, MOST_LOOKED_AT - 1)).fetchone()
        if len(found) == query.limit:
            return _page(found, _position(found[-1]))
        return _page(found, Position(last[0], from_text(last[1]), last[2]) if last else None)

    def unplaced(self) -> int:
        """The tables let none in."""
        return 0

    def usage_of_day(self, day: str) -> Sequence[DayUsage]:
        """A walk over the partition of that day."""
        since_ns = int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 10**9
        sql = (
            "SELECT auth_method, actor, CASE auth_method WHEN 'none' THEN client_address ELSE '' END, tenant, "  # noqa: S608
            f"model_asked, sum(CASE WHEN {{counted}} IS NULL THEN {_TOLD} ELSE {_COUNTED} END)::bigint "
            f"FROM audit_entries WHERE {is_listed()} AND at_ns >= %s AND at_ns < %s AND started_ns >= %s "
            "AND model_asked IS NOT NULL GROUP BY 1, 2, 3, 4, 5"
        )
        with self._connection.transaction() as connection:
            counted = _column("tokens_counted", version_of(connection)[0])
            rows = connection.execute(sql.format(counted=counted), (since_ns, since_ns + DAY_NS, since_ns)).fetchall()
            intents = connection.execute("SELECT entry FROM audit_intents LIMIT %s", (MOST_INTENTS,)).fetchall()
        used = [_usage(row) for row in rows if row[-1]]
        return used + reserved_by(open_intents(row[0] for row in intents), since_ns)

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
            if version_of(connection)[0] > VERSION:
                raise StoreTooNew("a newer gateway made the audit's tables; verify them with that version")
            connection.execute(f"SELECT {_WALK}")
            sql = f"SELECT {_listed(connection)}, {_HASH} FROM audit_entries mine ORDER BY writer, sequence"  # noqa: S608
            for row in self._rows("chain", sql):
                yield from_row(row[:-1]), row[-1]

    def checkpoints(self) -> Iterator[Checkpoint]:
        """In no order."""
        for row in self._rows("checkpoints", f"SELECT {_CHECKPOINT} FROM audit_checkpoints"):  # noqa: S608
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
        """Asks the server to end the question; may take a second where it is away."""
        self._connection.interrupt()

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def _page(found: Sequence[Sequence[Any]], then: Position | None) -> Page:
    read = [from_row(row) for row in found]
    entries = [one for one in read if not isinstance(one, Damaged)]
    return Page(entries, then, [one for one in read if isinstance(one, Damaged)])


def _position(row: Sequence[Any]) -> Position:
    at_ns, writer, sequence = (row[place] for place in _PLACES)
    return Position(at_ns, from_text(writer), sequence)


def _listed(connection: "Connection[Any]") -> str:
    version = version_of(connection)[0]
    return ", ".join(_column(name, version) for name in NAMES)


def _column(name: str, version: int) -> str:
    """A column, or nothing in its place where no newer gateway has added it to the tables yet."""
    return name if ADDED.get(name, 0) <= version else "NULL::bigint"


def _plan(query: Query) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """The columns whose index is walked with their values, and the other filters with theirs."""
    given = {column: value for name, column in _FILTERS.items() if (value := getattr(query, name)) is not None}
    walked = list(given)[:1]
    if "request_id" not in given and {"actor", "model_asked"} <= set(given):
        walked = ["actor", "model_asked"]
    return {column: given.pop(column) for column in walked}, list(given.items())


def _where(query: Query, walked: dict[str, Any]) -> tuple[str, list[Any]]:
    parts, values = [is_listed()], list[Any]()
    for column, value in walked.items():
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
