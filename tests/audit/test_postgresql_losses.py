"""What is done to the audit's tables in PostgreSQL while gateways write: it is missed with the next entry or the next
sign of life, also behind a spool."""

import time
from pathlib import Path

import pytest
from tests.audit.stores import PostgresqlWorld
from tests.audit.writing import KEY, NOON_NS, Chain, entry

from ai_gateway.audit.chain import checkpoint
from ai_gateway.audit.postgresql import PostgresqlStore
from ai_gateway.audit.spool import Spool
from ai_gateway.audit.spooled import Spooled
from ai_gateway.audit.store import StoreDamaged, StoreLost, StoreUnavailable
from ai_gateway.audit.verification import examine

pytestmark = pytest.mark.services

WRITER = "gateway/1"
LOSSES = {
    "the newest rows are deleted": ["DELETE FROM audit_entries WHERE sequence > 8"],
    "the table is emptied": ["TRUNCATE audit_entries"],
    "all tables are emptied": ["TRUNCATE audit_entries, audit_writers, audit_intents, audit_checkpoints"],
    "the day is gone": ["DROP TABLE audit_entries_20241004"],
    "an older state is restored": [
        "DELETE FROM audit_entries WHERE sequence > 5",
        "UPDATE audit_writers SET sequence = 5, hash = (SELECT hash FROM audit_entries WHERE sequence = 5)",
    ],
    "the writer is forgotten": ["DELETE FROM audit_writers"],
}
DROPPED = ["DROP TABLE audit_entries, audit_writers, audit_intents, audit_checkpoints, audit_schema"]


@pytest.mark.parametrize("how", LOSSES)
def test_what_was_stored_and_is_gone_is_missed(database: PostgresqlWorld, how: str) -> None:
    store, chain = database.gateway(), Chain(WRITER)
    chain.write(store, *[entry()] * 10)
    for sql in LOSSES[how]:
        database.execute(sql)
    for ask in (lambda: chain.write(store, entry()), lambda: store.heartbeat(WRITER)):
        with pytest.raises(StoreLost, match="does not have what was stored"):
            ask()
    store.begin_anew()
    store.open()
    at = (WRITER, chain.link.sequence, chain.link.last_hash)
    store.write_checkpoint(checkpoint(KEY, "lost", at, NOON_NS))
    chain.write(store, *[entry()] * 3)
    findings = examine(database.archive(), [], KEY).findings
    assert [failure.what for failure in findings] == ([] if how == "the writer is forgotten" else ["lost"])


def test_tables_that_are_gone_are_not_made_anew_in_silence(database: PostgresqlWorld) -> None:
    store, chain = database.gateway(), Chain(WRITER)
    chain.write(store, entry())
    for sql in DROPPED:
        database.execute(sql)
    with pytest.raises(StoreLost, match="tables of the audit are gone"):
        store.open()


@pytest.mark.parametrize("sql", [*DROPPED, *LOSSES["the table is emptied"]])
def test_behind_a_spool_the_loss_is_no_outage(database: PostgresqlWorld, tmp_path: Path, sql: str) -> None:
    """Else entries would go to the spool, and calls on."""
    now = [100.0]
    spooled = Spooled(
        PostgresqlStore(lambda: database.dsn, time.time_ns), Spool(tmp_path / "spool", 1 << 20), lambda: now[0]
    )
    spooled.open()
    chain = Chain(WRITER)
    chain.write(spooled, entry())
    database.execute(sql)
    if sql in DROPPED:  # at first it looks like an outage
        chain.write(spooled, entry())
        now[0] += 60
    for _ in range(2):
        with pytest.raises(StoreLost):
            chain.write(spooled, entry())
    spooled.begin_anew()
    spooled.open()
    chain.write(spooled, entry())
    spooled.close()


def test_what_was_removed_as_configured_is_not_missed(database: PostgresqlWorld) -> None:
    store, chain = database.gateway(), Chain(WRITER)
    chain.write(store, *[entry()] * 10)
    database.now_ns += 10 * 86_400 * 10**9
    assert store.remove(database.now_ns, 1 << 40, KEY) == 10
    chain.write(store, entry(at_ns=database.now_ns))
    store.heartbeat(WRITER)


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("CREATE RULE hide AS ON INSERT TO audit_entries DO ALSO DELETE FROM audit_intents", "has a rule"),
        ("ALTER TABLE audit_entries ENABLE ROW LEVEL SECURITY", "has a policy for its rows"),
        ("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
         "CREATE TRIGGER t AFTER INSERT ON audit_intents FOR EACH ROW EXECUTE FUNCTION f()", "has a trigger"),
        ("ALTER TABLE audit_entries ALTER COLUMN bytes_in TYPE text", ""),
        ("ALTER TABLE audit_entries DROP COLUMN bytes_in", "bytes_in"),
        ("DROP TABLE audit_intents", "audit_intents is gone"),
        ("ALTER TABLE audit_entries RENAME TO hidden; CREATE VIEW audit_entries AS SELECT * FROM hidden "
         "WHERE actor <> 'x'", "is no table as a gateway makes it"),
    ],
)  # fmt: skip
def test_tables_that_are_not_as_they_were_made_are_found(database: PostgresqlWorld, sql: str, told: str) -> None:
    Chain(WRITER).write(database.gateway(), *[entry()] * 10)
    database.execute(sql)
    found = examine(database.archive(), [], KEY)
    assert not found.is_good
    assert any(told in sentence for sentence in [*found.store, *(failure.detail for failure in found.findings)])


def test_a_version_that_was_taken_away_is_told_and_nothing_is_written(database: PostgresqlWorld) -> None:
    """By reader and writer, at the start and later: never a traceback, nor an entry that is left out."""
    store, chain = database.gateway(), Chain()
    chain.write(store, entry())
    database.execute("DELETE FROM audit_schema")
    with pytest.raises(StoreUnavailable, match="audit_schema"):
        chain.write(store, entry())
    with pytest.raises(StoreUnavailable, match="audit_schema"):
        database.gateway()
    with pytest.raises(StoreDamaged, match="audit_schema"):
        database.archive()
