"""The writer's thread: batches, drops that are counted, and a store that fails and comes back."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.audit.entries import KEY, archive, entry
from tests.audit.scripted import NAME, Scripted, writing
from tests.flow.waiting import soon, until

from ai_gateway.audit import backlog
from ai_gateway.audit.chain import Checkpoint, verify
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.sqlite import SqliteStore
from ai_gateway.audit.store import ChainForked, StoreUnavailable


async def test_entries_are_numbered_without_a_gap_and_chained(tmp_path: Path) -> None:
    kept = SqliteStore(tmp_path / "audit.db", False, time.time_ns)
    async with writing(kept) as made:
        for number in range(1200):
            made.enqueue(entry(1, request_id=f"r{number}"))
    asked = archive(tmp_path / "audit.db")
    chain = [(one, digest) for one, digest in asked.chain() if isinstance(one, AuditEntry)]
    assert [one.sequence for one, _ in chain] == list(range(1, 1201))
    assert [one.request_id for one, _ in chain] == [f"r{number}" for number in range(1200)]
    assert {one.writer for one, _ in chain} == {NAME}
    assert list(verify(chain, asked.checkpoints(), KEY)) == []
    assert made.results == {"stored": 1200}


async def test_a_store_keeps_to_its_size_while_it_grows_and_not_within_the_hour(tmp_path: Path) -> None:
    """A volume that is a little larger must do: where it is an emptyDir, the pod is evicted beyond it."""
    kept = SqliteStore(tmp_path / "audit.db", False, time.time_ns)
    async with writing(kept, max_bytes=1 << 20) as made:
        for number in range(5000):
            made.enqueue(entry(1, request_id=f"r{number}"))
        await until(lambda: made.results["stored"] == 5000, "all are written")
        asked = archive(tmp_path / "audit.db")
        await until(
            lambda: next((one.sequence > 1 for one, _ in asked.chain() if isinstance(one, AuditEntry)), True),
            "some went",
        )


async def test_entries_that_come_together_are_written_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "GATHER_SECONDS", 1.0)  # which a busy machine may take from one to the next
    kept = Scripted()
    async with writing(kept) as made:
        for _ in range(1300):
            made.enqueue(entry())
        await until(lambda: len(kept.entries) == 1300, "all is written")
        assert len(kept.batches) <= 4
        assert max(map(len, kept.batches)) <= backlog.MOST_AT_ONCE


async def test_whoever_waits_for_an_entry_waits_for_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """`blocking` and `strict` must not pay for the gathering of a batch, even behind entries nobody waits for."""
    monkeypatch.setattr(backlog, "GATHER_SECONDS", 3600.0)
    kept = Scripted()
    async with writing(kept) as made:
        for _ in range(20):
            await soon(made.durable(entry()))
    assert len(kept.entries) == 20


async def test_what_is_queued_when_the_gateway_leaves_is_written() -> None:
    kept = Scripted()
    async with writing(kept) as made:
        for _ in range(700):
            made.enqueue(entry())
    assert len(kept.entries) == 700
    assert kept.checkpoints[-1].sequence == 700


async def test_a_store_that_is_away_loses_nothing_until_too_many_wait(caplog: pytest.LogCaptureFixture) -> None:
    """Then what is too much is counted; the log says once that it fails, once that it drops, once that it is back."""
    kept = Scripted()
    async with writing(kept) as made:
        kept.trouble = "no space"
        for _ in range(backlog.MOST_QUEUED + 5):
            made.enqueue(entry())
        tries = kept.tries
        await until(lambda: made.failure == "no space" and kept.tries > tries + 3, "it is tried again and again")
        assert made.results == {"dropped": 5}
        assert made.lag_seconds() > 0
        kept.trouble = None
        await until(lambda: made.failure is None and not made.queued, "all is written")
        assert made.results["stored"] == backlog.MOST_QUEUED
        assert [one.sequence for one in kept.entries] == list(range(1, backlog.MOST_QUEUED + 1))
    told = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert sorted(message.partition(":")[0] for message in told) == [
        *("audit entries are dropped", "the audit cannot be written, and is tried again every second"),
        "the audit is written again",
    ]


async def test_content_that_waits_is_bounded_in_bytes() -> None:
    """What an entry takes leaves the count with it, also of a text that takes more once it is encoded."""
    kept = Scripted()
    content = "\u5bc6" * (backlog.MOST_QUEUED_BYTES // 32)  # 2 bytes each, so that the 16th is the last
    async with writing(kept) as made:
        for _ in range(3):
            kept.trouble = "no space"
            for _ in range(20):
                made.enqueue(entry(request_content=content[1:]))
            made.enqueue(entry(intent="here/1#1", answer_content=content))
            assert made.queued == 17
            kept.trouble = None
            await until(lambda: not made.queued, "all is written")
        assert made.results == {"stored": 51, "dropped": 12}


async def test_a_store_that_is_away_at_the_start_is_opened_later() -> None:
    kept = Scripted()
    kept.trouble = "read-only"
    async with writing(kept) as made:
        assert made.failure == "read-only"
        made.enqueue(entry())
        kept.trouble = None
        await until(lambda: len(kept.entries) == 1 and made.failure is None, "it is written")


async def test_an_intent_that_cannot_be_written_is_refused_at_once_and_its_end_stays() -> None:
    kept = Scripted()
    async with writing(kept) as made:
        kept.trouble = "no space"
        with pytest.raises(StoreUnavailable, match="no space"):
            await made.durable(entry(kind="intent", intent="here/1#1"))
        with pytest.raises(StoreUnavailable, match="no space"):
            await made.durable(entry(kind="intent", intent="here/1#2"))
        told = made.durable(entry(intent="here/1#1"))
        kept.trouble = None
        await told
        # Its intent was never written, so it closes none.
        assert [(one.kind, one.intent) for one in kept.entries] == [("end", None)]


async def test_what_the_store_may_have_is_written_again_as_it_was() -> None:
    """Its numbers go to no other entries, though its intent is refused at once; the end closes that."""
    kept = Scripted()
    async with writing(kept) as made:
        kept.is_unsure = True
        with pytest.raises(StoreUnavailable, match="no word"):
            await made.durable(entry(kind="intent", intent="here/1#1", request_id="a"))
        ended = made.durable(entry(intent="here/1#1", request_id="a"))
        made.enqueue(entry(request_id="b"))
        kept.is_unsure = False
        await ended
        await until(lambda: not made.queued, "all is written")
    found = [(one.sequence, one.kind, one.request_id, one.intent) for one in kept.entries]
    assert found == [(1, "intent", "a", "here/1#1"), (2, "end", "a", "here/1#1"), (3, "end", "b", None)]


async def test_behind_other_entries_in_the_store_the_chain_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    kept = Scripted()
    async with writing(kept) as made:
        kept.forked = ChainForked(NAME, 7, b"7" * 32)
        await made.durable(entry(request_id="a"))
        await made.durable(entry(request_id="b"))
    assert [(one.request_id, one.sequence) for one in kept.entries] == [("a", 8), ("b", 9)]
    assert "other entries of here/1, up to 7" in caplog.text


async def test_of_two_ends_of_one_intent_the_second_adds_nothing() -> None:
    kept = Scripted()
    kept.trouble = "no space"
    async with writing(kept) as made:
        told = [made.durable(entry(request_id=name, intent="gone/1#1")) for name in ("a", "b")]
        kept.trouble = None
        await asyncio.gather(*told)
        await until(lambda: not made.queued, "all is written")
    assert [(one.request_id, one.sequence) for one in kept.entries] == [("a", 1)]


async def test_the_end_of_an_intent_is_never_dropped() -> None:
    kept = Scripted()
    kept.trouble = "no space"
    async with writing(kept) as made:
        for _ in range(backlog.MOST_QUEUED):
            made.enqueue(entry())
        made.enqueue(entry(intent="here/1#1"))
        made.enqueue(entry())
        assert made.results == {"dropped": 1}
        kept.trouble = None
        await until(lambda: not made.queued, "all is written")
        assert kept.entries[-1].intent == "here/1#1"


async def test_a_late_end_of_a_writer_that_was_believed_dead_adds_nothing() -> None:
    kept = Scripted()
    async with writing(kept) as made:
        kept.gone = frozenset(("here/1#1",))
        late = made.durable(entry(request_id="a", intent="here/1#1"))
        await asyncio.gather(late, made.durable(entry(request_id="b")))
    assert [(one.request_id, one.sequence) for one in kept.entries] == [("b", 1)]


async def test_requests_of_a_dead_gateway_end_as_gateway_lost() -> None:
    kept = Scripted()
    kept.lost = [entry(7, writer="gone/1", kind="intent", intent="gone/1#3", actor="team-a", model_asked="llama3")]
    async with writing(kept):
        await until(lambda: len(kept.entries) == 1, "it is closed")
    (end,) = kept.entries
    assert (end.kind, end.outcome, end.intent, end.writer) == ("end", "gateway_lost", "gone/1#3", NAME)
    assert (end.actor, end.model_asked) == ("team-a", "llama3")
    assert "gone/1" in (end.reason or "")


async def test_one_entry_that_cannot_be_written_stands_in_nobodys_way() -> None:
    kept = Scripted()
    kept.poison = "bad"
    async with writing(kept) as made:
        for name in ("a", "bad", "b", "c"):
            made.enqueue(entry(request_id=name))
    assert [(one.request_id, one.sequence) for one in kept.entries] == [("a", 1), ("b", 2), ("c", 3)]
    assert made.results == {"stored": 3, "failed": 1}


async def test_who_waits_for_an_entry_that_cannot_be_written_is_told_so() -> None:
    """In strict mode nothing is sent for an intent that is nowhere; its end comes all the same, and closes nothing."""
    kept = Scripted()
    kept.poison = "bad"
    async with writing(kept) as made:
        with pytest.raises(StoreUnavailable):
            await made.durable(entry(request_id="bad", kind="intent", intent="here/1#1"))
        await made.durable(entry(request_id="end", intent="here/1#1"))
        with pytest.raises(StoreUnavailable):
            await made.durable(entry(request_id="bad"))
    assert [(one.request_id, one.intent) for one in kept.entries] == [("end", None)]
    assert made.results == {"stored": 1, "failed": 2}


async def test_the_log_does_not_quote_an_entry_that_cannot_be_written(caplog: pytest.LogCaptureFixture) -> None:
    kept = Scripted()
    kept.poison = "bad"
    async with writing(kept) as made:
        made.enqueue(entry(request_id="bad"))
    assert "left out: OverflowError: too large a number" in caplog.text
    assert "secret" not in caplog.text


async def test_what_cannot_be_written_until_the_end_is_counted() -> None:
    kept = Scripted()
    kept.trouble = "no space"
    async with writing(kept) as made:
        for _ in range(3):
            made.enqueue(entry())
    assert made.results == {"failed": 3}


async def test_a_checkpoint_is_made_every_thousand_entries_and_goes_to_a_second_place() -> None:
    kept = Scripted()
    told: list[Checkpoint] = []
    async with writing(kept, sink=told.append) as made:
        for _ in range(2500):
            made.enqueue(entry())
        await until(lambda: len(kept.entries) == 2500, "all is written")
    assert told == kept.checkpoints
    assert [one.sequence for one in told] == sorted(one.sequence for one in told)
    assert told[-1].sequence == 2500
    assert len(told) == 3


async def test_a_second_place_that_fails_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Checkpoint) -> None:
        raise OSError("no space there")

    kept = Scripted()
    async with writing(kept, sink=fail) as made:
        made.enqueue(entry())
    assert len(kept.entries) == len(kept.checkpoints) == 1
    assert "no space there" in caplog.text


async def test_content_is_redacted_before_it_is_hashed_and_kept() -> None:
    kept = Scripted()
    redact: Callable[[str], str] = lambda text: text.replace("secret", "*")  # noqa: E731
    async with writing(kept, redact=redact) as made:
        made.enqueue(entry(request_content="a secret", answer_content=None))
    assert kept.entries[0].request_content == "a *"
