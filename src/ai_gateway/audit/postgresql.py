"""Entries in PostgreSQL: the writing side, for any number of gateways that share one database.

Each entry is written once: each writer's row in `audit_writers` says up to which entry its chain is here, and
is locked while the next ones are added. So a batch may be written again whose answer was lost.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from ai_gateway.audit import postgresql_retention
from ai_gateway.audit.chain import Checkpoint
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.postgresql_connection import PostgresqlConnection
from ai_gateway.audit.postgresql_rows import to_row, to_text
from ai_gateway.audit.postgresql_schema import STEPS, add_partition, migrate, version_of
from ai_gateway.audit.store import (
    REPLACED_SECONDS,
    SILENT_SECONDS,
    ChainForked,
    IntentsGone,
    StoreLost,
    StoreUnavailable,
    open_intents,
)
from ai_gateway.audit.tables import DAY_NS, LISTED, Step, check_writable

if TYPE_CHECKING:
    from psycopg import Connection

MOST_LOST: Final = 500
PAUSE_SECONDS: Final = 20  # between two signs of life, which come every 10 s: more, and the signs begin anew
REMOVE_SECONDS: Final = 60.0

_encode: Final = msgspec.json.Encoder().encode
_COPY: Final = f"COPY audit_entries ({LISTED}, hash, is_late) FROM STDIN"

_END_OF_CHAIN: Final = (
    "SELECT sequence, hash, (SELECT writable_from FROM audit_schema), (SELECT hash FROM audit_entries newest "
    "WHERE newest.writer = %s AND newest.sequence = %s AND newest.at_ns = %s) "
    "FROM audit_writers WHERE writer = %s FOR UPDATE"
)
_REMOVED: Final = "SELECT FROM audit_checkpoints WHERE kind = 'removed' AND writer = %s AND sequence >= %s"
_BORN: Final = "INSERT INTO audit_writers (writer) VALUES (%s) ON CONFLICT DO NOTHING"
_SEEN: Final = (
    "INSERT INTO audit_writers (writer) VALUES (%(writer)s) ON CONFLICT (writer) DO UPDATE SET seen_at = now(), "
    "seen_since = CASE WHEN audit_writers.seen_at < now() - make_interval(secs => %(pause)s) THEN now() "
    "ELSE audit_writers.seen_since END"
)
# In one order, so that two gateways that close the same ones do not wait for each other.
_CLOSE: Final = (
    "DELETE FROM audit_intents WHERE id IN "
    "(SELECT id FROM audit_intents WHERE id = ANY(%s) ORDER BY id FOR UPDATE) RETURNING id"
)
# Silence counts only as long as it could have been heard, by a gateway that was in touch itself meanwhile. A database
# that comes back after a while finds every gateway silent, and none of them dead.
_LOST: Final = """
WITH own AS (SELECT seen_since FROM audit_writers WHERE writer = %(writer)s
  AND seen_at >= now() - make_interval(secs => %(pause)s)),
dead AS (
  SELECT theirs.writer FROM audit_writers theirs WHERE theirs.writer <> %(writer)s
    AND now() - greatest(theirs.seen_at, coalesce((SELECT seen_since FROM own), now())) > make_interval(secs =>
      CASE WHEN EXISTS (SELECT FROM audit_writers newer WHERE newer.born_at > theirs.born_at
        AND regexp_replace(newer.writer, '/[^/]*$', '') = regexp_replace(theirs.writer, '/[^/]*$', ''))
      THEN %(replaced)s ELSE %(silent)s END)
)
SELECT entry FROM audit_intents JOIN dead USING (writer) ORDER BY at_ns LIMIT %(most)s
"""


class Stored(NamedTuple):
    """An entry of which the database has said that it is there."""

    sequence: int
    hash: bytes
    at_ns: int


class PostgresqlStore:
    """The database that `dsn` names; `clock` is Unix nanoseconds. The tables shall be as `steps` say."""

    def __init__(self, dsn: Callable[[], str], clock: Callable[[], int], steps: Sequence[Step] = STEPS) -> None:
        self._connection = PostgresqlConnection(dsn)
        self._clock = clock
        self._steps = steps
        self._days: set[int] = set()  # that have a partition
        self._stored: dict[str, Stored] = {}  # the newest entry of each writer that was written here

    def open(self) -> None:
        """Makes or migrates the tables, and the partitions of today and tomorrow."""
        with self._connection.transaction() as connection:
            if self._stored and not version_of(connection)[0]:
                raise StoreLost("the tables of the audit are gone from its database")
            migrate(connection, self._steps)
        today = self._clock() // DAY_NS
        self._add_partitions({today, today + 1})

    def check(self) -> None:
        """Each batch and each sign of life is one."""

    def begin_anew(self) -> None:
        """Takes the tables as they are, or makes them."""
        self._stored.clear()
        self._days.clear()

    def write(self, entries: Sequence[AuditEntry], hashes: Sequence[bytes]) -> None:
        """One transaction. What is there already is not written again."""
        self._write(entries, hashes, takes_late_ends=False)

    def write_spooled(self, entries: Sequence[AuditEntry], hashes: Sequence[bytes]) -> None:
        """As `write`, for entries whose numbers are fixed: the end of an intent that another gateway has closed is kept
        in its chain, and listed nowhere."""
        self._write(entries, hashes, takes_late_ends=True)

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """One row."""
        with self._connection.transaction() as connection:
            postgresql_retention.keep(connection, checkpoint)

    def heartbeat(self, writer: str) -> None:
        """At the database's own time. Also makes the next day's partition ahead of it."""
        with self._connection.transaction() as connection:
            if writer in self._stored:
                self._end_of_chain(connection, writer)
            connection.execute(_SEEN, {"writer": writer, "pause": PAUSE_SECONDS})
        self._add_partitions({self._clock() // DAY_NS + 1})

    def lost_intents(self, writer: str) -> Sequence[AuditEntry]:
        """A writer is dead if it was silent while this one gave signs of life. Less time is enough if its name has a
        younger writer: that may be its successor, or another gateway on the same host."""
        with self._connection.transaction() as connection:
            given = {"writer": writer, "pause": PAUSE_SECONDS, "most": MOST_LOST}
            silences = {"silent": SILENT_SECONDS, "replaced": REPLACED_SECONDS}
            rows = connection.execute(_LOST, {**given, **silences}).fetchall()
            return open_intents((row[0] for row in rows), partial(_is_in_chain, connection))

    def remove(self, before_ns: int, max_bytes: int, key: bytes) -> int:
        """Whole days; one gateway at a time does it."""
        now_ns = self._clock()
        with self._connection.transaction(REMOVE_SECONDS) as connection:
            return postgresql_retention.remove(connection, before_ns, max_bytes, key, now_ns)

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def _write(self, entries: Sequence[AuditEntry], hashes: Sequence[bytes], takes_late_ends: bool) -> None:
        self._add_partitions({entry.at_ns // DAY_NS for entry in entries})
        try:
            with self._connection.transaction() as connection:
                pairs = zip(entries, hashes, strict=True)
                for writer, chain in groupby(pairs, key=lambda pair: pair[0].writer):
                    fresh = self._not_there(connection, writer, list(chain))
                    if fresh:
                        self._add(connection, fresh, takes_late_ends)
        except StoreUnavailable:
            self._days.clear()  # a partition may have been removed meanwhile
            raise
        for entry, digest in zip(entries, hashes, strict=True):
            known = self._stored.get(entry.writer)
            if known is None or known.sequence < entry.sequence:
                self._stored[entry.writer] = Stored(entry.sequence, digest, entry.at_ns)

    def _not_there(
        self, connection: "Connection[Any]", writer: str, chain: list[tuple[AuditEntry, bytes]]
    ) -> list[tuple[AuditEntry, bytes]]:
        """The part of a writer's entries that is still to be written; its row is locked until the commit."""
        row = self._end_of_chain(connection, writer)
        if row is None:
            connection.execute(_BORN, (writer,))
            row = self._end_of_chain(connection, writer)
        assert row is not None
        sequence, last_hash, writable_from = row
        check_writable(writable_from, len(self._steps))
        there = [pair for pair in chain if pair[0].sequence <= sequence]
        if there and not self._has(connection, *there[-1], end=(sequence, last_hash)):
            raise ChainForked(writer, sequence, last_hash)
        return [(entry, digest) for entry, digest in chain if entry.sequence > sequence]

    def _end_of_chain(self, connection: "Connection[Any]", writer: str) -> tuple[int, bytes, int | None] | None:
        """What the database says of a writer, and the least version that may write. Raises StoreLost where it does not
        have what was written here."""
        known = self._stored.get(writer)
        place = (None, None, None) if known is None else (writer, known.sequence, known.at_ns)
        row = connection.execute(_END_OF_CHAIN, (*place, writer)).fetchone()
        if known is not None and (row is None or row[0] < known.sequence or row[3] != known.hash):
            is_removed = connection.execute(_REMOVED, (writer, known.sequence)).fetchone() is not None
            if not is_removed:
                raise StoreLost("the database of the audit does not have what was stored in it")
        return row and row[:3]

    def _has(self, connection: "Connection[Any]", entry: AuditEntry, digest: bytes, end: tuple[int, bytes]) -> bool:
        """Whether it is this entry, and with its hash all before it, that the chain has here. What was removed was."""
        if entry.sequence == end[0]:
            return digest == end[1]
        sql = "SELECT hash FROM audit_entries WHERE writer = %s AND sequence = %s"
        row = connection.execute(sql, (entry.writer, entry.sequence)).fetchone()
        return row is None or row[0] == digest

    def _add(self, connection: "Connection[Any]", pairs: list[tuple[AuditEntry, bytes]], takes_late_ends: bool) -> None:
        gone = self._settle_intents(connection, [entry for entry, _ in pairs])
        if (gone.intents or gone.again) and not takes_late_ends:
            raise gone
        closed = set(gone.intents)
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            for entry, digest in pairs:
                is_late = entry.kind == "end" and entry.intent in closed
                if entry.kind == "end" and entry.intent in gone.again:
                    closed.add(entry.intent)
                copy.write_row((*to_row(entry), digest, is_late))
        entry, digest = pairs[-1]
        connection.execute(
            "UPDATE audit_writers SET sequence = %s, hash = %s WHERE writer = %s",
            (entry.sequence, digest, entry.writer),
        )

    def _settle_intents(self, connection: "Connection[Any]", entries: Sequence[AuditEntry]) -> IntentsGone:
        """Opens and closes; what should be closed and is not open, or has been closed by an end before."""
        begun = [entry for entry in entries if entry.intent and entry.kind == "intent"]
        counts = Counter(entry.intent for entry in entries if entry.intent and entry.kind == "end")
        ended = {intent: to_text(intent) for intent in counts}
        if begun:
            sql = "INSERT INTO audit_intents (id, writer, at_ns, entry) VALUES (%s, %s, %s, %s)"
            rows = [(to_text(one.intent or ""), one.writer, one.at_ns, _encode(one).decode()) for one in begun]
            with connection.cursor() as cursor:
                cursor.executemany(sql, rows)
        if not ended:
            return IntentsGone(frozenset())
        closed = {row[0] for row in connection.execute(_CLOSE, (list(ended.values()),))}
        gone = frozenset(intent for intent, text in ended.items() if text not in closed)
        return IntentsGone(gone, frozenset(intent for intent, count in counts.items() if count > 1) - gone)

    def _add_partitions(self, days: set[int]) -> None:
        for day in sorted(days - self._days):
            with self._connection.transaction() as connection:
                add_partition(connection, day)
            self._days.add(day)


def _is_in_chain(connection: "Connection[Any]", intent: AuditEntry) -> bool:
    """Whether a gateway wrote it."""
    sql = (
        "SELECT FROM audit_entries WHERE writer = %s AND sequence = %s AND at_ns = %s AND kind = 'intent' "
        "AND intent = %s UNION ALL SELECT FROM audit_checkpoints WHERE writer = %s AND sequence >= %s "
        "AND kind IN ('removed', 'lost')"
    )
    place = (intent.writer, intent.sequence)
    given = (*place, intent.at_ns, to_text(intent.intent or ""), *place)
    return connection.execute(sql, given).fetchone() is not None
