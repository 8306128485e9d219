"""What every store promises that can be asked: one contract, kept by each of them."""

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from tests.audit.stores import World
from tests.audit.writing import DAY_NS, KEY, NOON_NS, Chain, end, entry, intent

from ai_gateway.audit.chain import verify
from ai_gateway.audit.entry import AuditEntry, columns
from ai_gateway.audit.store import REPLACED_SECONDS, Archive, DayUsage, IntentsGone, Position, Query


def every_page(archive: Archive, query: Query) -> list[AuditEntry]:
    """All entries that a query finds, page by page."""
    found: list[AuditEntry] = []
    after: Position | None = query.after
    while True:
        page = archive.page(msgspec.structs.replace(query, after=after))
        found += page.entries
        if page.next is None:
            return found
        after = page.next


def ids(entries: Sequence[AuditEntry]) -> list[str]:
    """The requests that they are of."""
    return [one.request_id for one in entries]


def some_entries(count: int) -> list[AuditEntry]:
    """Of many kinds, in the order of time; several at the same moment."""
    rng = random.Random(7)
    made = []
    for number in range(count):
        fields: dict[str, Any] = {
            "at_ns": NOON_NS + number // 3 * 10**6,
            "request_id": f"request-{number}",
            "actor": rng.choice(["ann", "bob", "cy"]),
            "model_asked": rng.choice(["llama3", "coder", None]),
            "status": rng.choice([200, 404, 503]),
            "outcome": rng.choice(["ok", "refused", "shed"]),
            "tenant": rng.choice(["team-a", "team-b", None]),
        }
        made.append(entry(**fields))
    return made


def test_an_entry_comes_back_as_it_was_written(world: World) -> None:
    texts = {name: f"{name}: \u00e9\U0001f600 'quoted' \\n \t" for name, kind in columns if kind == "text"}
    numbers = {name: 2**53 + place for place, (name, kind) in enumerate(columns) if kind == "int"}
    fixed = {"kind": "end", "outcome": "ok", "at_ns": NOON_NS, "intent": None, "stream": False}
    store, chain = world.gateway(), Chain()
    (written,) = chain.write(store, entry(**{**texts, **numbers, **fixed}))
    (found,) = world.archive().page(Query()).entries
    assert found == written


def test_pages_go_from_the_newest_to_the_oldest_and_meet(world: World) -> None:
    store = world.gateway()
    first, second = Chain("gateway/1"), Chain("other/1")
    made = some_entries(100)
    written = first.write(store, *made[:50]) + second.write(store, *made[25:75]) + first.write(store, *made[50:])
    archive = world.archive()
    assert len(archive.page(Query(limit=7)).entries) == 7
    found = every_page(archive, Query(limit=7))
    assert found == sorted(written, key=lambda one: (one.at_ns, one.writer, one.sequence), reverse=True)


FILTERS: list[dict[str, Any]] = [
    {"actor": "ann"},
    {"model": "llama3"},
    {"status": 404},
    {"outcome": "shed"},
    {"tenant": "team-b"},
    {"request_id": "request-17"},
    {"actor": "bob", "model": "coder"},
    {"since_ns": NOON_NS + 20 * 10**6},
    {"until_ns": NOON_NS + 20 * 10**6},
    {"actor": "cy", "since_ns": NOON_NS + 10 * 10**6, "until_ns": NOON_NS + 50 * 10**6},
    {"status": 200, "outcome": "ok", "tenant": "team-a"},
    {"actor": "nobody"},
]


@pytest.mark.parametrize("given", FILTERS, ids="+".join)
def test_a_filter_finds_what_it_says_and_nothing_else(world: World, given: dict[str, Any]) -> None:
    written = Chain().write(world.gateway(), *some_entries(300))

    def fits(one: AuditEntry) -> bool:
        is_then = given.get("since_ns", 0) <= one.at_ns < given.get("until_ns", 2**63)
        named = {"model_asked" if name == "model" else name: value for name, value in given.items()}
        return is_then and all(getattr(one, name) == value for name, value in named.items() if "_ns" not in name)

    found = every_page(world.archive(), Query(**given, limit=10))
    assert sorted(ids(found)) == sorted(ids([one for one in written if fits(one)]))


def test_entries_that_come_meanwhile_move_no_page(world: World) -> None:
    store, chain = world.gateway(), Chain()
    made = some_entries(60)
    chain.write(store, *made[:30])
    archive = world.archive()
    first = archive.page(Query(limit=10))
    chain.write(store, *made[30:])
    rest = every_page(archive, Query(limit=10, after=first.next))
    assert sorted(ids([*first.entries, *rest])) == sorted(ids(made[:30]))


def test_rare_combinations_are_found_page_by_page(world: World) -> None:
    """No index has them together: a page may be short or empty, and still leads on."""
    store, chain = world.gateway(), Chain()
    many = [entry(request_id=f"r{number}", at_ns=NOON_NS + number, tenant="t") for number in range(12_000)]
    many[3] = msgspec.structs.replace(many[3], status=418)
    for start in range(0, len(many), 500):
        chain.write(store, *many[start : start + 500])
    archive = world.archive()
    first = archive.page(Query(tenant="t", status=418))
    assert first.entries == []
    assert first.next is not None
    assert ids(every_page(archive, Query(tenant="t", status=418))) == ["r3"]


def test_a_text_of_a_client_is_kept_whatever_its_length(world: World) -> None:
    """Two long names that differ at their ends only are two names."""
    names = ["m" * 100_000 + last for last in "ab"]
    Chain().write(world.gateway(), *(entry(model_asked=name, request_id=name[-1]) for name in names))
    archive = world.archive()
    assert ids(archive.page(Query(model=names[1])).entries) == ["b"]
    assert ids(archive.page(Query(model=names[1], actor="anonymous")).entries) == ["b"]


def test_intents_are_in_no_page_and_in_the_chain(world: World) -> None:
    store, chain = world.gateway(), Chain()
    written = chain.write(store, intent("a"), end("a"), intent("b"))
    archive = world.archive()
    assert archive.page(Query()).entries == written[1:2]
    assert [one for one, _ in archive.chain()] == written


def test_an_intent_is_closed_once(world: World) -> None:
    mine, theirs = world.gateway(), world.gateway()
    first, second = Chain("gateway/1"), Chain("other/1")
    first.write(mine, intent("a"), intent("b"))
    second.write(theirs, end("a", outcome="gateway_lost"))
    with pytest.raises(IntentsGone) as gone:
        first.write(mine, end("a"), end("b"))
    assert gone.value.intents == {"a"}
    first.write(mine, end("b"))
    outcomes = {one.request_id: one.outcome for one in world.archive().page(Query()).entries}
    assert outcomes == {"a": "gateway_lost", "b": "ok"}
    assert not list(verify(world.archive().chain(), [], KEY))


def test_of_two_ends_in_one_batch_the_first_closes_an_intent(world: World) -> None:
    store, chain = world.gateway(), Chain()
    chain.write(store, intent("a"), intent("b"))
    with pytest.raises(IntentsGone) as gone:
        chain.write(store, end("a", outcome="gateway_lost"), end("b"), end("a"), end("c"))
    assert gone.value.intents == {"c"}
    assert gone.value.again == {"a"}
    chain.write(store, end("a", outcome="gateway_lost"), end("b"))
    assert len(world.archive().page(Query()).entries) == 2


def test_intents_of_a_live_writer_are_not_lost(world: World) -> None:
    mine, theirs = world.gateway(), world.gateway()
    for store, writer in ((mine, "gateway/1"), (theirs, "other/1")):
        store.heartbeat(writer)
    Chain("gateway/1").write(mine, intent("a"))
    Chain("other/1").write(theirs, intent("b"))
    assert list(theirs.lost_intents("other/1")) == []
    assert list(mine.lost_intents("gateway/1")) == []


def test_intents_of_a_silent_writer_are_lost(world: World) -> None:
    mine, theirs = world.gateway(), world.gateway()
    for store, writer in ((mine, "gateway/1"), (theirs, "other/1")):
        store.heartbeat(writer)
    (begun,) = Chain("gateway/1").write(mine, intent("a"))
    Chain("other/1").write(theirs, intent("own"))
    world.fall_silent("gateway/1", theirs, "other/1")
    assert list(theirs.lost_intents("other/1")) == [begun]


def test_gateways_with_one_name_leave_each_other_their_intents(world: World) -> None:
    """Two on one host; the older one is silent for no longer than two of its signs of life are apart."""
    older, younger = world.gateway(), world.gateway()
    older.heartbeat("gateway/1")
    Chain("gateway/1").write(older, intent("a"))
    younger.heartbeat("gateway/2")
    assert list(younger.lost_intents("gateway/2")) == []
    world.fall_silent("gateway/1", younger, "gateway/2", 20)
    assert list(younger.lost_intents("gateway/2")) == []


def test_an_intent_that_cannot_be_read_hides_no_other(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A newer gateway wrote a word into it that is not known here, or somebody changed it."""
    mine, theirs = world.gateway(), world.gateway()
    for store, writer in ((mine, "gateway/1"), (theirs, "other/1")):
        store.heartbeat(writer)
    begun = Chain("gateway/1").write(mine, intent("a"), intent("b"), intent("c"))
    world.execute(f"UPDATE {world.intents} SET entry = replace(entry, '\"ok\"', '\"new\"') WHERE id = 'a'")
    world.execute(f"UPDATE {world.intents} SET entry = 'no JSON' WHERE id = 'b'")
    world.fall_silent("gateway/1", theirs, "other/1")
    assert list(theirs.lost_intents("other/1")) == begun[2:]
    assert "cannot be read" in caplog.text


def test_what_an_earlier_start_of_a_gateway_left_open_is_lost_soon(world: World) -> None:
    earlier = world.gateway()
    earlier.heartbeat("gateway/1")
    (begun,) = Chain("gateway/1").write(earlier, intent("a"))
    earlier.close()
    later = world.gateway()
    later.heartbeat("gateway/2")
    world.fall_silent("gateway/1", later, "gateway/2", REPLACED_SECONDS)
    assert list(later.lost_intents("gateway/2")) == [begun]


def test_the_chain_and_its_checkpoints_verify(world: World) -> None:
    store = world.gateway()
    for chain in (Chain("gateway/1"), Chain("gateway/2"), Chain("other/1")):
        chain.write(store, *some_entries(40))
        store.write_checkpoint(chain.checkpoint(NOON_NS))
        chain.write(store, *some_entries(40))
    archive = world.archive()
    assert len(list(archive.chain())) == 240
    assert len(list(archive.checkpoints())) == 3
    assert not list(verify(archive.chain(), archive.checkpoints(), KEY))


def test_old_entries_go_and_the_rest_of_the_chain_verifies(world: World) -> None:
    store, chain = world.gateway(), Chain()
    for day in range(3):
        chain.write(store, *(entry(at_ns=NOON_NS + day * DAY_NS + n, request_id=f"{day}") for n in range(5)))
        store.write_checkpoint(chain.checkpoint(NOON_NS + day * DAY_NS + 10))
    world.now_ns = NOON_NS + 2 * DAY_NS + 11
    assert store.remove(NOON_NS + 2 * DAY_NS - DAY_NS // 2, 2**40, KEY) == 10
    archive = world.archive()
    assert ids(every_page(archive, Query())) == ["2"] * 5
    assert {told.kind for told in archive.checkpoints()} == {"removed", "checkpoint"}
    assert not list(verify(archive.chain(), archive.checkpoints(), KEY))
    chain.write(store, entry(at_ns=NOON_NS + 2 * DAY_NS + 12))
    assert not list(verify(archive.chain(), archive.checkpoints(), KEY))


def test_the_usage_of_a_day_is_told_by_caller_tenant_and_model(world: World) -> None:
    used = {"tokens_in": 10, "tokens_out": 5, "model_asked": "llama3"}
    ann = {"actor": "ann", "auth_method": "keys", **used}
    Chain().write(
        world.gateway(),
        entry(**ann),
        entry(**ann, client_address="10.0.0.9"),
        entry(**{**ann, "tokens_out": None}, tenant="team-a"),
        entry(actor="bob", model_asked="llama3"),
        entry(**ann, at_ns=NOON_NS + DAY_NS),
        intent("a", **ann),
        entry(**used, auth_method="none", actor="anonymous", client_address="10.0.0.1"),
        entry(**used, auth_method="none", actor="anonymous", client_address="10.0.0.2"),
    )
    usage = world.archive().usage_of_day("2024-10-04")
    assert set(usage) == {
        DayUsage("keys", "ann", "", None, "llama3", 30),
        DayUsage("keys", "ann", "", "team-a", "llama3", 10),
        DayUsage("none", "anonymous", "10.0.0.1", None, "llama3", 15),
        DayUsage("none", "anonymous", "10.0.0.2", None, "llama3", 15),
    }


def test_a_batch_is_written_as_a_whole_or_not_at_all(world: World) -> None:
    store, chain = world.gateway(), Chain()
    with pytest.raises(IntentsGone):
        chain.write(store, entry(), intent("a"), end("b"))
    assert list(world.archive().chain()) == []
    chain.write(store, entry(), intent("a"), end("a"))
    assert not list(verify(world.archive().chain(), [], KEY))


def test_a_closed_store_can_be_opened_again(world: World) -> None:
    store, chain = world.gateway(), Chain()
    chain.write(store, entry(request_id="before"))
    store.close()
    store.open()
    chain.write(store, entry(request_id="after", at_ns=NOON_NS + 1))
    assert ids(world.archive().page(Query()).entries) == ["after", "before"]
