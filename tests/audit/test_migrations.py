"""Versions of the tables: a newer gateway migrates while an older one goes on writing, and one too old says so."""

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.audit.entries import KEY, archive, entry, mixed

from ai_gateway.audit.chain import Link, verify
from ai_gateway.audit.sqlite import SqliteStore
from ai_gateway.audit.sqlite_schema import STEPS, version_of
from ai_gateway.audit.store import Query, StoreTooNew
from ai_gateway.audit.tables import VERSION, Step

NEWER = (*STEPS, Step(("ALTER TABLE entries ADD COLUMN added TEXT", "CREATE INDEX added ON entries (added)")))


def opened(path: Path, steps: Sequence[Step] = STEPS) -> SqliteStore:
    """The store of a gateway that knows these versions."""
    made = SqliteStore(path, False, time.time_ns, steps)
    made.open()
    return made


def version(path: Path) -> tuple[int, int]:
    """As it stands in the file."""
    connection = sqlite3.connect(path)
    try:
        return version_of(connection)
    finally:
        connection.close()


def test_the_version_is_the_number_of_steps() -> None:
    assert len(STEPS) == VERSION


def test_an_older_gateway_goes_on_writing_while_a_newer_one_migrates(tmp_path: Path) -> None:
    """A rolling upgrade: the old pod writes on an open connection, and one that starts anew can, too."""
    path = tmp_path / "audit.db"
    entries = mixed(40)
    hashes = Link(KEY).join(entries)
    old = opened(path)
    old.write(entries[:10], hashes[:10])
    new = opened(path, NEWER)
    assert version(path) == (len(NEWER), 1)
    old.write(entries[10:20], hashes[10:20])
    new.write([entry(1, writer="new/1")], [b"1"])
    old.close()
    old = opened(path)
    old.write(entries[20:], hashes[20:])
    assert version(path) == (len(NEWER), 1)
    new.close()
    old.close()
    assert len(archive(path).page(Query(limit=100)).entries) == 41


def test_a_gateway_that_is_too_old_stops_writing_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    old = opened(path)
    old.write([entry(1)], [b"1"])
    opened(path, (*NEWER, Step(("CREATE TABLE other (x)",), writable_from=len(NEWER) + 1))).close()
    with pytest.raises(StoreTooNew, match="a newer gateway"):
        old.write([entry(2)], [b"2"])
    with pytest.raises(StoreTooNew):
        opened(path)
    old.close()


def test_a_failed_migration_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    opened(path).close()
    with pytest.raises(Exception, match="nowhere"):
        opened(path, (*NEWER, Step(("INSERT INTO nowhere VALUES (1)",))))
    assert version(path) == (len(STEPS), 1)
    opened(path, NEWER).close()


def test_an_older_gateway_does_not_call_newer_entries_edited(tmp_path: Path) -> None:
    """It cannot know what was hashed of columns that it does not know."""
    path = tmp_path / "audit.db"
    opened(path, NEWER).close()
    asked = archive(path)
    with pytest.raises(StoreTooNew):
        list(verify(asked.chain(), asked.checkpoints(), KEY))
