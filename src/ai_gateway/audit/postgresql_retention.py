"""What the PostgreSQL store removes: whole days, the oldest first; the rest of each chain still verifies."""

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ai_gateway.audit.chain import Checkpoint, checkpoint
from ai_gateway.audit.postgresql_schema import LOCK, PARTITION, partition_name
from ai_gateway.audit.tables import DAY_NS

if TYPE_CHECKING:
    from psycopg import Connection

LOCK_SECONDS: Final = 5  # for all writers to be done for a moment; else the next round does it

_KEEP: Final = (
    "INSERT INTO audit_checkpoints (kind, writer, sequence, hash, at_ns, seal) VALUES (%s, %s, %s, %s, %s, %s) "
    "ON CONFLICT DO NOTHING"
)
_PARTITIONS: Final = (
    "SELECT relname, pg_total_relation_size(inhrelid) FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid "
    "WHERE inhparent = 'audit_entries'::regclass ORDER BY relname"
)
# Writers of long ago that have left nothing but their row.
_FORGET: Final = (
    "DELETE FROM audit_writers w WHERE seen_at < now() - interval '1 day' AND born_at < now() - interval '1 day' "
    "AND NOT EXISTS (SELECT FROM audit_intents i WHERE i.writer = w.writer) "
    "AND NOT EXISTS (SELECT FROM audit_entries e WHERE e.writer = w.writer)"
)


def keep(connection: "Connection[Any]", made: Checkpoint) -> None:
    """Keeps a checkpoint."""
    connection.execute(_KEEP, msgspec.structs.astuple(made))


def remove(connection: "Connection[Any]", before_ns: int, max_bytes: int, key: bytes, now_ns: int) -> int:
    """Removes each day that is older than `before_ns` as a whole, and more where all together are larger than
    `max_bytes`, but never today; returns how many entries went. Another gateway may be at it: then none."""
    row = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (LOCK,)).fetchone()
    if row is None or not row[0]:
        return 0
    connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{LOCK_SECONDS}s",))
    sizes = dict(connection.execute(_PARTITIONS).fetchall())
    total = sum(sizes.values())
    removed = 0
    for name, size in sizes.items():
        is_old = name < partition_name(before_ns // DAY_NS)
        is_too_much = total > max_bytes and name < partition_name(now_ns // DAY_NS)
        if not (is_old or is_too_much) or _has_open_intents(connection, name):
            break
        removed += _remove_day(connection, name, key, now_ns)
        total -= size
    if removed:
        connection.execute(_FORGET)
    return removed


def _has_open_intents(connection: "Connection[Any]", name: str) -> bool:
    sql = f"SELECT EXISTS (SELECT FROM audit_intents JOIN {name} USING (writer, at_ns) WHERE kind = 'intent')"  # noqa: S608
    row = connection.execute(sql).fetchone()
    return row is not None and bool(row[0])


def _remove_day(connection: "Connection[Any]", name: str, key: bytes, now_ns: int) -> int:
    """A day, and what a clock that was set back has left of the same part of a chain in others."""
    assert name.startswith(PARTITION)
    ends = connection.execute(
        f"SELECT DISTINCT ON (writer) writer, sequence, hash FROM {name} ORDER BY writer, sequence DESC"  # noqa: S608
    ).fetchall()
    row = connection.execute(f"SELECT count(*) FROM {name}").fetchone()  # noqa: S608
    removed = int(row[0]) if row else 0
    connection.execute(f"ALTER TABLE audit_entries DETACH PARTITION {name}")
    connection.execute(f"DROP TABLE {name}")
    for writer, sequence, digest in ends:
        strays = "DELETE FROM audit_entries WHERE writer = %s AND sequence <= %s"
        removed += connection.execute(strays, (writer, sequence)).rowcount
        connection.execute("DELETE FROM audit_checkpoints WHERE writer = %s AND sequence <= %s", (writer, sequence))
        keep(connection, checkpoint(key, "removed", (writer, sequence, digest), now_ns))
    return removed
