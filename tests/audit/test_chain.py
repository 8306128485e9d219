"""The chain: whatever is changed behind the gateway's back is found, and named at its first bad entry."""

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.audit.entries import KEY, WRITER, entry, mixed

from ai_gateway.audit.chain import Checkpoint, Finding, Link, canonical, checkpoint, link, verify
from ai_gateway.audit.entry import AuditEntry, columns

Rows = list[tuple[AuditEntry, bytes]]
replace = msgspec.structs.replace


def rows(count: int, key: bytes = KEY) -> Rows:
    """A chain as a store holds it."""
    entries = mixed(count)
    return list(zip(entries, Link(key).join(entries), strict=True))


def findings(chain: Rows, *checkpoints: Checkpoint, key: bytes = KEY) -> list[Finding]:
    """What is found, with the entries in the order in which a store gives them."""
    return list(verify(sorted(chain, key=lambda row: (row[0].writer, row[0].sequence)), checkpoints, key))


def mark(chain: Rows, sequence: int) -> Checkpoint:
    """A checkpoint at an entry."""
    return checkpoint(KEY, "checkpoint", (WRITER, sequence, chain[sequence - 1][1]), 1)


def test_an_untouched_chain_is_whole() -> None:
    chain = rows(50)
    assert findings(chain, mark(chain, 10), mark(chain, 50)) == []


def test_every_one_of_1000_random_edits_is_found_where_it_was_made() -> None:
    """Any field of any entry, to any other value."""
    chain = rows(200)
    rng = random.Random(7)
    names = [name for name, _ in columns if name not in ("writer", "sequence")]
    for _ in range(1000):
        place, name = rng.randrange(len(chain)), rng.choice(names)
        old = getattr(chain[place][0], name)
        edited = [*chain]
        edited[place] = (replace(chain[place][0], **{name: _other(old)}), chain[place][1])
        assert findings(edited) == [Finding(WRITER, place + 1, "edited")], name


def test_a_forged_hash_is_found() -> None:
    chain = rows(20)
    edited = replace(chain[4][0], actor="somebody else")
    chain[4] = (edited, link(b"another key", chain[3][1], edited))
    assert findings(chain) == [Finding(WRITER, 5, "edited")]


def test_deleted_entries_are_missing() -> None:
    chain = rows(20)
    assert findings(chain[:6] + chain[7:]) == [Finding(WRITER, 7, "missing")]
    assert findings(chain[3:]) == [Finding(WRITER, 1, "missing")]


def test_an_inserted_entry_is_found() -> None:
    chain = rows(20)
    assert findings([*chain[:6], chain[5], *chain[6:]]) == [Finding(WRITER, 7, "inserted")]


def test_exchanged_entries_are_reordered() -> None:
    chain = rows(20)
    (first, first_hash), (second, second_hash) = chain[5], chain[11]
    chain[5] = (replace(second, sequence=6), second_hash)
    chain[11] = (replace(first, sequence=12), first_hash)
    assert findings(chain) == [Finding(WRITER, 6, "reordered")]


def test_a_tail_that_was_cut_off_is_found_back_to_the_last_checkpoint() -> None:
    chain = rows(30)
    marks = (mark(chain, 10), mark(chain, 20))
    assert findings(chain[:20], *marks) == []  # what came behind it, nobody else knows of
    assert findings(chain[:19], *marks) == [Finding(WRITER, 20, "cut off")]
    assert findings([], *marks) == [Finding(WRITER, 1, "cut off")]


def test_a_chain_that_was_written_anew_by_who_holds_the_key_differs_from_its_checkpoints() -> None:
    told = mark(rows(20), 15)
    entries = [replace(row[0], actor="nobody") for row in rows(20)]
    assert findings(list(zip(entries, Link(KEY).join(entries), strict=True)), told) == [Finding(WRITER, 15, "edited")]


def test_a_checkpoint_that_was_made_without_the_key_is_forged() -> None:
    chain = rows(20)
    claimed = checkpoint(b"another key", "removed", (WRITER, 10, chain[9][1]), 1)
    assert Finding(WRITER, 10, "forged") in findings(chain[10:], claimed)


def test_what_was_removed_as_configured_is_not_missing() -> None:
    chain = rows(20)
    removed = checkpoint(KEY, "removed", (WRITER, 10, chain[9][1]), 1)
    assert findings(chain[10:], mark(chain, 5), removed, mark(chain, 20)) == []
    assert findings([], removed) == []
    assert findings(chain[11:], removed) == [Finding(WRITER, 11, "missing")]


def test_each_writer_has_a_chain_of_its_own() -> None:
    chain = rows(10)
    others = [replace(row[0], writer="there/2") for row in chain]
    second = list(zip(others, Link(KEY).join(others), strict=True))
    assert findings(chain + second) == []
    assert findings(chain + second[:3] + second[4:]) == [Finding("there/2", 4, "missing")]


def test_another_key_verifies_nothing() -> None:
    assert findings(rows(3), key=b"another key") == [Finding(WRITER, 1, "edited")]


def test_a_column_that_is_added_later_leaves_old_hashes_as_they_are() -> None:
    """What is None is not hashed."""
    later = msgspec.defstruct(
        "Later", [*_fields(AuditEntry), ("added", str | None, None)], frozen=True, omit_defaults=True, kw_only=True
    )
    old = entry(3, tenant="team-a")
    assert canonical(later(**msgspec.structs.asdict(old))) == canonical(old)


def test_the_bytes_that_are_hashed_are_these() -> None:
    """Chains of old must stay verifiable: a change here is a change of the format."""
    assert canonical(entry(1)) == (
        b'{"writer":"here/1","sequence":1,"kind":"end","at_ns":1700000000001000000,"started_ns":1700000000000000000,'
        b'"request_id":"r1","trace_id":"00000000000000000000000000000000","actor":"anonymous","auth_method":"none",'
        b'"client_address":"192.0.2.1","method":"POST","route":"/v1/chat/completions","outcome":"ok","stream":false,'
        b'"attempts":1,"bytes_in":10,"bytes_out":20,"status":200}'
    )


@pytest.mark.parametrize("take_back", [1, 5])
def test_what_was_not_written_is_taken_back(take_back: int) -> None:
    entries = mixed(10)
    chain = Link(KEY)
    first = chain.join(entries[:take_back])
    chain.join(entries[take_back:])
    chain.back_to(take_back, first[-1])
    assert first + chain.join(entries[take_back:]) == Link(KEY).join(entries)


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return "something" if value is None else f"{value}x"


def _fields(kind: type[AuditEntry]) -> list[Any]:
    make: Callable[..., Any] = lambda field: (  # noqa: E731
        (field.name, field.type) if field.required else (field.name, field.type, field.default)
    )
    return [make(field) for field in msgspec.structs.fields(kind)]
