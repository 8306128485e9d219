"""Entries in an SQLite file: the writing side. See https://www.sqlite.org/wal.html for what WAL can and cannot do."""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from ai_gateway.audit.chain import Checkpoint, checkpoint
from ai_gateway.audit.entry import Entry, columns
from ai_gateway.audit.sqlite_schema import STEPS, check_writable, migrate
from ai_gateway.audit.store import SILENT_SECONDS, IntentsGone, StoreUnavailable

BUSY_SECONDS: Final = 1.0  # that another process may hold the lock; then the writer tries again
MOST_LOST: Final = 500
SEGMENTS_AT_ONCE: Final = 8  # removed in one call: the writer must get its turn
VACUUM_PAGES: Final = 2000
# Fewer, larger checkpoints of the WAL write a page of an index once for many entries: a fifth of the cost.
_SETTINGS: Final = ("wal_autocheckpoint = 4000", "cache_size = -8000", "journal_size_limit = 67108864")

_NAMES: Final = ", ".join(name for name, _ in columns)
_PLACES: Final = ", ".join("?" * (len(columns) + 1))
_INSERT: Final = f"INSERT INTO entries ({_NAMES}, hash) VALUES ({_PLACES})"  # noqa: S608 - names of our own
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Entry).decode


@contextmanager
def failures() -> Iterator[None]:
    """Where SQLite's and the system's errors become ours."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(str(error)) from error


class SqliteStore:
    """The database at `path`, made if need be. `is_synced`: each write is on the disk, not only with the system.

    `clock` is Unix nanoseconds.
    """

    def __init__(self, path: Path, is_synced: bool, clock: Callable[[], int], steps: Any = STEPS) -> None:
        self._path = path
        self._is_synced = is_synced
        self._clock = clock
        self._steps: Sequence[tuple[str, ...]] = steps
        self._connection: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._is_alone = False

    def open(self) -> None:
        """Makes the file, readable by its owner alone, and its tables."""
        self.close()
        with failures():
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._lock_alone()
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
        """With the lock on the file all other writers are dead; without it those that are silent."""
        silent_since = self._clock() - int(SILENT_SECONDS * 1e9)
        sql = (
            "SELECT entry FROM intents LEFT JOIN writers USING (writer) WHERE writer <> ? "
            "AND (? OR coalesce(seen_ns, 0) < ?) LIMIT ?"
        )
        with failures():
            if not self._is_alone:
                self._lock_alone()
            rows = self._open().execute(sql, (writer, self._is_alone, silent_since, MOST_LOST)).fetchall()
        return [_decode(row[0]) for row in rows]

    def remove(self, before_ns: int, max_bytes: int, key: bytes) -> int:
        """A few segments; the space goes back to the system bit by bit."""
        removed = 0
        for _ in range(SEGMENTS_AT_ONCE):
            with failures():
                is_too_large = self._size() > max_bytes
                segment = self._oldest(None if is_too_large else before_ns)
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
        """Also gives up the lock."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock, self._is_alone = None, False

    def _lock_alone(self) -> None:
        """Whether no other gateway has this database. The lock goes with the process, however it ends."""
        if self._lock is None:
            self._lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._is_alone = True
        except BlockingIOError:
            self._is_alone = False

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

    def _oldest(self, before_ns: int | None) -> tuple[str, int, bytes] | None:
        """The end of the segment that goes next, or None: its writer, sequence and hash."""
        limit = self._clock() if before_ns is None else before_ns
        found = (
            self._open()
            .execute(
                "SELECT writer, sequence, hash FROM checkpoints WHERE kind = 'checkpoint' AND at_ns < ? "
                "ORDER BY at_ns LIMIT 1",
                (limit,),
            )
            .fetchone()
        )
        if found:
            return found[0], found[1], bytes.fromhex(found[2])
        return self._dead_tail(limit) if before_ns is not None else None

    def _dead_tail(self, before_ns: int) -> tuple[str, int, bytes] | None:
        """What a writer that was killed left behind its last checkpoint is a segment once all of it is old."""
        oldest = (
            self._open()
            .execute("SELECT writer FROM entries WHERE kind = 'end' AND at_ns < ? ORDER BY at_ns LIMIT 1", (before_ns,))
            .fetchone()
        )
        if not oldest:
            return None
        writer, sequence, digest, at_ns = (
            self._open()
            .execute(
                "SELECT writer, sequence, hash, at_ns FROM entries WHERE writer = ? ORDER BY sequence DESC LIMIT 1",
                oldest,
            )
            .fetchone()
        )
        return (writer, sequence, digest) if at_ns < before_ns else None


def _keep(connection: sqlite3.Connection, made: Checkpoint) -> None:
    connection.execute("INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(made))
