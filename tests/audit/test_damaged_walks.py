"""Walks over rows that somebody has changed, and sums of them: all is met once, and no sum grows or fails for it."""

from pathlib import Path

import msgspec
import pytest
from tests.audit.entries import archive, fill, mixed
from tests.audit.stores import SqliteWorld, World
from tests.audit.test_day_usage import CALL, used
from tests.audit.test_verification import report, written
from tests.audit.writing import DAY_NS, KEY, NOON_NS, Chain, entry, intent

from ai_gateway.audit.query import page_of, read_query, write_cursor
from ai_gateway.audit.sqlite import SqliteStore
from ai_gateway.audit.sqlite_schema import STEPS
from ai_gateway.audit.store import MOST_TOKENS, Query, StoreTooNew
from ai_gateway.audit.tables import Step
from ai_gateway.audit.verification import examine

COUNT = 120
CHANGES = [
    "sequence = -5 WHERE sequence = 60",
    "at_ns = -5 WHERE sequence < 60",
    "at_ns = 9223372036854775807 WHERE sequence = 60",
    "writer = 'a' || char(0) || 'b' WHERE sequence = 60",
    "writer = cast(x'61ff80' AS TEXT) WHERE sequence = 60",
    "bytes_in = 'x' WHERE sequence % 3 = 0",
    "bytes_in = 'x'",
]


@pytest.mark.parametrize("limit", [1, 7, 1000])
@pytest.mark.parametrize("change", CHANGES)
def test_a_walk_by_cursors_meets_each_row_once(tmp_path: Path, change: str, limit: int) -> None:
    world = SqliteWorld(tmp_path)
    Chain().write(world.gateway(), *(entry() for _ in range(COUNT)))
    world.execute(f"UPDATE entries SET {change}")
    asked, given, met = world.archive(), {"limit": str(limit)}, 0
    for _ in range(COUNT + 2):
        page = page_of(asked, read_query(given))
        met += len(page.entries) + len(page.damaged)
        cursor = write_cursor(page.next)
        if cursor is None:
            break
        given["cursor"] = cursor
    else:
        raise AssertionError("it never ends")
    assert met == COUNT
    world.close()


def test_writers_that_are_no_utf8_at_one_moment_end_no_walk_and_are_all_met(tmp_path: Path) -> None:
    """A place that is more than it stands for would be met again for ever: 0x80 sorts before the letter behind it."""
    world = SqliteWorld(tmp_path)
    Chain().write(world.gateway(), *(entry() for _ in range(COUNT)))
    world.execute("UPDATE entries SET writer = cast(x'6180c3a9' AS TEXT), at_ns = 5")
    asked, query, met = world.archive(), Query(limit=50), 0
    for _ in range(COUNT):
        page = page_of(asked, query)
        met += len(page.entries) + len(page.damaged)
        assert write_cursor(page.next) is None or page.next is not None
        if page.next is None:
            break
        query = msgspec.structs.replace(query, after=page.next)
    assert met == COUNT
    world.close()


@pytest.mark.parametrize("value", ["4611686018427387904", "-9223372036854775808"])
@pytest.mark.parametrize("column", ["tokens_in", "tokens_counted"])
def test_numbers_that_no_gateway_writes_make_no_sum_fail(world: World, column: str, value: str) -> None:
    """A sum that fails would begin everybody's budget of the day anew."""
    other = {**CALL, "actor": "bob"}
    Chain().write(
        world.gateway(), *(entry(**CALL, tokens_in=1, tokens_out=2) for _ in range(5)), entry(**other, tokens_counted=7)
    )
    table = "entries" if isinstance(world, SqliteWorld) else "audit_entries"
    world.execute(f"UPDATE {table} SET {column} = {value} WHERE actor = 'ann'")
    each = {"tokens_in": 2, "tokens_counted": 0}[column] if value[0] == "-" else MOST_TOKENS
    each += 2 if (column, value[0]) == ("tokens_in", "4") else 0
    assert used(world) == 5 * each + 7


def test_a_value_that_is_no_number_costs_nobody_and_hides_nothing(tmp_path: Path) -> None:
    world = SqliteWorld(tmp_path)
    Chain().write(world.gateway(), *(entry(**CALL, tokens_in=1, tokens_out=2) for _ in range(5)))
    for column, value in (("tokens_in", "'abc'"), ("tokens_out", "1e300"), ("tokens_counted", "x'00'")):
        world.execute(f"UPDATE entries SET {column} = {value} WHERE sequence = 3")
    assert used(world) == 12
    world.close()


@pytest.mark.parametrize(("held", "counted"), [(2**53, MOST_TOKENS), (-(10**9), 0)])
def test_an_open_intent_that_was_changed_holds_no_more_than_a_call(world: World, held: int, counted: int) -> None:
    Chain().write(world.gateway(), entry(**CALL, tokens_counted=40), intent("a", **CALL, tokens_counted=100))
    sql = f"UPDATE {world.intents} SET entry = replace(cast(entry AS TEXT), '_counted\":100', '_counted\":{held}')"
    assert world.execute(sql) == 1
    assert used(world) == 40 + counted


def test_an_open_intent_that_is_nested_without_end_stands_in_nobodys_way(world: World) -> None:
    store, chain = world.gateway(), Chain()
    chain.write(store, intent("a", **CALL), entry(**CALL, tokens_counted=40))
    world.execute(f"UPDATE {world.intents} SET entry = '{'[' * 100_000}'")
    assert used(world) == 40
    world.fall_silent("gateway/1", store, "later/1")
    assert list(store.lost_intents("later/1")) == []
    (failure,) = report(world).findings
    assert failure.what == "unended"


def test_what_is_gone_is_a_fault_and_not_a_trouble(world: World) -> None:
    written(world)
    world.execute(f"DROP TABLE {world.intents}")
    assert any("intents is gone" in sentence for sentence in report(world).store)


def test_a_newer_database_is_not_called_a_changed_one(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    fill(path, mixed(3), KEY)
    store = SqliteStore(path, False, lambda: 1, (*STEPS, Step(("ALTER TABLE entries ADD COLUMN added TEXT",))))
    store.open()
    store.close()
    with pytest.raises(StoreTooNew):
        examine(archive(path), [], KEY)


@pytest.mark.parametrize("writer", ["NULL", "x'00ff'", "cast(x'ff80' AS TEXT)"])
@pytest.mark.parametrize("max_bytes", [1, 1 << 40])
def test_a_row_of_no_writer_does_not_end_retention(tmp_path: Path, writer: str, max_bytes: int) -> None:
    """The gateway would fail at it again and again, and one of `strict` would refuse every call."""
    world = SqliteWorld(tmp_path)
    store = world.gateway()
    Chain().write(store, *(entry(at_ns=NOON_NS - DAY_NS + number) for number in range(10)))
    Chain("odd/1").write(store, entry(at_ns=5))
    assert world.execute(f"UPDATE entries SET writer = {writer} WHERE writer = 'odd/1'") == 1
    assert store.remove(NOON_NS, max_bytes, KEY) == 10
    assert store.remove(NOON_NS, max_bytes, KEY) == 0
    world.close()
