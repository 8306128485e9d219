"""Entries in an SQLite file: the writing side. See https://www.sqlite.org/wal.html for what WAL can and cannot do."""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from ai_gateway.audit.chain import Checkpoint
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.sqlite_failures import BUSY_SECONDS, failures, transaction
from ai_gateway.audit.sqlite_lock import SilenceTracker, WriterLock
from ai_gateway.audit.sqlite_retention import Oldest, keep, remove_segment, size_of
from ai_gateway.audit.sqlite_rows import as_text, is_text
from ai_gateway.audit.sqlite_schema import STEPS, migrate, version_of
from ai_gateway.audit.sqlite_watch import (
    CHECKPOINT_BYTES,
    Change,
    SetAside,
    SqliteWatch,
    Stored,
    has_all,
    is_absent,
    is_in_chain,
    make,
    not_there,
    reader_of,
)
from ai_gateway.audit.store import IntentsGone, StoreDamaged, StoreLost, StoreUnavailable, open_intents
from ai_gateway.audit.tables import LISTED, NAMES, Step, check_writable

MOST_LOST: Final = 500
SEGMENTS_AT_ONCE: Final = 8  # removed in one call: the writer must get its turn
VACUUM_PAGES: Final = 2000
# The journal is folded into the database by `check` alone, so that it knows each write to it that is not its own.
_SETTINGS: Final = ("wal_autocheckpoint = 0", "cache_size = -8000", "journal_size_limit = 0")

_PLACES: Final = ", ".join("?" * (len(NAMES) + 1))
_INSERT: Final = f"INSERT INTO entries ({LISTED}, hash) VALUES ({_PLACES})"  # noqa: S608 - names of our own
_encode: Final = msgspec.json.Encoder().encode

log = logging.getLogger("ai_gateway.audit")


class SqliteStore:
    """The database at `path`, made if need be. `is_synced`: each write is on the disk, not only with the system.

    `clock` is Unix nanoseconds, `monotonic` seconds.
    """

    def __init__(
        self,
        path: Path,
        is_synced: bool,
        clock: Callable[[], int],
        steps: Sequence[Step] = STEPS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._is_synced = is_synced
        self._clock = clock
        self._steps = steps
        self._connection: sqlite3.Connection | None = None
        self._lock = path.with_name(f"{path.name}.lock")
        self._writer_lock = WriterLock(self._lock)
        self._silent = SilenceTracker(monotonic)
        self._watch = SqliteWatch(path)
        self._oldest = Oldest()
        self._stored: Stored | None = None
        self._is_unsure = False  # the last batch may be there
        self._is_damaged = False
        self._set_aside = SetAside(path, clock, monotonic)
        self._is_accepted = False  # that an earlier database is gone
        self._folded_bytes = 0  # of the journal, when it was last folded into the database

    def open(self) -> None:
        """Makes the file, readable by its owner alone, and its tables.

        While what was stored is missing the old connection stays: a file that was deleted exists as long as it does.
        """
        with self._failures():
            self._check_present()
            self._disconnect()
            make(self._path)
            self._connect()
            self._writer_lock.enter()  # behind that: its file beside no database shows that one is gone
            if self._stored is not None and not has_all(self._open(), self._stored):
                raise StoreLost(f"{self._path} does not hold what was stored in it")
            self._watch.hold()
            self._folded_bytes = 0

    def check(self) -> None:
        """Checks the files, and what the database holds if another program has written to it."""
        with self._failures():
            self._writer_lock.stay()
            change = self._watch.check()
            if change is Change.JOURNAL:
                self._restore_journal()
            elif change is Change.CONTENT:
                self._check_content()
            grown = self._watch.journal_bytes - self._folded_bytes
            if grown >= CHECKPOINT_BYTES:
                self._open().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                self._watch.wrote()
            if grown >= CHECKPOINT_BYTES or grown < 0:  # it begins anew when all of it is in the database
                self._folded_bytes = self._watch.journal_bytes if grown > 0 else 0

    def begin_anew(self) -> None:
        """A file that is no database any more is kept beside the new one; one an hour, whatever a disk does."""
        self._disconnect()
        self._writer_lock.leave()
        self._watch.forget()
        self._stored, self._is_accepted = None, True
        if self._is_damaged:
            log.error("the audit database is damaged, and was moved to %s", self._set_aside.move())
            self._is_damaged = False

    def write(self, entries: Sequence[AuditEntry], hashes: Sequence[bytes]) -> None:
        """One transaction, and a check that it has reached the file that is there."""
        pairs = list(zip(entries, hashes, strict=True))
        with self._transaction() as connection:
            check_writable(version_of(connection)[1], len(self._steps))
            if self._is_unsure:
                pairs = not_there(connection, pairs)
            self._settle_intents(connection, [entry for entry, _ in pairs])
            connection.executemany(_INSERT, [(*msgspec.structs.astuple(entry), digest) for entry, digest in pairs])
        self._is_unsure = True
        self.check()
        self._is_unsure = False
        self._stored = Stored(entries[-1].writer, entries[-1].sequence, hashes[-1])

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """One row."""
        with self._transaction() as connection:
            keep(connection, checkpoint)

    def heartbeat(self, writer: str) -> None:
        """One row for each writer."""
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO writers VALUES (?, ?)", (writer, self._clock()))

    def lost_intents(self, writer: str) -> Sequence[AuditEntry]:
        """If no other gateway has the file, all other writers are dead; else those that are silent."""
        signs = (
            "SELECT DISTINCT writer, coalesce(seen_ns, 0) FROM intents LEFT JOIN writers USING (writer) "
            "WHERE writer <> ?"
        )
        intents = "SELECT entry FROM intents WHERE writer = ? LIMIT ?"
        rows: list[tuple[Any]] = []
        with self._failures():
            connection = self._open()
            signed = connection.execute(signs, (writer,)).fetchall()
            found = [(name, sign) for name, sign in signed if is_text(name) and isinstance(sign, int)]
            silent = self._silent.too_long(found)
            # Tested after the query: a gateway that comes now has no intent in what was found.
            dead = [name for name, _ in found] if self._writer_lock.is_alone() else sorted(silent)
            for name in dead:
                rows += connection.execute(intents, (name, MOST_LOST - len(rows))).fetchall()
            return open_intents((row[0] for row in rows), partial(is_in_chain, connection))

    def remove(self, before_ns: int, max_bytes: int, key: bytes) -> int:
        """A few segments; the space goes back to the system bit by bit."""
        removed = 0
        for _ in range(SEGMENTS_AT_ONCE):
            with self._failures():
                connection = self._open()
                is_too_large = size_of(connection) > max_bytes
                segment = self._oldest.find(connection, before_ns, is_too_large, key, self._clock())
            if segment is None:
                break
            with self._transaction() as connection:
                removed += remove_segment(connection, segment, key, self._clock())
        if removed:
            with self._failures():
                # `execute` would take one step, which gives back one page.
                self._open().executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
        return removed

    def close(self) -> None:
        """Also gives up its place among those that have the file."""
        self._disconnect()
        self._writer_lock.leave()

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
        with self._failures(), transaction(self._open()) as connection:
            yield connection

    def _settle_intents(self, connection: sqlite3.Connection, entries: Sequence[AuditEntry]) -> None:
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

    def _check_present(self) -> None:
        """Raises StoreLost where there should be a database and is none, or none with what was stored."""
        if not self._watch.holds:
            if not self._is_accepted and self._lock.exists() and is_absent(self._path):
                raise StoreLost(f"{self._path} is gone: an audit was kept there, as {self._lock.name} beside it shows")
            return
        reason = self._watch.missing()
        if reason is None:
            return
        if self._stored is None or is_absent(self._path) or not self._path.is_file():
            raise StoreLost(reason)
        with closing(reader_of(self._path)) as reader:
            if not version_of(reader)[0] or not has_all(reader, self._stored):
                raise StoreLost(reason)

    def _connect(self) -> None:
        connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
        self._connection = connection
        connection.text_factory = as_text
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._is_synced else 'NORMAL'}")
        for setting in _SETTINGS:
            connection.execute(f"PRAGMA {setting}")
        migrate(connection, self._steps)

    def _restore_journal(self) -> None:
        """The files beside the database are gone, and no other connection sees what they hold; this one has them."""
        is_busy, pages, folded = self._open().execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        if is_busy or pages != folded:
            raise StoreLost(f"the journal of {self._path} was deleted while it was used")
        self._disconnect()
        self._connect()
        if self._stored is not None and not has_all(self._open(), self._stored):
            raise StoreLost(f"the journal of {self._path} was deleted or replaced while it was used")
        self._watch.hold()
        self._folded_bytes = 0
        log.warning("the journal of %s was deleted or replaced while it was used; nothing of it is lost", self._path)

    def _check_content(self) -> None:
        """Through a connection of its own: what this one remembers of the file says nothing about it now."""
        with closing(reader_of(self._path)) as reader:
            is_whole = version_of(reader)[0] > 0 and (self._stored is None or has_all(reader, self._stored))
        if not is_whole:
            raise StoreLost(f"{self._path} was written over while it was used")
        self._watch.wrote()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            with failures():
                yield
        except StoreDamaged as error:
            self._is_damaged = True
            raise StoreDamaged(f"{self._path}: {error}") from error
