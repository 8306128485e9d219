"""The tables of the PostgreSQL store and how they came to be: one step for each version, forward only.

A newer gateway takes the steps while older ones go on writing: a step adds columns with no duty to fill them, tables or
indexes and nothing else, or it raises `writable_from`, the least version that may still write.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from ai_gateway.audit.entry import ColumnKind, columns
from ai_gateway.audit.postgresql_rows import TYPES
from ai_gateway.audit.store import StoreTooNew, StoreUnavailable
from ai_gateway.audit.tables import DAY_NS, INDEXES

if TYPE_CHECKING:
    from psycopg import Connection

LOCK: Final = 0x61_75_64_69_74  # of everything that changes tables; any number that no other program uses
_EPOCH: Final = date(1970, 1, 1).toordinal()
PARTITION: Final = "audit_entries_"  # followed by YYYYMMDD

# Clients choose some of these texts: an index takes 2,704 bytes of a row, and an insert of more would fail.
INDEXED_CHARACTERS: Final = 200
_KINDS: Final = {"audit_entries": "p", "audit_intents": "r", "audit_checkpoints": "r", "audit_writers": "r"}
# Programs of its own would run with each write; a rule or a policy could hide rows from readers.
_TABLE: Final = """
SELECT c.relkind::text, c.relrowsecurity OR c.relforcerowsecurity,
  EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
  EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid)
FROM pg_class c WHERE c.relname = %s AND pg_table_is_visible(c.oid)
"""
_INVALID: Final = """
SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE starts_with(c.relname, 'audit_') AND pg_table_is_visible(c.oid)
  AND NOT (i.indisvalid AND i.indisready AND i.indislive) ORDER BY 1
"""
_COUNT: Final = "SELECT count(*) FROM audit_entries"
_INDEXES: Final = ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan")
_CHANGED: Final = "the table audit_schema, with the version of the audit's tables, was changed"
Columns = Sequence[tuple[str, ColumnKind]]
Step = tuple[int, tuple[str, ...]]  # the least version that may write after it, and its statements


def indexed(column: str) -> str:
    """What the index of a column holds of it."""
    return column if column == "status" else f"left({column}, {INDEXED_CHARACTERS})"


def is_listed(alias: str = "") -> str:
    """The condition of all indexes: what a page may show."""
    return f"{alias}kind = 'end' AND NOT {alias}is_late"


def _column_added(name: str, kind: ColumnKind) -> str:
    return f"ALTER TABLE audit_entries ADD COLUMN IF NOT EXISTS {name} {TYPES[kind]}"


def _first() -> tuple[str, ...]:
    order = ("at_ns", "writer", "sequence")
    indexes = [
        f"CREATE INDEX audit_{name} ON audit_entries ({', '.join([*map(indexed, keys), *order])}) WHERE {is_listed()}"
        for keys, name in INDEXES.items()
    ]
    kinds = dict(columns)
    filtered = ", ".join(f"{name} {TYPES[kinds[name]]}" for name in dict.fromkeys(sum(INDEXES, ())))
    return (
        # Here are the columns that are always filled or have an index; the others are added as `wanted` says.
        # `is_late`: an end that came when its intent was closed already; it is in the chain and in no list.
        'CREATE TABLE audit_entries (writer text COLLATE "C" NOT NULL, sequence bigint NOT NULL, '
        f"at_ns bigint NOT NULL, kind text NOT NULL, {filtered}, hash bytea NOT NULL, "
        "is_late boolean NOT NULL DEFAULT false, PRIMARY KEY (writer, sequence, at_ns)) PARTITION BY RANGE (at_ns)",
        *indexes,
        "CREATE TABLE audit_intents (id text PRIMARY KEY, writer text NOT NULL, at_ns bigint NOT NULL, "
        "entry text NOT NULL)",
        # The end of each writer's chain here, and its last sign of life. `seen_since`: signs without a pause.
        "CREATE TABLE audit_writers (writer text PRIMARY KEY, sequence bigint NOT NULL DEFAULT 0, hash bytea, "
        "born_at timestamptz NOT NULL DEFAULT now(), seen_at timestamptz NOT NULL DEFAULT now(), "
        "seen_since timestamptz NOT NULL DEFAULT now())",
        "CREATE TABLE audit_checkpoints (kind text NOT NULL, writer text COLLATE \"C\" NOT NULL, "
        "sequence bigint NOT NULL, hash text NOT NULL, at_ns bigint NOT NULL, seal text NOT NULL, "
        "PRIMARY KEY (writer, sequence, kind))",
    )  # fmt: skip


STEPS: Final[tuple[Step, ...]] = ((1, _first()), (1, ()))  # the second: entries have `tokens_counted`


def migrate(connection: "Connection[Any]", steps: Sequence[Step] = STEPS, wanted: Columns = columns) -> None:
    """Takes the steps and adds the columns that are missing, within the caller's transaction. Raises StoreTooNew.

    What is there already needs no right to make tables.
    """
    if _is_current(connection, steps, wanted):
        return
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
    version, writable_from = version_of(connection)  # another gateway may have been faster
    if not version:
        connection.execute("CREATE TABLE audit_schema (version int NOT NULL, writable_from int NOT NULL)")
        connection.execute("INSERT INTO audit_schema VALUES (0, 0)")
    for least, statements in steps[version:]:
        for statement in statements:
            connection.execute(statement)
        writable_from = max(writable_from, least)
    for name, kind in wanted:
        connection.execute(_column_added(name, kind))
    version = max(version, len(steps))
    connection.execute("UPDATE audit_schema SET version = %s, writable_from = %s", (version, writable_from))


def check_writable(writable_from: int | None, version: int) -> None:
    """Raises StoreTooNew where gateways of this version must not write any more."""
    if writable_from is None:
        raise StoreUnavailable(_CHANGED)
    if writable_from > version:
        raise StoreTooNew(
            f"a newer gateway made the audit's tables: those that write must know version {writable_from}, and this "
            f"one knows version {version}"
        )


def version_of(connection: "Connection[Any]") -> tuple[int, int]:
    """The version of the tables and the least one that may write; (0, 0) where there are none."""
    if not _is_there(connection, "audit_schema"):
        return 0, 0
    row = connection.execute("SELECT version, writable_from FROM audit_schema").fetchone()
    if row is None:
        raise StoreUnavailable(_CHANGED)
    return int(row[0]), int(row[1])


def _is_current(connection: "Connection[Any]", steps: Sequence[Step], wanted: Columns) -> bool:
    version, writable_from = version_of(connection)
    check_writable(writable_from, len(steps))
    if version < len(steps):
        return False
    sql = "SELECT attname FROM pg_attribute WHERE attrelid = 'audit_entries'::regclass AND NOT attisdropped"
    there = {row[0] for row in connection.execute(sql)}
    return all(name in there for name, _ in wanted)


def add_partition(connection: "Connection[Any]", day: int) -> None:
    """The partition of a day, counted since 1970; does nothing where it is there.

    It is filled and then attached: making it in place would wait for every other writer's transaction.
    """
    name = partition_name(day)
    if _is_there(connection, name):
        return
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
    if _is_there(connection, name):
        return  # another gateway was faster
    connection.execute(f"CREATE TABLE {name} (LIKE audit_entries INCLUDING DEFAULTS INCLUDING INDEXES)")
    first, last = day * DAY_NS, (day + 1) * DAY_NS
    connection.execute(f"ALTER TABLE audit_entries ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({last})")


def partition_name(day: int) -> str:
    """Of a day, counted since 1970."""
    return f"{PARTITION}{date.fromordinal(_EPOCH + day):%Y%m%d}"


def _is_there(connection: "Connection[Any]", table: str) -> bool:
    """Read from the catalog: what a session remembers of names may be older than a lock that it was just given."""
    sql = "SELECT EXISTS (SELECT FROM pg_class WHERE relname = %s AND pg_table_is_visible(oid))"
    row = connection.execute(sql, (table,)).fetchone()
    return row is not None and bool(row[0])


def reasons(connection: "Connection[Any]") -> Iterator[str]:
    """A sentence for each thing that is not as it was made."""
    for name, kind in _KINDS.items():
        row = connection.execute(_TABLE, (name,)).fetchone()
        if row is None:
            yield f"the table {name} is gone"
            return
        if row[0] != kind:
            yield f"{name} is no table as a gateway makes it"
        for is_there, what in zip(row[1:], ("a policy for its rows", "a trigger", "a rule"), strict=True):
            if is_there:
                yield f"the table {name} has {what}, which no gateway has made"
    for (index,) in connection.execute(_INVALID).fetchall():
        yield f"the index {index} is not valid"
    by_table = _counted(connection, by_index=False)
    by_index = _counted(connection, by_index=True)
    if by_table != by_index:
        yield f"the table of entries has {by_table} rows, and its index {by_index}"


def _counted(connection: "Connection[Any]", by_index: bool) -> int:
    ways = {"enable_seqscan": not by_index, **dict.fromkeys(_INDEXES, by_index)}
    settings = ", ".join(f"set_config('{way}', '{'on' if is_on else 'off'}', true)" for way, is_on in ways.items())
    connection.execute(f"SELECT {settings}")
    row = connection.execute(_COUNT).fetchone()
    assert row is not None
    return int(row[0])
