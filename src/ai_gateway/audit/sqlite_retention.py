"""What the SQLite store removes: the oldest segment, as long as what says where it ends was made by a gateway."""

import logging
import sqlite3
from typing import Final, NamedTuple

import msgspec

from ai_gateway.audit.chain import FIRST, Checkpoint, CheckpointKind, checkpoint, is_linked, is_sealed, read_checkpoint
from ai_gateway.audit.damage import Damaged
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.sqlite_rows import is_text, read_row
from ai_gateway.audit.tables import CHECKPOINT_NAMES, LISTED, NAMES

TAIL_NS: Final = 3600 * 10**9  # entries of a live writer are behind a checkpoint within a minute
MOST_LOGGED: Final = 100

log = logging.getLogger("ai_gateway.audit")


class Segment(NamedTuple):
    """Where it ends. `kind` is what says so afterwards: `lost` where it cannot be shown that it was old."""

    writer: str
    sequence: int
    hash: bytes
    kind: CheckpointKind = "removed"


def keep(connection: sqlite3.Connection, made: Checkpoint) -> None:
    """Keeps a checkpoint."""
    connection.execute("INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(made))


def size_of(connection: sqlite3.Connection) -> int:
    """Bytes that are in use."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def remove_segment(connection: sqlite3.Connection, segment: Segment, key: bytes, now_ns: int) -> int:
    """Within a transaction; how many entries went."""
    writer, sequence, digest, kind = segment
    gone = connection.execute("DELETE FROM entries WHERE writer = ? AND sequence <= ?", (writer, sequence)).rowcount
    connection.execute("DELETE FROM checkpoints WHERE writer = ? AND sequence <= ?", (writer, sequence))
    keep(connection, checkpoint(key, kind, (writer, sequence, digest), now_ns))
    return gone


class Oldest:
    """Finds the end of the segment that goes next. Somebody who can write to the database must not have it removed,
    and sealed as removed, by the gateway: what says that it is old must have been made with the key."""

    def __init__(self) -> None:
        self._logged: set[str] = set()  # writers whose changed rows the log has

    def find(
        self, connection: sqlite3.Connection, before_ns: int, is_too_large: bool, key: bytes, now_ns: int
    ) -> Segment | None:
        """Its writer, sequence and hash; None where nothing is to go."""
        tail_ns = max(before_ns, now_ns - TAIL_NS) if is_too_large else before_ns
        found = [
            self._segment(connection, now_ns if is_too_large else before_ns, key),
            self._dead_tail(connection, tail_ns, key),
        ]
        return min((one for one in found if one is not None), default=(0, None), key=lambda one: one[0])[1]

    def _segment(self, connection: sqlite3.Connection, before_ns: int, key: bytes) -> tuple[int, Segment] | None:
        """The one with the oldest checkpoint, and when that was made."""
        sql = f"SELECT {CHECKPOINT_NAMES} FROM checkpoints WHERE kind = 'checkpoint' AND at_ns < ? ORDER BY at_ns"  # noqa: S608
        for row in connection.execute(sql, (before_ns,)):
            made = read_checkpoint(row)
            if is_sealed(key, made):
                return made.at_ns, Segment(made.writer, made.sequence, bytes.fromhex(made.hash))
            self._log_changed(str(row[1]))
        return None

    def _dead_tail(self, connection: sqlite3.Connection, before_ns: int, key: bytes) -> tuple[int, Segment] | None:
        """What a writer that was killed left behind its last checkpoint is a segment once all of it is old."""
        first = "SELECT writer FROM entries WHERE kind = 'end' AND at_ns < ? ORDER BY at_ns"
        last = f"SELECT {LISTED}, hash FROM entries WHERE writer = ? ORDER BY sequence DESC LIMIT 1"  # noqa: S608
        # What has no name of a writer belongs to no chain; it stays, and `verify` reports it.
        oldest = next((row for row in connection.execute(first, (before_ns,)) if is_text(row[0])), None)
        if oldest is None:
            return None
        row = connection.execute(last, oldest).fetchone()
        entry, digest = read_row(row[:-1]), row[-1]
        if not isinstance(entry, Damaged) and isinstance(digest, bytes) and _stands(connection, entry, digest, key):
            is_old = entry.at_ns < before_ns
            return (entry.at_ns, Segment(entry.writer, entry.sequence, digest)) if is_old else None
        # It grows old by its own time; the record that is left says that it was changed.
        self._log_changed(str(oldest[0]))
        at_ns, sequence = row[NAMES.index("at_ns")], row[NAMES.index("sequence")]
        is_old = isinstance(at_ns, int) and at_ns < before_ns and isinstance(sequence, int)
        kept = digest if isinstance(digest, bytes) and len(digest) == len(FIRST) else b""
        return (at_ns, Segment(str(oldest[0]), sequence, kept, "lost")) if is_old else None

    def _log_changed(self, writer: str) -> None:
        if writer not in self._logged and len(self._logged) < MOST_LOGGED:
            self._logged.add(writer)
            log.error("the audit of %s has entries or checkpoints that no gateway wrote; see `audit verify`", writer)


def _stands(connection: sqlite3.Connection, entry: AuditEntry, digest: bytes, key: bytes) -> bool:
    """Whether an entry is the one that was written, behind the one before it or the mark that stands for it."""
    before = "SELECT hash FROM entries WHERE writer = ? AND sequence = ?"
    marks = f"SELECT {CHECKPOINT_NAMES} FROM checkpoints WHERE writer = ? AND sequence = ?"  # noqa: S608
    place = (entry.writer, entry.sequence - 1)
    try:
        if entry.sequence == 1:
            return is_linked(key, FIRST, entry, digest)
        found = connection.execute(before, place).fetchone()
        if found is not None:
            return isinstance(found[0], bytes) and is_linked(key, found[0], entry, digest)
        made = [read_checkpoint(row) for row in connection.execute(marks, place)]
        return any(is_sealed(key, one) and is_linked(key, bytes.fromhex(one.hash), entry, digest) for one in made)
    except (UnicodeError, OverflowError):
        return False
