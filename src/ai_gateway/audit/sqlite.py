"""Entries in an SQLite file: the writing side. See https://www.sqlite.org/wal.html for what WAL can and cannot do."""

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from ai_gateway.audit.chain import Checkpoint, checkpoint
from ai_gateway.audit.entry import Entry, columns
from ai_gateway.audit.sqlite_presence import Presence, Silence
from ai_gateway.audit.sqlite_schema import STEPS, check_writable, migrate
from ai_gateway.audit.store import IntentsGone, StoreUnavailable, open_intents

BUSY_SECONDS: Final = 1.0  # that another process may hold the lock; then the writer tries again
MOST_LOST: Final = 500
SEGMENTS_AT_ONCE: Final = 8  # removed in one call: the writer must get its turn
VACUUM_PAGES: Final = 2000
TAIL_NS: Final = 3600 * 10**9  # entries of a live writer are behind a checkpoint within a minute
# Fewer, larger checkpoints of the WAL write a page of an index once for many entries: a fifth of the cost.
_SETTINGS: Final = ("wal_autocheckpoint = 4000", "cache_size = -8000", "journal_size_limit = 67108864")

_NAMES: Final = ", ".join(name for name, _ in columns)
_PLACES: Final = ", ".join("?" * (len(columns) + 1))
_INSERT: Final = f"INSERT INTO entries ({_NAMES}, hash) VALUES ({_PLACES})"  # noqa: S608 - names of our own
_encode: Final = msgspec.json.Encoder().encode

log = logging.getLogger("ai_gateway.audit")


@contextmanager
def failures() -> Iterator[None]:
    """Where SQLite's and the system's errors become ours."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(str(error)) from error


class SqliteStore:
    """The database at `path`, made if need be. `is_synced`: each write is on the disk, not only with the system.

    `clock` is Unix nanoseconds, `monotonic` seconds.
    """

    def __init__(
        self,
        path: Path,
        is_synced: bool,
        clock: Callable[[], int],
        steps: Any = STEPS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._is_synced = is_synced
        self._clock = clock
        self._steps: Sequence[tuple[str, ...]] = steps
        self._connection: sqlite3.Connection | None = None
        self._presence = Presence(path.with_name(f"{path.name}.lock"))
        self._silence = Silence(monotonic)

    def open(self) -> None:
        """Makes the file, readable by its owner alone, and its tables."""
        self._disconnect()
        with failures():
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._presence.enter()
            connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
            self._connection = connection
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if self._is_synced else 'NORMAL'}")
            for setting in _SETTINGS:
                connection.execute(f"PRAGMA {setting}")
            migrate(connection, self._steps)

    def write(self, entries: Sequence[Entry], hashes: Sequence[bytes]) -> None:
        """One transaction."""
        rows = [(*msgspec.structs.astuple(entry), digest) for entry, digest in zip(entries, hashes, strict=True)]
        with self._transaction() as connection:
            check_writable(connection, len(self._steps))
            self._settle_intents(connection, entries)
            connection.executemany(_INSERT, rows)

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """One row."""
        with self._transaction() as connection:
            _keep(connection, checkpoint)

    def heartbeat(self, writer: str) -> None:
        """One row for each writer."""
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO writers VALUES (?, ?)", (writer, self._clock()))

    def lost_intents(self, writer: str) -> Sequence[Entry]:
        """Where nobody else has the file all other writers are dead; else those that are silent."""
        signs = (
            "SELECT DISTINCT writer, coalesce(seen_ns, 0) FROM intents LEFT JOIN writers USING (writer) "
            "WHERE writer <> ?"
        )
        intents = "SELECT entry FROM intents WHERE writer = ? LIMIT ?"
        rows: list[tuple[Any]] = []
        with failures():
            connection = self._open()
            found = connection.execute(signs, (writer,)).fetchall()
            silent = self._silence.too_long(found)
            # Asked behind the look: whoever comes now has no intent in what was found.
            dead = [name for name, _ in found] if self._presence.is_alone() else sorted(silent)
            for name in dead:
                rows += connection.execute(intents, (name, MOST_LOST - len(rows))).fetchall()
        return open_intents(row[0] for row in rows)

    def remove(self, before_ns: int, max_bytes: int, key: bytes) -> int:
        """A few segments; the space goes back to the system bit by bit."""
        removed = 0
        for _ in range(SEGMENTS_AT_ONCE):
            with failures():
                segment = self._oldest(before_ns, self._size() > max_bytes)
            if segment is None:
                break
            with self._transaction() as connection:
                gone = connection.execute(
                    "DELETE FROM entries WHERE writer = ? AND sequence <= ?", (segment[0], segment[1])
                ).rowcount
                connection.execute(
                    "DELETE FROM checkpoints WHERE writer = ? AND sequence <= ?", (segment[0], segment[1])
                )
                _keep(connection, checkpoint(key, "removed", segment, self._clock()))
            removed += gone
        if removed:
            with failures():
                # `execute` would take one step, which gives back one page.
                self._open().executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
        return removed

    def close(self) -> None:
        """Also gives up its place among those that have the file."""
        self._disconnect()
        self._presence.leave()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreUnavailable("the audit database is not open")
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._open()
        with failures():
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk may have ended the transaction already
                    connection.execute("ROLLBACK")
                raise

    def _settle_intents(self, connection: sqlite3.Connection, entries: Sequence[Entry]) -> None:
        gone: set[str] = set()
        again: set[str] = set()
        closed: set[str] = set()
        for entry in entries:
            if entry.intent is None:
                continue
            if entry.kind == "intent":
                connection.execute("INSERT INTO intents VALUES (?, ?, ?)", (entry.intent, entry.writer, _encode(entry)))
            elif entry.intent in closed:
                again.add(entry.intent)
            elif connection.execute("DELETE FROM intents WHERE id = ?", (entry.intent,)).rowcount:
                closed.add(entry.intent)
            else:
                gone.add(entry.intent)
        if gone or again:
            raise IntentsGone(frozenset(gone), frozenset(again))

    def _size(self) -> int:
        connection = self._open()
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def _oldest(self, before_ns: int, is_too_large: bool) -> tuple[str, int, bytes] | None:
        """The end of the segment that goes next, or None: its writer, sequence and hash."""
        now_ns = self._clock()
        found = [
            self._segment(now_ns if is_too_large else before_ns),
            self._dead_tail(max(before_ns, now_ns - TAIL_NS) if is_too_large else before_ns),
        ]
        return min((one for one in found if one is not None), default=(0, None), key=lambda one: one[0])[1]

    def _segment(self, before_ns: int) -> tuple[int, tuple[str, int, bytes]] | None:
        """The one with the oldest checkpoint, and when that was made."""
        sql = (
            "SELECT at_ns, writer, sequence, hash FROM checkpoints WHERE kind = 'checkpoint' AND at_ns < ? "
            "ORDER BY at_ns"
        )
        for at_ns, writer, sequence, digest in self._open().execute(sql, (before_ns,)):
            try:
                return at_ns, (writer, sequence, bytes.fromhex(digest))
            except (ValueError, TypeError):
                log.error("the audit's checkpoint of %s at %s was changed, and is left out", writer, sequence)
        return None

    def _dead_tail(self, before_ns: int) -> tuple[int, tuple[str, int, bytes]] | None:
        """What a writer that was killed left behind its last checkpoint is a segment once all of it is old."""
        first = "SELECT writer FROM entries WHERE kind = 'end' AND at_ns < ? ORDER BY at_ns LIMIT 1"
        last = (
            "SELECT at_ns, writer, sequence, hash, at_ns < ? FROM entries WHERE writer = ? "
            "ORDER BY sequence DESC LIMIT 1"
        )
        oldest = self._open().execute(first, (before_ns,)).fetchone()
        if not oldest:
            return None
        at_ns, writer, sequence, digest, is_old = self._open().execute(last, (before_ns, *oldest)).fetchone()
        if not is_old:
            return None
        # Nothing stands behind it: a hash that was changed leads nowhere.
        return at_ns, (writer, sequence, digest if isinstance(digest, bytes) else b"")


def _keep(connection: sqlite3.Connection, made: Checkpoint) -> None:
    connection.execute("INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(made))
