"""What somebody with rights on the database has done to it is found: each change is a fault, none is a traceback."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.audit.stores import SqliteWorld, World
from tests.audit.writing import KEY, NOON_NS, Chain, end, entry, intent

from ai_gateway.audit.chain import Checkpoint, checkpoint
from ai_gateway.audit.entry import lost_end
from ai_gateway.audit.query import page_of
from ai_gateway.audit.store import Query
from ai_gateway.audit.verification import MOST_FINDINGS, VerifyResult, examine, without_store

COUNT = 20


def report(world: World, *told: Checkpoint) -> VerifyResult:
    """What is found."""
    return examine(world.archive(), told, KEY)


def written(world: World) -> Chain:
    """A chain of COUNT entries."""
    store, chain = world.gateway(), Chain()
    chain.write(store, *(entry(actor=f"caller-{number % 3}") for number in range(COUNT)))
    store.write_checkpoint(chain.checkpoint(NOON_NS))
    return chain


def test_a_whole_store_is_good(world: World) -> None:
    chain = written(world)
    found = report(world, chain.checkpoint(NOON_NS))
    assert found.is_good
    assert (found.entries, found.writers, found.checkpoints) == (COUNT, 1, 2)


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ("actor = NULL", "actor is empty, not a text"),
        ("started_ns = NULL", "started_ns is empty, not a whole number"),
        ("outcome = 'fine'", "outcome is 'fine', not one of ok"),
        ("stream = NULL", "stream is empty, not true or false"),
        ("bytes_in = -5", ""),
        ("bytes_in = 9223372036854775807", ""),
        ("status = -9223372036854775808", ""),
        ("reason = chr(27) || '[31m'", ""),
    ],
)
def test_a_value_that_no_gateway_writes_is_found_in_every_store(world: World, change: str, detail: str) -> None:
    written(world)
    sql = change.replace("chr(27)", "char(27)") if isinstance(world, SqliteWorld) else change
    assert world.execute(f"UPDATE audit_entries SET {sql} WHERE sequence = 7".replace("audit_", _prefix(world))) == 1
    (failure,) = report(world).findings
    assert (failure.writer, failure.sequence, failure.what) == ("gateway/1", 7, "edited")
    assert failure.detail.startswith(detail)
    page = page_of(world.archive(), Query(limit=1000))
    assert len(page.entries) + len(page.damaged) == COUNT
    assert len(page.damaged) == bool(detail)


def _prefix(world: World) -> str:
    return "" if isinstance(world, SqliteWorld) else "audit_"


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("DROP INDEX ends_actor", "the index ends_actor is gone"),
        ("DROP INDEX ends_actor; CREATE INDEX ends_actor ON entries (actor, at_ns) "
         "WHERE kind = 'end' AND true AND actor <> 'caller-1'", "the index ends_actor is not as a gateway makes it"),
        ("CREATE TRIGGER gone AFTER INSERT ON entries BEGIN DELETE FROM entries WHERE actor = 'x'; END",
         "there is a trigger gone, which no gateway has made"),
        ("CREATE VIEW mine AS SELECT * FROM entries", "there is a view mine"),
        ("ALTER TABLE intents ADD COLUMN more", "the table intents is not as a gateway makes it"),
    ],
)  # fmt: skip
def test_a_table_or_index_that_is_not_as_it_was_made_is_found(tmp_path: Path, sql: str, told: str) -> None:
    world = SqliteWorld(tmp_path)
    written(world)
    with closing(sqlite3.connect(tmp_path / "audit.db")) as connection:
        connection.executescript(sql)
    assert any(told in sentence for sentence in report(world).store)
    world.close()


@pytest.mark.parametrize("index", ["ends", "ends_actor", "ends_request", "chain"])
def test_an_index_that_was_rebuilt_without_an_entry_is_found(tmp_path: Path, index: str) -> None:
    """It looks as it was made; whoever asks by it does not see the entry."""
    world = SqliteWorld(tmp_path)
    written(world)
    with closing(sqlite3.connect(tmp_path / "audit.db", isolation_level=None)) as connection:
        (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (index,)).fetchone()
        lacking = f"{sql} AND sequence <> 7" if "WHERE" in sql else f"{sql} WHERE sequence <> 7"
        connection.execute(f"DROP INDEX {index}")
        connection.execute(lacking)
        connection.execute("PRAGMA writable_schema = 1")
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (sql, index))
        connection.execute("PRAGMA writable_schema = RESET")
    if index == "ends":
        assert len(world.archive().page(Query(limit=100)).entries) == COUNT - 1
    found = report(world)
    assert any(f"row 7 missing from index {index}" in sentence for sentence in found.store)
    world.close()


def test_an_intent_that_was_taken_away_is_found(world: World) -> None:
    """Its gateway was killed: nobody would ever write an end for it."""
    store = world.gateway()
    Chain().write(store, intent("a"), end("a"), intent("b"), intent("c"))
    assert report(world).is_good
    assert world.execute(f"DELETE FROM {world.intents} WHERE id = 'b'") == 1
    (failure,) = report(world).findings
    assert (failure.writer, failure.sequence, failure.what) == ("gateway/1", 3, "unended")


def test_an_end_that_was_taken_away_with_the_tail_of_its_chain_leaves_an_unended_intent(world: World) -> None:
    store = world.gateway()
    Chain().write(store, intent("a"), end("a"))
    world.execute("DELETE FROM audit_entries WHERE sequence = 2".replace("audit_", _prefix(world)))
    assert [failure.what for failure in report(world).findings] == ["unended"]


@pytest.mark.parametrize("closer", ["a/1", "z/1"])
def test_an_intent_that_another_gateway_has_closed_is_closed(world: World, closer: str) -> None:
    """Whichever of the two stands first in the order of writers."""
    store = world.gateway()
    (begun,) = Chain("m/1").write(store, intent("a"))
    Chain(closer).write(store, lost_end(begun, NOON_NS))
    assert report(world).is_good


def test_an_intent_that_somebody_puts_in_is_found_and_closed_by_nobody(world: World) -> None:
    """Else a gateway would chain an end of a request that never was."""
    store, chain = world.gateway(), Chain()
    (begun,) = chain.write(store, intent("a"))
    columns = "(id, writer, entry)" if isinstance(world, SqliteWorld) else "(id, writer, at_ns, entry)"
    at = "" if isinstance(world, SqliteWorld) else f"{NOON_NS}, "
    content = '{"writer":"gateway/1","sequence":9,"kind":"intent","at_ns":1,"started_ns":1,"request_id":"x",'
    content += '"trace_id":"","actor":"victim","auth_method":"none","client_address":"","method":"POST","route":"",'
    content += '"outcome":"ok","stream":true,"attempts":1,"bytes_in":1,"bytes_out":1,"intent":"x"}'
    world.execute(f"INSERT INTO {world.intents} {columns} VALUES ('x', 'gateway/1', {at}'{content}')")
    assert [failure.what for failure in report(world).findings] == ["inserted"]
    world.fall_silent("gateway/1", store, "other/1")
    assert [lost.intent for lost in store.lost_intents("other/1")] == [begun.intent]


def test_what_retention_has_taken_is_no_missing_end(tmp_path: Path) -> None:
    """An end in another chain may be gone when its intent, the only entry of a dead writer, is still there."""
    world = SqliteWorld(tmp_path)
    store, chain = world.gateway(), Chain("z/1")
    (begun,) = Chain("m/1").write(store, intent("a"))
    chain.write(store, lost_end(begun, NOON_NS), entry())
    store.write_checkpoint(chain.checkpoint(NOON_NS + 1))
    later = NOON_NS + 10**12
    chain.write(store, entry(at_ns=later))
    assert store.remove(NOON_NS + 10**9, 1 << 40, KEY) == 2
    assert report(world).is_good
    world.close()


def test_nothing_is_removed_because_of_what_somebody_else_wrote(tmp_path: Path) -> None:
    """Else the gateway itself would take away what they want to be gone, and seal that it was old."""
    world = SqliteWorld(tmp_path)
    chain = written(world)
    world.execute(f"INSERT INTO checkpoints VALUES ('checkpoint', 'gateway/1', 15, '{'0' * 64}', 1, 'x')")
    world.execute("INSERT INTO checkpoints VALUES ('checkpoint', 'gateway/1', 'abc', '', 1, '')")
    world.execute(f"DELETE FROM checkpoints WHERE at_ns = {NOON_NS}")
    store = world.gateway()
    assert store.remove(NOON_NS - 10**12, 1 << 40, KEY) == 0
    world.execute("UPDATE entries SET at_ns = 1")
    store.remove(NOON_NS - 10**12, 1 << 40, KEY)
    assert not report(world, chain.checkpoint(NOON_NS)).is_good
    world.close()


def test_what_is_lost_is_told_and_the_rest_is_checked(world: World) -> None:
    store, chain = world.gateway(), Chain()
    chain.numbered([entry()] * 5)
    at = (chain.writer, 5, chain.link.last_hash)
    store.write_checkpoint(checkpoint(KEY, "lost", at, NOON_NS))
    chain.write(store, *[entry()] * 5)
    (failure,) = report(world).findings
    assert (failure.sequence, failure.what) == (1, "lost")
    assert "without 1 to 5" in failure.detail
    world.execute("UPDATE audit_entries SET actor = 'x' WHERE sequence = 8".replace("audit_", _prefix(world)))
    assert [failure.what for failure in report(world).findings] == ["lost", "edited"]


def test_of_a_store_that_is_gone_the_second_place_tells(tmp_path: Path) -> None:
    world = SqliteWorld(tmp_path)
    told = written(world).checkpoint(NOON_NS)
    world.close()
    found = without_store([told], KEY, "audit.db is not there")
    assert [failure.what for failure in found.findings] == ["cut off"]


def test_any_number_of_faults_is_told_in_bounded_space(tmp_path: Path) -> None:
    world = SqliteWorld(tmp_path)
    written(world)
    world.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000) "
        "INSERT INTO checkpoints SELECT 'checkpoint', 'w/' || i, i, '', 1, '' FROM n"
    )
    found = report(world)
    assert (len(found.findings), found.is_cut) == (MOST_FINDINGS, True)
    world.close()


def test_a_value_that_is_larger_than_any_is_a_fault_and_is_not_read(tmp_path: Path) -> None:
    world = SqliteWorld(tmp_path)
    written(world)
    world.execute("UPDATE entries SET reason = zeroblob(100000000) WHERE sequence = 7")
    assert any("larger than any" in sentence for sentence in report(world).store)
    world.close()
