"""What PostgreSQL promises beyond the contract of all stores: it is shared, it goes away, and its tables change."""

import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from tests.audit.stores import PostgresqlWorld
from tests.audit.writing import DAY_NS, KEY, NOON_NS, Chain, end, entry, intent
from tests.services.postgresql import PostgreSQL
from tests.services.proxy import Proxy

from ai_gateway.audit.chain import verify
from ai_gateway.audit.postgresql import PostgresqlStore
from ai_gateway.audit.postgresql_connection import PostgresqlConnection
from ai_gateway.audit.postgresql_schema import STEPS
from ai_gateway.audit.store import Archive, ChainForked, IntentsGone, Query, StoreTooNew, StoreUnavailable, StoreUnsure
from ai_gateway.audit.tables import Step

pytestmark = pytest.mark.services


def is_whole(archive: Archive) -> bool:
    """Whether every chain verifies."""
    return not list(verify(archive.chain(), archive.checkpoints(), KEY))


def all_at_once(count: int, do: Callable[[int], None]) -> None:
    """Calls it in that many threads which begin together."""
    barrier = threading.Barrier(count)

    def begin(number: int) -> None:
        barrier.wait(10)
        do(number)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(begin, range(count)))


@pytest.fixture
def proxy(postgresql: PostgreSQL) -> Iterator[Proxy]:
    """Before the server."""
    with Proxy(postgresql.port) as proxy:
        yield proxy


def test_a_batch_whose_commit_was_not_answered_is_written_once(database: PostgresqlWorld, proxy: Proxy) -> None:
    dsn = f"{database.dsn} port={proxy.port}"
    store, chain = PostgresqlStore(lambda: dsn, lambda: NOON_NS), Chain()
    store.open()
    batch = chain.numbered([intent("a"), end("a"), entry()])
    proxy.lose_answer_to(b"COMMIT")
    with pytest.raises(StoreUnsure):
        store.write(*batch)
    assert proxy.lost == 1
    store.write(*batch)
    store.write(*chain.numbered([entry()]))
    store.close()
    assert [one.sequence for one, _ in database.archive().chain()] == [1, 2, 3, 4]
    assert is_whole(database.archive())


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_other_entries_in_place_of_such_a_batch_are_refused(database: PostgresqlWorld, count: int) -> None:
    """Fewer, as many or more; behind what is there they can be written."""
    store, chain = database.gateway(), Chain()
    chain.write(store, entry(), entry(), entry())
    chain.link.back_to(0, bytes(32))
    with pytest.raises(ChainForked, match=r"other entries of gateway/1, up to 3") as forked:
        chain.write(store, *(entry(actor="other") for _ in range(count)))
    chain.link.back_to(forked.value.sequence, forked.value.last_hash)
    chain.write(store, *(entry(actor="other") for _ in range(count)))
    assert len(list(database.archive().chain())) == 3 + count
    assert is_whole(database.archive())


def test_gateways_that_start_together_make_the_tables_once(database: PostgresqlWorld) -> None:
    def start(number: int) -> None:
        Chain(f"gateway-{number}/1").write(database.gateway(), entry(at_ns=NOON_NS + number))

    all_at_once(8, start)
    assert len(database.archive().page(Query()).entries) == 8


def test_gateways_that_need_a_new_day_together_make_its_partition_once(database: PostgresqlWorld) -> None:
    stores = [database.gateway() for _ in range(8)]

    def write(number: int) -> None:
        later = NOON_NS + 400 * DAY_NS
        for day in range(3):
            Chain(f"gateway-{number}/{day}").write(stores[number], entry(at_ns=later + day * DAY_NS))

    all_at_once(8, write)
    assert len(database.archive().page(Query()).entries) == 24


def test_closers_of_the_same_intents_close_each_once(database: PostgresqlWorld) -> None:
    """All at a time, each in another order; none waits for the other for ever."""
    names = [f"intent-{number}" for number in range(400)]
    Chain("gone/1").write(database.gateway(), *(intent(name) for name in names))
    stores = [database.gateway() for _ in range(4)]

    def close(number: int) -> None:
        chain, left = Chain(f"gateway-{number}/1"), random.Random(number).sample(names, len(names))
        while left:
            batch = left[:200]
            try:
                chain.write(stores[number], *(end(name) for name in batch))
                left = left[200:]
            except IntentsGone as gone:
                left = [name for name in left if name not in gone.intents]

    all_at_once(4, close)
    found = database.archive().page(Query(limit=1000)).entries
    assert sorted(one.request_id for one in found) == sorted(names)


def test_a_database_that_answers_nothing_is_given_up(mortal_postgresql: PostgreSQL) -> None:
    dsn = mortal_postgresql.new_database()
    connection = PostgresqlConnection(lambda: dsn)
    with connection.transaction() as open_one:
        open_one.execute("CREATE TABLE t (n int)")
    with mortal_postgresql.paused(), pytest.raises(StoreUnavailable), connection.transaction(0.2) as open_one:
        open_one.execute("SELECT 1")
    with connection.transaction() as open_one:  # it takes a new one
        open_one.execute("INSERT INTO t VALUES (1)")
    connection.close()


def test_no_file_stays_open_behind_a_transaction(database: PostgresqlWorld) -> None:
    store, chain = database.gateway(), Chain()
    chain.write(store, entry())
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        chain.write(store, entry())
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_dsn_that_cannot_be_understood_is_not_repeated() -> None:
    store = PostgresqlStore(lambda: "postgresql//user:very-secret@host", lambda: NOON_NS)
    with pytest.raises(StoreUnavailable) as raised:
        store.open()
    assert "secret" not in str(raised.value)


def test_a_dsn_that_is_no_text_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "dsn").write_bytes(b"host=127.0.0.1 password=\xff\xfe")
    store = PostgresqlStore((tmp_path / "dsn").read_text, lambda: NOON_NS)
    with pytest.raises(StoreUnavailable, match="UTF-8"):
        store.open()


def test_a_changed_password_is_read_again(database: PostgresqlWorld) -> None:
    dsns = ["host=127.0.0.1 port=1", database.dsn]
    store = PostgresqlStore(lambda: dsns.pop(0), lambda: NOON_NS)
    with pytest.raises(StoreUnavailable):
        store.open()
    store.open()
    store.close()


def test_nul_and_its_substitute_come_back(database: PostgresqlWorld) -> None:
    texts = ["a\x00b", "\x1a", "\x1a0", "\x1a\x00\x1a\x1a0", "\x00"]
    written = Chain().write(database.gateway(), *(entry(actor=text, reason=text) for text in texts))
    assert [one for one, _ in database.archive().chain()] == written
    for text in texts:
        assert [one.actor for one in database.archive().page(Query(actor=text)).entries] == [text]
    assert is_whole(database.archive())


def test_older_gateways_go_on_writing_behind_a_migration(database: PostgresqlWorld) -> None:
    """A rolling upgrade: the newer one takes a step that old ones do not know."""
    older = PostgresqlStore(lambda: database.dsn, lambda: NOON_NS)
    older.open()
    old_chain, new_chain = Chain("older/1"), Chain("newer/1")
    old_chain.write(older, entry(), intent("a"))
    step = Step(("CREATE TABLE audit_something_new (n int)", "ALTER TABLE audit_entries ADD COLUMN later bigint"))
    newer = PostgresqlStore(lambda: database.dsn, lambda: NOON_NS, steps=(*STEPS, step))
    newer.open()
    new_chain.write(newer, entry(answer_content="new"))
    old_chain.write(older, end("a"), entry(at_ns=NOON_NS + 3 * DAY_NS))
    older.close()
    older.open()
    old_chain.write(older, entry())
    found = database.archive().page(Query()).entries
    assert len(found) == 5
    assert [one.answer_content for one in found if one.writer == "newer/1"] == ["new"]
    for store in (older, newer):
        store.close()
    database.execute(f"UPDATE audit_schema SET version = {len(STEPS)}")  # as a verifier of that newer version sees it
    assert is_whole(database.archive())


def test_a_migration_waits_for_no_old_gateways_end_and_loses_nothing(database: PostgresqlWorld) -> None:
    """One that writes all the time, while five newer versions come one after the other."""
    older = PostgresqlStore(lambda: database.dsn, lambda: NOON_NS)
    older.open()
    chain, is_over = Chain(), threading.Event()

    def write() -> None:
        while not is_over.is_set():
            chain.write(older, *(entry() for _ in range(10)))

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        steps: Sequence[Step] = STEPS
        for number in range(5):
            steps = (*steps, Step((f"ALTER TABLE audit_entries ADD COLUMN later_{number} bigint",)))
            newer = PostgresqlStore(lambda: database.dsn, lambda: NOON_NS, steps=steps)
            newer.open()
            newer.close()
        is_over.set()
        writing.result(10)
    older.close()
    database.execute(f"UPDATE audit_schema SET version = {len(STEPS)}")
    assert len(list(database.archive().chain())) == chain.link.sequence > 0
    assert is_whole(database.archive())


def test_tables_that_are_too_new_are_said_to_be(database: PostgresqlWorld) -> None:
    """To a gateway that starts and to one that is at work."""
    store, chain = database.gateway(), Chain()
    chain.write(store, entry())
    newer = PostgresqlStore(lambda: database.dsn, lambda: NOON_NS, steps=(*STEPS, Step((), len(STEPS) + 1)))
    newer.open()
    newer.close()
    with pytest.raises(StoreTooNew, match=f"version {len(STEPS) + 1}"):
        chain.write(store, entry())
    with pytest.raises(StoreTooNew):
        database.gateway()
    with pytest.raises(StoreTooNew):
        list(database.archive().chain())


def test_an_end_that_comes_too_late_is_in_its_chain_and_in_no_list(database: PostgresqlWorld) -> None:
    mine, theirs = database.gateway(), database.gateway()
    assert isinstance(mine, PostgresqlStore)
    first = Chain("gateway/1")
    first.write(mine, intent("a"))
    Chain("other/1").write(theirs, end("a", outcome="gateway_lost"))
    mine.write_spooled(*first.numbered([entry(request_id="b"), end("a"), entry(request_id="c")]))
    archive = database.archive()
    assert sorted((one.request_id, one.outcome) for one in archive.page(Query()).entries) == [
        ("a", "gateway_lost"),
        ("b", "ok"),
        ("c", "ok"),
    ]
    assert len(list(archive.chain())) == 5
    assert is_whole(archive)


def test_of_two_ends_that_waited_one_is_listed(database: PostgresqlWorld) -> None:
    store, chain = database.gateway(), Chain()
    assert isinstance(store, PostgresqlStore)
    store.write_spooled(*chain.numbered([intent("a"), end("a", outcome="gateway_lost"), end("a")]))
    archive = database.archive()
    assert [one.outcome for one in archive.page(Query()).entries] == ["gateway_lost"]
    assert is_whole(archive)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_entries SET is_late = true WHERE sequence = 3",
        "UPDATE audit_entries SET status = 500 WHERE sequence = 3",
        "UPDATE audit_entries SET reason = 'other' WHERE sequence = 3",
        "DELETE FROM audit_entries WHERE sequence = 3",
        "UPDATE audit_entries SET sequence = 50 WHERE sequence = 3",
        "DELETE FROM audit_entries WHERE sequence > 4",
    ],
)
def test_whoever_changes_the_tables_is_found_out(database: PostgresqlWorld, change: str) -> None:
    store, chain = database.gateway(), Chain()
    chain.write(store, *(entry(request_id=f"r{number}") for number in range(6)))
    store.write_checkpoint(chain.checkpoint(NOON_NS))
    assert is_whole(database.archive())
    assert database.execute(change)
    assert not is_whole(database.archive())


def test_an_end_that_was_hidden_as_too_late_is_found(database: PostgresqlWorld) -> None:
    """Its intent has no other end."""
    Chain().write(database.gateway(), intent("a"), end("a"))
    database.execute("UPDATE audit_entries SET is_late = true WHERE kind = 'end'")
    assert not is_whole(database.archive())


def test_what_a_clock_that_was_set_back_left_behind_goes_with_its_day(database: PostgresqlWorld) -> None:
    store, chain = database.gateway(), Chain()
    days = (0, 1, 0, 1, 0, 1, 1)
    chain.write(store, *(entry(at_ns=NOON_NS + day * DAY_NS + place) for place, day in enumerate(days)))
    database.now_ns = NOON_NS + DAY_NS
    assert store.remove(NOON_NS + DAY_NS, 2**40, KEY) == 5
    assert [one.sequence for one, _ in database.archive().chain()] == [6, 7]
    assert is_whole(database.archive())


def test_a_day_with_open_intents_stays(database: PostgresqlWorld) -> None:
    store, chain = database.gateway(), Chain()
    chain.write(store, intent("a"), entry())
    database.now_ns = NOON_NS + 5 * DAY_NS
    assert store.remove(database.now_ns, 0, KEY) == 0
    chain.write(store, end("a", at_ns=database.now_ns))
    assert store.remove(database.now_ns, 2**40, KEY) == 2
    assert is_whole(database.archive())


def test_what_is_too_large_loses_its_oldest_days_but_never_today(database: PostgresqlWorld) -> None:
    store, chain = database.gateway(), Chain()
    for day in range(3):
        chain.write(store, *(entry(at_ns=NOON_NS + day * DAY_NS, request_id=f"{day}") for _ in range(10)))
    database.now_ns = NOON_NS + 2 * DAY_NS
    assert store.remove(0, 1, KEY) == 20
    assert {one.request_id for one in database.archive().page(Query()).entries} == {"2"}
    assert is_whole(database.archive())


def test_gateways_that_remove_together_remove_once(database: PostgresqlWorld) -> None:
    stores = [database.gateway() for _ in range(4)]
    Chain().write(stores[0], *(entry(at_ns=NOON_NS + place) for place in range(10)))
    removed: list[int] = []
    database.now_ns = NOON_NS + 3 * DAY_NS
    all_at_once(4, lambda number: removed.append(stores[number].remove(database.now_ns, 2**40, KEY)))
    assert sum(removed) == 10


def test_entries_can_be_written_to_a_day_that_was_removed(database: PostgresqlWorld) -> None:
    """A spool may bring them."""
    store, other, chain = database.gateway(), database.gateway(), Chain()
    chain.write(store, entry())
    database.now_ns = NOON_NS + 3 * DAY_NS
    assert other.remove(database.now_ns, 2**40, KEY) == 1
    with pytest.raises(StoreUnavailable):
        chain.write(store, entry())
    chain.write(store, entry())
    assert is_whole(database.archive())


def test_nobody_is_dead_behind_a_pause_of_the_database(database: PostgresqlWorld) -> None:
    """Nobody could give a sign of life meanwhile."""
    mine, theirs = database.gateway(), database.gateway()
    for store, writer in ((mine, "gateway/1"), (theirs, "other/1")):
        store.heartbeat(writer)
    Chain("gateway/1").write(mine, intent("a"))
    database.execute(
        "UPDATE audit_writers SET seen_at = seen_at - interval '1 hour', seen_since = seen_since - interval '1 day'"
    )
    theirs.heartbeat("other/1")
    assert list(theirs.lost_intents("other/1")) == []


def test_a_gateway_needs_no_right_to_make_tables_where_they_are(database: PostgresqlWorld) -> None:
    store = database.gateway()
    Chain("admin/1").write(store, entry())
    database.execute("CREATE ROLE writer LOGIN; REVOKE CREATE ON SCHEMA public FROM public, writer")
    try:
        database.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO writer")
        lesser = PostgresqlStore(lambda: f"{database.dsn} user=writer", lambda: NOON_NS)
        lesser.open()
        Chain("lesser/1").write(lesser, entry())
        lesser.close()
        assert len(database.archive().page(Query()).entries) == 2
        with pytest.raises(psycopg.errors.InsufficientPrivilege), psycopg.connect(f"{database.dsn} user=writer") as one:
            one.execute("CREATE TABLE t (n int)")
    finally:
        database.execute("DROP OWNED BY writer; DROP ROLE writer")
