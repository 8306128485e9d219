"""Whether the audit's tables in PostgreSQL are as they were made."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from psycopg import Connection

_KINDS: Final = {"audit_entries": "p", "audit_intents": "r", "audit_checkpoints": "r", "audit_writers": "r"}
# Programs of its own would run with each write; a rule or a policy could hide rows from whoever reads.
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
    told = ", ".join(f"set_config('{way}', '{'on' if is_on else 'off'}', true)" for way, is_on in ways.items())
    connection.execute(f"SELECT {told}")
    row = connection.execute(_COUNT).fetchone()
    assert row is not None
    return int(row[0])
