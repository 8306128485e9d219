"""Values of any kind in any column, flipped bits and cut files: each is a fault or an outage, none is a traceback."""

import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from tests.audit.entries import archive, fill, mixed
from tests.audit.stores import SqliteWorld
from tests.audit.test_verification import COUNT, report, written
from tests.audit.writing import KEY, NOON_NS, Chain, entry, intent

from ai_gateway.audit.query import page_of
from ai_gateway.audit.sqlite import SqliteStore
from ai_gateway.audit.sqlite_archive import SqliteArchive
from ai_gateway.audit.store import Query, StoreDamaged, StoreUnavailable
from ai_gateway.audit.verification import examine

VALUES = [
    *("NULL", "'abc'", "''", "x'00ff'", "1.5", "-1", "0", "9223372036854775807", "-9223372036854775808", "1e300"),
    *(
        "cast(x'ff80' AS TEXT)",
        "'a' || char(0) || 'b'",
        "char(27) || '[2J'",
        "zeroblob(100000)",
        "'4711'",
        "char(55357)",
    ),
]
COLUMNS = ["writer", "sequence", "kind", "at_ns", "actor", "status", "stream", "outcome", "intent", "hash", "tenant"]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("value", VALUES)
def test_any_value_in_any_column_of_sqlite_is_a_fault_and_no_traceback(tmp_path: Path, column: str, value: str) -> None:
    world = SqliteWorld(tmp_path)
    written(world)
    same = f"SELECT count(*) FROM entries WHERE sequence = 7 AND {column} IS {value}"
    assert world.execute(f"UPDATE OR IGNORE entries SET {column} = {value} WHERE sequence = 7") == 1
    with closing(sqlite3.connect(tmp_path / "audit.db")) as connection:
        is_same = connection.execute(same).fetchone()[0] and column in ("tenant", "intent") and value == "NULL"
    found = report(world)
    assert found.is_good == bool(is_same)
    asked = world.archive()
    page = page_of(asked, Query(limit=1000))
    assert len(page.entries) + len(page.damaged) + asked.unplaced() in (COUNT - 1, COUNT)
    asked.usage_of_day("2024-10-04")
    world.close()


@pytest.mark.parametrize("table", ["checkpoints", "intents", "writers", "schema"])
@pytest.mark.parametrize("value", ["NULL", "'abc'", "x'00ff'", "1e300", "cast(x'ff80' AS TEXT)", "-1"])
def test_any_value_in_the_other_tables_is_borne_by_reader_and_writer(tmp_path: Path, table: str, value: str) -> None:
    """A version that cannot be read makes the store a damaged one; the rest is left alone, and found."""
    world = SqliteWorld(tmp_path)
    store, chain = world.gateway(), Chain()
    chain.write(store, intent("a"), entry())
    store.heartbeat("gateway/1")
    store.write_checkpoint(chain.checkpoint(NOON_NS))
    with closing(sqlite3.connect(tmp_path / "audit.db", isolation_level=None)) as connection:
        names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        for name in names:
            connection.execute(f"UPDATE OR IGNORE {table} SET {name} = {value}")
    try:
        assert not report(world).is_good or table == "writers"
    except StoreUnavailable:
        assert table == "schema"
    later = SqliteStore(tmp_path / "audit.db", True, time.time_ns)
    try:
        later.open()
        later.lost_intents("later/1")
        later.remove(NOON_NS * 2, 1 << 40, KEY)
        later.close()
    except StoreUnavailable:
        assert table == "schema"
    world.close()


@pytest.mark.parametrize("damage", [1, 20, 500])
def test_a_file_with_flipped_bytes_is_a_fault_or_whole_and_never_a_traceback(tmp_path: Path, damage: int) -> None:
    """Opened, read, asked and verified; what is found good has all its entries."""
    path = tmp_path / "audit.db"
    fill(path, mixed(300), KEY)
    content, rng = path.read_bytes(), random.Random(damage)
    for _ in range(60):
        broken = bytearray(content)
        for _ in range(damage):
            place = rng.randrange(len(broken))
            broken[place] ^= 1 << rng.randrange(8)
        path.write_bytes(broken)
        _bear(path)


def test_a_file_that_was_cut_anywhere_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    fill(path, mixed(300), KEY)
    content = path.read_bytes()
    for length in (0, 1, 99, 100, 4095, 4096, 4097, len(content) // 2, len(content) - 4096, len(content) - 1):
        path.write_bytes(content[:length])
        assert not _bear(path)


def _bear(path: Path) -> bool:
    """Whether all of it is there."""
    for beside in path.parent.glob("audit.db-*"):
        beside.unlink()
    try:
        asked = SqliteArchive(path)
        asked.open()
        found = examine(asked, [], KEY)
        for ask in (lambda: page_of(asked, Query(limit=1000)), lambda: asked.usage_of_day("2023-11-14")):
            _suffer(ask)
        asked.close()
    except StoreUnavailable:
        return False
    assert not found.is_good or found.entries == 300
    store = SqliteStore(path, False, time.time_ns)
    _suffer(store.open)
    _suffer(lambda: store.lost_intents("a/1"))
    _suffer(lambda: Chain("later/1").write(store, entry()))
    _suffer(lambda: store.remove(1, 1 << 40, KEY))
    store.close()
    return found.is_good


def _suffer(ask: Callable[[], object]) -> None:
    with suppress(StoreUnavailable):
        ask()


def test_a_damaged_page_is_a_fault_and_not_a_trouble(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    fill(path, mixed(300), KEY)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 4096 // 2 * 4096)
        file.write(b"\xff" * 8192)
    found = examine(archive(path), [], KEY)
    assert any("malformed" in sentence or "SQLite finds" in sentence for sentence in found.store)
    path.write_bytes(b"no database at all, but long enough to be looked at" * 50)
    with pytest.raises(StoreDamaged, match="not a database"):
        archive(path)
