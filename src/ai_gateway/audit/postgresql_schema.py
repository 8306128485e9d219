"""The tables of the PostgreSQL store and how they came to be: one step for each version, forward only."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from ai_gateway.audit.entry import ColumnKind, columns
from ai_gateway.audit.store import StoreUnavailable
from ai_gateway.audit.tables import CHANGED, DAY_NS, INDEXES, Step, check_writable

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
_TYPES: Final[dict[ColumnKind, str]] = {"text": "text", "int": "bigint", "bool": "boolean"}
_FILLED: Final = {"writer": 'COLLATE "C" NOT NULL', "sequence": "NOT NULL", "at_ns": "NOT NULL", "kind": "NOT NULL"}


def indexed(column: str) -> str:
    """What the index of a column holds of it."""
    return column if column == "status" else f"left({column}, {INDEXED_CHARACTERS})"


def is_listed(alias: str = "") -> str:
    """The condition of all indexes: what a page may show."""
    return f"{alias}kind = 'end' AND NOT {alias}is_late"


def _first() -> tuple[str, ...]:
    order = ("at_ns", "writer", "sequence")
    indexes = [
        f"CREATE INDEX audit_{name} ON audit_entries ({', '.join([*map(indexed, keys), *order])}) WHERE {is_listed()}"
        for keys, name in INDEXES.items()
    ]
    listed = ", ".join(f"{name} {_TYPES[kind]} {_FILLED.get(name, '')}" for name, kind in columns)
    return (
        # `is_late`: an end that came when its intent was closed already; it is in the chain and in no list.
        f"CREATE TABLE audit_entries ({listed}, hash bytea NOT NULL, "
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


STEPS: Final = (Step(_first()),)


def migrate(connection: "Connection[Any]", steps: Sequence[Step] = STEPS) -> None:
    """Takes the steps that are missing, within the caller's transaction. Raises StoreTooNew.

    What is there already needs no right to make tables.
    """
    version, writable_from = version_of(connection)
    check_writable(writable_from, len(steps))
    if version >= len(steps):
        return
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
    version, writable_from = version_of(connection)  # another gateway may have been faster
    if not version:
        connection.execute("CREATE TABLE audit_schema (version int NOT NULL, writable_from int NOT NULL)")
        connection.execute("INSERT INTO audit_schema VALUES (0, 0)")
    for step in steps[version:]:
        for statement in step.statements:
            connection.execute(statement)
        writable_from = max(writable_from, step.writable_from)
    version = max(version, len(steps))
    connection.execute("UPDATE audit_schema SET version = %s, writable_from = %s", (version, writable_from))


def version_of(connection: "Connection[Any]") -> tuple[int, int]:
    """The version of the tables and the least one that may write; (0, 0) where there are none."""
    if not _is_there(connection, "audit_schema"):
        return 0, 0
    row = connection.execute("SELECT version, writable_from FROM audit_schema").fetchone()
    if row is None:
        raise StoreUnavailable(CHANGED)
    return int(row[0]), int(row[1])


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
