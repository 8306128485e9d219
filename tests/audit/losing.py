"""An SQLite store in use, and what somebody does to its files."""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.audit.entries import archive
from tests.audit.writing import KEY, Chain, entry

from ai_gateway.audit.sqlite import SqliteStore
from ai_gateway.audit.store import StoreLost
from ai_gateway.audit.verification import VerifyResult, examine

MANY = 400  # entries: more pages than those that every write touches


class Place:
    """A store in use, with a chain of which MANY entries are in the database and none in its journal."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "state" / "audit.db"
        self.aside = folder / "aside"
        self.store = SqliteStore(self.path, True, time.time_ns)
        self.store.open()
        self.chain = Chain()
        self.write(MANY)
        self.fold()

    def write(self, count: int = 1) -> None:
        """More entries."""
        self.chain.write(self.store, *(entry(reason="x" * 200) for _ in range(count)))

    def fold(self) -> None:
        """The journal is folded into the database by somebody else, which is no loss."""
        with closing(sqlite3.connect(self.path)) as other:
            assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        self.store.check()

    def copy(self) -> Path:
        """A backup as it should be made."""
        with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(self.aside)) as target:
            source.backup(target)
        return self.aside

    def report(self) -> VerifyResult:
        """What `verify` finds."""
        asked = archive(self.path)
        try:
            return examine(asked, [], KEY)
        finally:
            asked.close()


def deleted(place: Place) -> None:
    place.path.unlink()


def moved(place: Place) -> None:
    place.path.rename(place.aside)


def replaced(place: Place) -> None:
    """By the database of another gateway."""
    other = SqliteStore(place.aside, True, time.time_ns)
    other.open()
    Chain("other/1").write(other, entry(), entry())
    other.close()
    place.aside.rename(place.path)


def restored(place: Place) -> None:
    """From a backup that lacks the newest entries; the journal belongs to the other file and is taken away."""
    backup = place.copy()
    place.write(3)
    place.fold()
    backup.rename(place.path)
    for name in ("audit.db-wal", "audit.db-shm"):
        (place.path.parent / name).unlink()


def restored_in_place(place: Place) -> None:
    """As `cp` does: the same file with other content."""
    backup = place.copy()
    place.write(100)
    place.fold()
    shutil.copyfile(backup, place.path)


def emptied(place: Place) -> None:
    place.path.write_bytes(b"")


def cut(place: Place) -> None:
    os.truncate(place.path, 8192)


def overwritten(place: Place) -> None:
    """With something else; the length stays."""
    with place.path.open("r+b") as file:
        file.write(b"\0" * place.path.stat().st_size)


def folder_moved(place: Place) -> None:
    place.path.parent.rename(place.aside)


def folder_deleted(place: Place) -> None:
    shutil.rmtree(place.path.parent)


def folder_replaced(place: Place) -> None:
    """As where another file system is mounted over it."""
    place.path.parent.rename(place.aside)
    place.path.parent.mkdir()


def rows_deleted(place: Place) -> None:
    with closing(sqlite3.connect(place.path, isolation_level=None)) as other:
        other.execute("DELETE FROM entries WHERE sequence > 390")
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")


LOSSES: list[Callable[[Place], None]] = [
    deleted, moved, replaced, restored, restored_in_place, emptied, cut, overwritten, folder_moved, folder_deleted,
    folder_replaced, rows_deleted,
]  # fmt: skip


def moved_and_back(place: Place) -> None:
    moved(place)
    with pytest.raises(StoreLost):
        place.write()
    place.aside.rename(place.path)


def folder_moved_and_back(place: Place) -> None:
    folder_moved(place)
    with pytest.raises(StoreLost):
        place.write()
    place.aside.rename(place.path.parent)


def replaced_by_a_whole_copy(place: Place) -> None:
    """As where it is moved to another disk."""
    place.copy().rename(place.path)
    for name in ("audit.db-wal", "audit.db-shm"):
        (place.path.parent / name).unlink()


def restored_beside_the_journal(place: Place) -> None:
    """What the backup lacks stands in the journal."""
    backup = place.copy()
    place.write(3)
    backup.rename(place.path)


def journal_deleted(place: Place) -> None:
    place.write(2)
    for name in ("audit.db-wal", "audit.db-shm"):
        (place.path.parent / name).unlink()


def index_file_deleted(place: Place) -> None:
    (place.path.parent / "audit.db-shm").unlink()


def touched(place: Place) -> None:
    os.utime(place.path, (1, 1))


def vacuumed(place: Place) -> None:
    with closing(sqlite3.connect(place.path, isolation_level=None)) as other:
        other.execute("VACUUM")
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def made_read_only(place: Place) -> None:
    """What is open stays open."""
    place.path.chmod(0o400)


def lock_deleted(place: Place) -> None:
    (place.path.parent / "audit.db.lock").unlink()


HARMLESS: list[Callable[[Place], None]] = [
    moved_and_back, folder_moved_and_back, replaced_by_a_whole_copy, restored_beside_the_journal, journal_deleted,
    index_file_deleted, touched, vacuumed, made_read_only, lock_deleted,
]  # fmt: skip
