"""Versions of the tables: a newer gateway migrates while an older one goes on writing, and one too old says so."""

import sqlite3
import time
from pathlib import Path

import pytest
from tests.audit.entries import KEY, archive, entry, mixed

from ai_gateway.audit.chain import Link, verify
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.sqlite import SqliteStore
from ai_gateway.audit.sqlite_schema import STEPS, Step, version_of
from ai_gateway.audit.store import Query, StoreTooNew
from ai_gateway.audit.tables import VERSION

NEWER = (*STEPS, Step(("ALTER TABLE entries ADD COLUMN added TEXT", "CREATE INDEX added ON entries (added)")))


class Breaking(Step):
    """A step behind which gateways of its version alone may write."""

    writable_from = len(STEPS) + 2


def opened(path: Path, steps: tuple[tuple[str, ...], ...] = STEPS) -> SqliteStore:
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
    opened(path, (*NEWER, Breaking(("CREATE TABLE other (x)",)))).close()
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


def test_an_audit_of_the_first_version_is_read_before_it_is_migrated_and_after(tmp_path: Path) -> None:
    """It has no count of the gateway's own: nothing stands in its place, and the chain is whole."""
    path = tmp_path / "audit.db"
    old = opened(path, STEPS[:1])
    hashes = Link(KEY).join([entry(1, model_asked="m", tokens_in=7)])
    connection = sqlite3.connect(path)
    names = [name for name in AuditEntry.__struct_fields__ if name != "tokens_counted"]
    places = ", ".join("?" * (len(names) + 1))
    values = [getattr(entry(1, model_asked="m", tokens_in=7), name) for name in names]
    connection.execute(f"INSERT INTO entries ({', '.join(names)}, hash) VALUES ({places})", (*values, hashes[0]))
    connection.commit()
    connection.close()
    old.close()
    for _ in range(2):
        asked = archive(path)
        assert not list(verify(asked.chain(), asked.checkpoints(), KEY))
        assert [one.tokens_counted for one in asked.page(Query()).entries] == [None]
        assert [used.tokens for used in asked.usage_of_day("2023-11-14")] == [7]
        asked.close()
        new = opened(path)
        assert version(path) == (len(STEPS), 1)
        new.close()
