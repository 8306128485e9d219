"""Whether an SQLite store is still what was opened: its files may be deleted, moved, replaced, emptied or restored."""

import os
import sqlite3
import stat
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.sqlite_failures import BUSY_SECONDS, failures
from ai_gateway.audit.store import ChainForked, StoreDamaged, StoreLost, StoreUnavailable

ASIDE_SECONDS: Final = 3600.0  # between two damaged files that are kept
CHECKPOINT_BYTES: Final = 4000 * 4096  # of the journal: larger ones write a page of an index once for many entries


class Change(Enum):
    """What a check finds while the database itself is where it was."""

    NONE = "none"
    JOURNAL = "journal"  # the files beside it are gone: a connection that opens it anew does not see what is written
    CONTENT = "content"  # another program has written to it


class Stored(NamedTuple):
    """The newest entry of this process that is in the store."""

    writer: str
    sequence: int
    hash: bytes


class SqliteWatch:
    """Files by device and inode, as they were when `hold` was called. Each check costs a call of `stat` for each file;
    `journal` are the ends of the names of those beside the database.

    The database itself is written to only while its journal is folded into it, which the store does on its own and then
    says `wrote`: any other change of it is another program's.
    """

    def __init__(self, path: Path, journal: tuple[str, ...] = ("-wal", "-shm")) -> None:
        self._path = path
        self._journal = [path.with_name(path.name + end) for end in journal]
        self._held: dict[Path, tuple[int, int]] = {}
        self._touched: tuple[int, int] | None = None
        self.journal_bytes = 0

    @property
    def database_bytes(self) -> int:
        """Of the database itself, after the last change of our own."""
        return 0 if self._touched is None else self._touched[1]

    @property
    def holds(self) -> bool:
        """Whether there is anything to be missed."""
        return bool(self._held)

    def hold(self) -> None:
        """These are the files from now on. Raises OSError."""
        self._held = {path: _identity(os.stat(path)) for path in (self._path, *self._journal)}
        self.wrote()

    def wrote(self) -> None:
        """The last change of the database was our own. Raises OSError."""
        self._touched = _touched(os.stat(self._path))

    def forget(self) -> None:
        """Whatever is there is taken next time."""
        self._held = {}

    def missing(self) -> str | None:
        """The sentence that says what became of the database; None while it is the one that is held.

        Raises StoreUnavailable where that cannot be known now.
        """
        try:
            found = os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            folder = self._path.parent
            where = f"{self._path}" if folder.is_dir() else f"{folder}, and {self._path.name} in it,"
            return f"{where} was deleted or moved while it was used"
        except OSError as error:
            raise StoreUnavailable(f"{self._path} cannot be seen any more: {error.strerror}") from error
        if _identity(found) != self._held.get(self._path):
            return f"{self._path} was replaced by another file while it was used"
        return None if found.st_size else f"{self._path} was emptied while it was used"

    def check(self) -> Change:
        """Raises StoreLost where the database is not the one that is held, StoreUnavailable where that is unknown."""
        reason = self.missing()
        if reason is not None:
            raise StoreLost(reason)
        try:
            journal = [os.stat(path) for path in self._journal]
        except OSError:
            return Change.JOURNAL
        self.journal_bytes = journal[0].st_size if journal else 0
        if any(_identity(found) != self._held.get(path) for path, found in zip(self._journal, journal, strict=True)):
            return Change.JOURNAL
        return Change.NONE if _touched(os.stat(self._path)) == self._touched else Change.CONTENT


def make(path: Path) -> None:
    """Makes the file, readable by its owner alone, if there is none. Raises OSError, StoreUnavailable for no file.

    One that is there is not opened here: closing it would give up SQLite's own locks of this process.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return
    if not stat.S_ISREG(found.st_mode):
        raise StoreUnavailable(f"{path} is not a file")


def is_absent(path: Path) -> bool:
    """Whether nothing is there, or an empty file."""
    try:
        return os.stat(path).st_size == 0
    except FileNotFoundError:
        return True


def has_all(connection: sqlite3.Connection, stored: Stored) -> bool:
    """Whether the store has what this process has stored, but for what was removed as configured."""
    writer, sequence, digest = stored
    row = connection.execute(
        "SELECT hash FROM entries WHERE writer = ? AND sequence = ?", (writer, sequence)
    ).fetchone()
    if row is None:
        removed = "SELECT 1 FROM checkpoints WHERE kind = 'removed' AND writer = ? AND sequence >= ?"
        return connection.execute(removed, (writer, sequence)).fetchone() is not None
    counted = "SELECT count(*), min(sequence), max(sequence) FROM entries WHERE writer = ?"
    count, first, last = connection.execute(counted, (writer,)).fetchone()
    return row[0] == digest and isinstance(first, int) and isinstance(last, int) and count == last - first + 1


def is_in_chain(connection: sqlite3.Connection, intent: AuditEntry) -> bool:
    """Whether a gateway wrote it."""
    sql = (
        "SELECT 1 FROM entries WHERE writer = ?1 AND sequence = ?2 AND kind = 'intent' AND intent = ?3 "
        "UNION ALL SELECT 1 FROM checkpoints WHERE writer = ?1 AND sequence >= ?2 AND kind IN ('removed', 'lost')"
    )
    given = (intent.writer, intent.sequence, intent.intent)
    return connection.execute(sql, given).fetchone() is not None


def not_there(connection: sqlite3.Connection, pairs: list[tuple[AuditEntry, bytes]]) -> list[tuple[AuditEntry, bytes]]:
    """What of a batch is still to be written. Raises ChainForked where other entries stand in its place."""
    writer = pairs[0][0].writer
    sql = "SELECT sequence, hash FROM entries WHERE writer = ? AND sequence >= ? ORDER BY sequence"
    there = dict(connection.execute(sql, (writer, pairs[0][0].sequence)).fetchall())
    if any(there.get(entry.sequence, digest) != digest for entry, digest in pairs):
        raise ChainForked(writer, *max(there.items()))
    return [pair for pair in pairs if pair[0].sequence not in there]


def reader_of(path: Path) -> sqlite3.Connection:
    """A connection that cannot write."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)


class SetAside:
    """Moves a database that cannot be used out of the way, with its journal; one an hour, whatever a disk does."""

    def __init__(self, path: Path, clock: Callable[[], int], monotonic: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._monotonic = monotonic
        self._next_at = float("-inf")

    def move(self) -> Path:
        """Where it is then. Raises StoreDamaged before its hour is over, StoreUnavailable."""
        path = self._path
        if self._monotonic() < self._next_at:
            raise StoreDamaged(f"{path} is damaged once more")
        self._next_at = self._monotonic() + ASIDE_SECONDS
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock() // 10**9))
        aside = path.with_name(f"{path.name}.damaged-{moment}")
        with failures():
            for end in ("-wal", "-shm", "-journal"):
                beside = path.with_name(path.name + end)
                if beside.exists():
                    beside.rename(aside.with_name(aside.name + end))
            path.rename(aside)
        return aside


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _touched(found: os.stat_result) -> tuple[int, int]:
    return found.st_mtime_ns, found.st_size
