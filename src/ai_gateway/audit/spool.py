"""A bounded queue of entries on disk, for the time in which a store is away: a small SQLite database.

An entry that was taken may come again after a restart, if a full disk kept it from being removed: the store must know
what it has already.
"""

import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from ai_gateway.audit.chain import canonical
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.sqlite_failures import failures, transaction
from ai_gateway.audit.sqlite_watch import Change, SetAside, SqliteWatch, make
from ai_gateway.audit.store import StoreDamaged, StoreLost, StoreUnavailable
from ai_gateway.wire.unreadable import UNREADABLE

log = logging.getLogger("ai_gateway.audit")

FILE: Final = "spool.db"
_RECORD_BYTES: Final = 40  # of an entry beside its JSON: its hash and its place
_LEAST_FILE_BYTES: Final = 1 << 20
_MOST_AT_ONCE: Final = 4 << 20  # bytes of entries in memory at a time, and one entry more
# The lock is held as long as the connection is open. Without WAL, all that waits is in one file. The journal keeps its
# size: an append waits less for the disk, and a full disk has room to remove what was taken.
_SETTINGS: Final = ("locking_mode = EXCLUSIVE", "auto_vacuum = FULL", "journal_mode = PERSIST", "synchronous = FULL")
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS entries (place INTEGER PRIMARY KEY, hash BLOB NOT NULL, entry BLOB NOT NULL)"
)
_INSERT: Final = "INSERT INTO entries (hash, entry) VALUES (?, ?)"
_SIZE: Final = f"SELECT coalesce(sum(length(CAST(entry AS BLOB)) + {_RECORD_BYTES}), 0) FROM entries"  # noqa: S608 - a number of our own
_NEXT: Final = (
    "SELECT place, CAST(hash AS BLOB), CAST(entry AS BLOB) FROM entries WHERE place > ? ORDER BY place LIMIT ?"
)
_decode: Final = msgspec.json.Decoder(AuditEntry).decode


class SpoolFull(StoreUnavailable):
    """It holds as much as it may."""


class Taken(NamedTuple):
    """The next entries with their hashes, the place of the last one, and how many bytes they take."""

    entries: list[AuditEntry]
    hashes: list[bytes]
    end: int
    size: int


class Spool:
    """The database in `folder`, with `max_bytes` of entries. For one thread of one process: a lock keeps others out."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._path = folder / FILE
        self._max_bytes = max_bytes
        self._most_on_disk = max_bytes * 5 // 4 + _LEAST_FILE_BYTES  # records of some sizes leave pages half empty
        self._connection: sqlite3.Connection | None = None
        self._watch = SqliteWatch(self._path, journal=())
        self._set_aside = SetAside(self._path, time.time_ns, time.monotonic)
        self._may_begin = False  # a damaged file may be set aside
        self._taken = 0  # the place up to which entries were taken and could not be removed
        self.bytes_held = 0  # of entries that are still to be taken

    @property
    def is_empty(self) -> bool:
        """Whether everything has been taken."""
        return not self.bytes_held

    @property
    def is_open(self) -> bool:
        """Whether entries can be put in."""
        return self._connection is not None

    def check(self) -> None:
        """Whether what waits is there. Raises StoreLost."""
        if self.is_open and self._watch.check() is not Change.NONE:
            raise StoreLost(f"{self._path} was written over while it was used")

    def begin_anew(self) -> None:
        """Goes on with what is there; a damaged file is set aside when the spool is opened."""
        self.close()
        self._may_begin = True

    def open(self) -> None:
        """Finds what an earlier process left. Raises StoreUnavailable, StoreLost as `check`, and StoreDamaged."""
        self.check()
        self.close()
        try:
            self._connect()
        except StoreDamaged:
            if not self._may_begin:
                raise
            log.error("the audit's spool is damaged, and was moved to %s", self._set_aside.move())
            self._connect()
        self._may_begin = False

    def append(self, entries: Sequence[AuditEntry], hashes: Sequence[bytes], may_exceed: bool = False) -> None:
        """Puts entries at the end, all or none; they are on the disk on return. Raises SpoolFull, StoreUnavailable."""
        rows = [(digest, canonical(entry)) for entry, digest in zip(entries, hashes, strict=True)]
        size = sum(len(content) + _RECORD_BYTES for _, content in rows)
        is_full = self.bytes_held + size > self._max_bytes or self._watch.database_bytes > self._most_on_disk
        if is_full and not may_exceed:
            raise SpoolFull("the spool is full")
        self.check()
        with self._change() as connection:
            connection.executemany(_INSERT, rows)
        self.bytes_held += size
        self.check()

    def peek(self, most: int) -> Taken:
        """The next entries; none where there are no more. `take` ends them. Raises StoreUnavailable."""
        self.check()
        found = Taken([], [], 0, 0)
        while not (found.entries or self.is_empty):
            with failures():
                rows = _some(self._open().execute(_NEXT, (self._taken, most)))
            if not rows:
                raise StoreDamaged(f"{self._path} lacks entries that were put in")
            found = _read(rows)
            if not found.entries:
                self.take(found)
        return found

    def take(self, taken: Taken) -> None:
        """The store has them: they are removed, or left out from now on where the disk does not let them be removed."""
        self.bytes_held -= taken.size
        self._taken = taken.end
        with suppress(StoreUnavailable):
            with self._change() as connection:
                connection.execute("DELETE FROM entries WHERE place <= ?", (taken.end,))
            self._taken = 0  # an empty table begins with the first place again

    def close(self) -> None:
        """What it holds stays."""
        connection, self._connection = self._connection, None
        self._watch.forget()
        self._taken = self.bytes_held = 0
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _connect(self) -> None:
        with failures():
            make(self._path)
            connection = sqlite3.connect(self._path, timeout=0, isolation_level=None)
        try:
            with failures():
                self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        try:
            for setting in _SETTINGS:
                connection.execute(f"PRAGMA {setting}")
            with transaction(connection, "EXCLUSIVE"):
                connection.execute(_TABLE)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise StoreUnavailable(f"another gateway uses the spool in {self._folder}") from None
            raise
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise StoreDamaged(f"{self._path}: {found}")
        self._watch.hold()
        (self.bytes_held,) = connection.execute(_SIZE).fetchone()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreUnavailable("the spool is not open")
        return self._connection

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """A transaction. One that fails changes the file, too: SQLite writes back what was there before."""
        try:
            with failures(), transaction(self._open()) as connection:
                yield connection
        finally:
            with suppress(OSError):  # a file that is gone is missed by `check`
                self._watch.wrote()


def _some(cursor: sqlite3.Cursor) -> list[Any]:
    """The rows of a query until they are large: with `audit.level: full` an entry may have megabytes."""
    rows: list[Any] = []
    left = _MOST_AT_ONCE
    with closing(cursor):
        for row in cursor:
            rows.append(row)
            left -= len(row[-1])
            if left <= 0:
                break
    return rows


def _read(rows: Sequence[Any]) -> Taken:
    """An entry that a newer gateway put in may have no meaning here, and a disk may change one."""
    entries: list[AuditEntry] = []
    hashes: list[bytes] = []
    for _, digest, content in rows:
        try:
            entries.append(_decode(content))
        except UNREADABLE as error:
            log.error("an entry of the spool cannot be read, and is left out: %s", error)
            continue
        hashes.append(digest)
    return Taken(entries, hashes, rows[-1][0], sum(len(content) + _RECORD_BYTES for *_, content in rows))
