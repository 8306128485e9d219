"""SQLite: what is written can be asked, page by page, and goes by whole segments when it is old."""

import itertools
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.audit.entries import KEY, START_NS, WRITER, archive, entry, fill, mixed, store

from ai_gateway.audit.chain import Link, checkpoint, verify
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.sqlite import SqliteStore
from ai_gateway.audit.sqlite_archive import SqliteArchive
from ai_gateway.audit.store import IntentsGone, Query, StoreUnavailable
from ai_gateway.audit.tables import MOST_LOOKED_AT

FILTERS: dict[str, tuple[str, Any]] = {
    "actor": ("actor", "caller-3"),
    "model": ("model_asked", "coder"),
    "status": ("status", 404),
    "outcome": ("outcome", "refused"),
    "tenant": ("tenant", "team-a"),
    "request_id": ("request_id", "r77"),
}


def walk(asked: SqliteArchive, query: Query) -> Iterator[AuditEntry]:
    """All entries of a query, page by page; a page never holds more than its limit."""
    for _ in range(10_000):
        page = asked.page(query)
        assert len(page.entries) <= query.limit
        yield from page.entries
        if page.next is None:
            return
        query = msgspec.structs.replace(query, after=page.next)
    raise AssertionError("the cursor never ends")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[SqliteArchive, list[AuditEntry]]:
    """An archive of some hundred entries, and these entries."""
    path = tmp_path_factory.mktemp("audit") / "audit.db"
    entries = mixed(800)
    fill(path, entries)
    return archive(path), entries


def test_what_was_written_is_read_as_it_was(filled: tuple[SqliteArchive, list[AuditEntry]]) -> None:
    asked, entries = filled
    assert list(walk(asked, Query(limit=1000))) == entries[::-1]
    assert list(verify(asked.chain(), asked.checkpoints(), KEY)) == []


@pytest.mark.parametrize("names", [c for n in range(1, 4) for c in itertools.combinations(FILTERS, n)])
def test_every_combination_of_filters_finds_what_it_names(
    filled: tuple[SqliteArchive, list[AuditEntry]], names: tuple[str, ...]
) -> None:
    """The newest first, none twice, none left out; a common value (200, ok) by another way than a rare one."""
    asked, entries = filled
    for values in ({name: FILTERS[name][1] for name in names}, _common(names)):
        wanted = [one for one in entries[::-1] if all(getattr(one, FILTERS[n][0]) == v for n, v in values.items())]
        assert list(walk(asked, Query(limit=7, **values))) == wanted


def _common(names: tuple[str, ...]) -> dict[str, Any]:
    usual = {name: value for name, (_, value) in FILTERS.items()} | {"status": 200, "outcome": "ok"}
    return {name: usual[name] for name in names}


def test_a_time_range_takes_its_beginning_and_not_its_end(filled: tuple[SqliteArchive, list[AuditEntry]]) -> None:
    asked, entries = filled
    since, until = entries[100].at_ns, entries[200].at_ns
    assert list(walk(asked, Query(since_ns=since, until_ns=until, limit=30))) == entries[100:200][::-1]
    found = list(walk(asked, Query(actor="caller-3", since_ns=since, until_ns=until, limit=3)))
    assert found == [one for one in entries[100:200][::-1] if one.actor == "caller-3"]


def test_entries_of_one_moment_are_all_there(tmp_path: Path) -> None:
    """The cursor goes by writer and sequence, too."""
    entries = [entry(sequence, at_ns=START_NS) for sequence in range(1, 30)]
    fill(tmp_path / "audit.db", entries)
    others = [msgspec.structs.replace(one, writer="there/2") for one in entries]
    fill(tmp_path / "audit.db", others)
    found = [(one.writer, one.sequence) for one in walk(archive(tmp_path / "audit.db"), Query(limit=4))]
    assert found == sorted(((one.writer, one.sequence) for one in entries + others), reverse=True)


def test_a_cursor_is_stable_while_entries_come(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    entries = mixed(60)
    fill(path, entries[:40])
    asked = archive(path)
    first = asked.page(Query(limit=10))
    written = store(path)
    written.write(entries[40:], [b""] * 20)
    rest = walk(asked, Query(limit=10, after=first.next))
    assert [*first.entries, *rest] == entries[:40][::-1]
    written.close()


def test_a_page_looks_at_so_many_entries_and_says_where_to_go_on(tmp_path: Path) -> None:
    """Filters that no index has together, and one match at the very end."""
    path = tmp_path / "audit.db"
    count = MOST_LOOKED_AT * 2 + 10
    entries = [entry(sequence, actor="busy", status=404 if sequence == 1 else 200) for sequence in range(1, count + 1)]
    fill(path, entries)
    asked = archive(path)
    query = Query(actor="busy", status=404)
    pages = []
    while True:
        pages.append(asked.page(query))
        if pages[-1].next is None:
            break
        query = msgspec.structs.replace(query, after=pages[-1].next)
    assert [len(page.entries) for page in pages] == [0, 0, 1]


def test_intents_are_no_part_of_a_page(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    fill(path, [entry(1, kind="intent", intent="a#1"), entry(2, intent="a#1")])
    assert [one.sequence for one in walk(archive(path), Query())] == [2]


def test_tokens_of_a_day_are_summed_by_caller_tenant_and_model(tmp_path: Path) -> None:
    midnight = 1_700_006_400 * 10**9  # 2023-11-15
    told = [
        entry(1, at_ns=midnight - 1, started_ns=midnight, model_asked="m", tokens_in=1000, tokens_out=1000),
        entry(2, at_ns=midnight, started_ns=midnight, model_asked="m", tokens_in=1, tokens_out=2),
        entry(3, at_ns=midnight + 5, started_ns=midnight, model_asked="m", tokens_in=4),
        entry(4, at_ns=midnight + 6, started_ns=midnight, model_asked="m", tokens_in=8, actor="a", tenant="t"),
        entry(5, at_ns=midnight + 7, status=404),
        entry(6, at_ns=midnight + 86_400 * 10**9, started_ns=midnight, model_asked="m", tokens_in=16),
    ]
    fill(tmp_path / "audit.db", told)
    found = archive(tmp_path / "audit.db").usage_of_day("2023-11-15")
    assert {(used.actor, used.tenant, used.tokens) for used in found} == {("anonymous", None, 7), ("a", "t", 8)}


def test_a_batch_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    written = store(path)
    written.write([entry(1)], [b"1"])
    with pytest.raises(StoreUnavailable):
        written.write([entry(2), entry(1)], [b"2", b"1"])
    written.write([entry(2)], [b"2"])
    assert [one.sequence for one in walk(archive(path), Query())] == [2, 1]
    written.close()


def test_an_intent_is_closed_once(tmp_path: Path) -> None:
    written = store(tmp_path / "audit.db")
    written.write([entry(1, kind="intent", intent="here/1#1")], [b"1"])
    written.write([entry(2, intent="here/1#1")], [b"2"])
    with pytest.raises(IntentsGone) as gone:
        written.write([entry(3), entry(4, intent="here/1#1")], [b"3", b"4"])
    assert gone.value.intents == {"here/1#1"}
    assert [one.sequence for one in walk(archive(tmp_path / "audit.db"), Query())] == [2]
    written.close()


def test_only_intents_of_the_dead_are_lost(tmp_path: Path) -> None:
    """While another gateway has the file, a writer is dead when it was silent for a minute, as long as that is."""
    now = [1000.0]
    alive = store(tmp_path / "audit.db")
    other = SqliteStore(tmp_path / "audit.db", False, time.time_ns, monotonic=lambda: now[0])
    other.open()
    alive.heartbeat("here/1")
    alive.write([entry(1, kind="intent", intent="here/1#1")], [b"1"])
    for _ in range(4):
        assert other.lost_intents("there/2") == []
        now[0] += 20
    assert [one.intent for one in other.lost_intents("there/2")] == ["here/1#1"]
    assert other.lost_intents("here/1") == []
    alive.heartbeat("here/1")
    assert other.lost_intents("there/2") == []
    alive.close()
    other.close()


def test_nobody_is_dead_behind_an_outage_that_all_had(tmp_path: Path) -> None:
    """A lock, a full disk, a machine that slept: whoever is back first has heard nobody for long, and says nothing."""
    now = [1000.0]
    alive = store(tmp_path / "audit.db", clock=lambda: time.time_ns() - 3600 * 10**9)
    other = SqliteStore(tmp_path / "audit.db", False, time.time_ns, monotonic=lambda: now[0])
    other.open()
    alive.heartbeat("here/1")
    alive.write([entry(1, kind="intent", intent="here/1#1")], [b"1"])
    assert other.lost_intents("there/2") == []
    now[0] += 600
    assert other.lost_intents("there/2") == []
    alive.close()
    other.close()


def test_a_gateway_that_opens_its_store_again_is_not_gone_meanwhile(tmp_path: Path) -> None:
    """Its place among those that have the file stays, also where the database itself cannot be opened."""
    alive, other = store(tmp_path / "audit.db"), store(tmp_path / "audit.db")
    alive.write([entry(1, kind="intent", intent="here/1#1")], [b"1"])
    path = tmp_path / "audit.db"
    held = path.rename(tmp_path / "elsewhere")
    path.mkdir()
    with pytest.raises(StoreUnavailable):
        alive.open()
    assert other.lost_intents("there/2") == []
    path.rmdir()
    held.rename(path)
    alive.close()
    assert [one.intent for one in other.lost_intents("there/2")] == ["here/1#1"]
    other.close()


def test_whoever_is_alone_with_the_file_knows_all_others_dead(tmp_path: Path) -> None:
    gone = store(tmp_path / "audit.db")
    gone.heartbeat("here/1")
    gone.write([entry(1, kind="intent", intent="here/1#1")], [b"1"])
    gone.close()
    new = store(tmp_path / "audit.db")
    assert [one.intent for one in new.lost_intents("here/2")] == ["here/1#1"]
    new.close()


def test_old_segments_go_whole_and_the_rest_of_the_chain_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    entries = mixed(30)
    hashes = fill(path, entries)
    written = store(path)
    for sequence in (10, 20, 30):
        at_ns = entries[sequence - 1].at_ns + 1
        written.write_checkpoint(checkpoint(KEY, "checkpoint", (WRITER, sequence, hashes[sequence - 1]), at_ns))
    assert written.remove(entries[24].at_ns, 1 << 40, KEY) == 20
    assert written.remove(entries[24].at_ns, 1 << 40, KEY) == 0
    asked = archive(path)
    assert [one.sequence for one in walk(asked, Query())] == list(range(30, 20, -1))
    assert list(verify(asked.chain(), asked.checkpoints(), KEY)) == []
    written.close()


def test_what_a_killed_gateway_left_behind_its_last_checkpoint_grows_old_too(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    entries = mixed(30)
    fill(path, entries)
    written = store(path)
    assert written.remove(entries[-1].at_ns, 1 << 40, KEY) == 0
    assert written.remove(entries[-1].at_ns + 1, 1 << 40, KEY) == 30
    asked = archive(path)
    assert list(verify(asked.chain(), asked.checkpoints(), KEY)) == []
    written.close()


def test_a_store_that_is_too_large_loses_its_oldest_segments(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    entries = [entry(sequence, request_content="x" * 5000) for sequence in range(1, 201)]
    hashes = fill(path, entries)
    written = store(path)
    for sequence in range(20, 201, 20):
        at = (WRITER, sequence, hashes[sequence - 1])
        written.write_checkpoint(checkpoint(KEY, "checkpoint", at, entries[sequence - 1].at_ns))
    while written.remove(0, 500_000, KEY):
        pass
    written.close()
    kept = [one.sequence for one in walk(archive(path), Query(limit=1000))]
    assert kept[0] == 200
    assert 20 <= len(kept) <= 100
    connection = sqlite3.connect(path)
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.close()
    assert pages * 4096 < 700_000  # the space went back to the system


def test_a_store_that_is_too_large_loses_what_killed_gateways_left_without_a_checkpoint(tmp_path: Path) -> None:
    """The oldest first; what is of this hour may be a live gateway's."""
    path, now = tmp_path / "audit.db", START_NS + 86_400 * 10**9
    for writer, at_ns in (("a/1", START_NS), ("b/1", START_NS + 10**9), ("c/1", now - 10**9)):
        fill(path, [entry(n, writer=writer, at_ns=at_ns + n, request_content="x" * 5000) for n in range(1, 21)])
    written = store(path, clock=lambda: now)
    assert written.remove(0, 1 << 40, KEY) == 0
    assert written.remove(0, 1, KEY) == 40
    asked = archive(path)
    assert {one.writer for one in walk(asked, Query())} == {"c/1"}
    assert list(verify(asked.chain(), asked.checkpoints(), KEY)) == []
    written.close()


@pytest.mark.parametrize("changed", ["'no hex'", "NULL", "7"])
def test_hashes_that_were_changed_keep_nothing_from_growing_old(tmp_path: Path, changed: str) -> None:
    path = tmp_path / "audit.db"
    entries = mixed(30)
    hashes = fill(path, entries)
    written = store(path)
    for sequence in (10, 20):
        at = (WRITER, sequence, hashes[sequence - 1])
        written.write_checkpoint(checkpoint(KEY, "checkpoint", at, entries[sequence - 1].at_ns + 1))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE checkpoints SET hash = {changed} WHERE sequence = 10")
        connection.execute(f"UPDATE entries SET hash = {changed} WHERE sequence = 30")
    assert written.remove(entries[24].at_ns, 1 << 40, KEY) == 20
    assert written.remove(entries[-1].at_ns + 1, 1 << 40, KEY) == 10
    written.close()


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "deeper" / "audit.db"
    fill(path, mixed(3))
    written = store(path)
    for name in ("audit.db", "audit.db-wal", "audit.db.lock"):
        assert stat.S_IMODE(path.with_name(name).stat().st_mode) == 0o600, name
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    written.close()


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_a_file_that_holds_no_audit_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "audit.db"
    path.write_bytes(content)
    with pytest.raises(StoreUnavailable):
        archive(path)


def test_a_reader_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        archive(tmp_path / "audit.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change", ["status = 200", "kind = 'nothing'", "hash = NULL", "bytes_in = 'x'", "actor = NULL"]
)
def test_an_edit_in_the_database_is_found_whatever_it_is(tmp_path: Path, change: str) -> None:
    path = tmp_path / "audit.db"
    entries = [msgspec.structs.replace(one, status=500) for one in mixed(9)]
    fill(path, entries)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"UPDATE entries SET {change} WHERE sequence = 4")
    connection.close()
    asked = archive(path)
    assert [failure[:3] for failure in verify(asked.chain(), asked.checkpoints(), KEY)] == [(WRITER, 4, "edited")]


def test_hashes_in_the_database_are_those_of_the_chain(tmp_path: Path) -> None:
    entries = mixed(5)
    assert fill(tmp_path / "audit.db", entries) == Link(KEY).join(entries)
