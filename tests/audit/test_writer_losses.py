"""A writer whose store misses what was stored: who promised more than best effort writes nothing, the others go on."""

import asyncio
import logging

import pytest
from tests.audit.entries import entry
from tests.audit.scripted import NAME, Scripted, writing
from tests.flow.waiting import until

from ai_gateway.audit.chain import Checkpoint
from ai_gateway.audit.store import StoreUnavailable

LOST = "audit.db was deleted"


async def test_blocking_and_strict_refuse_until_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is begun anew; the log says it once, the second place has the end of what was stored."""
    kept, told = Scripted(), list[Checkpoint]()
    async with writing(kept, sink=told.append) as made:
        await made.durable(entry(1))
        kept.missing = LOST
        await until(lambda: made.failure is not None, "a look finds it, where nothing else happens")
        await until(lambda: told, "it is counted, and then told elsewhere")
        with pytest.raises(StoreUnavailable, match="was deleted"):
            await made.durable(entry(2, kind="intent", intent="a"))
        assert (made.losses.count, kept.begun_anew) == (1, 0)
        assert made.losses.last is not None
        assert "number 1" in made.losses.last
        assert [(one.kind, one.sequence) for one in told] == [("checkpoint", 1)]
        waiting = made.durable(entry(2))
        kept.missing = None
        await waiting
        await until(lambda: made.failure is None, "it has recovered")
    assert [one.sequence for one in kept.entries] == [1, 2]
    assert caplog.text.count("has lost what was stored") == 1


async def test_best_effort_begins_anew_and_its_chain_tells_of_the_gap(caplog: pytest.LogCaptureFixture) -> None:
    kept, told = Scripted(), list[Checkpoint]()
    async with writing(kept, begins_anew=True, sink=told.append) as made:
        await made.durable(entry(1))
        await made.durable(entry(2))
        kept.missing = LOST
        await until(lambda: kept.begun_anew == 1, "a look finds it")
        await made.durable(entry(3))
        assert (made.failure, made.losses.count) == (None, 1)
        kept.missing = LOST
        await until(lambda: kept.begun_anew == 2, "and again")
        await made.durable(entry(4))
        assert made.losses.count == 2
    gaps = [(one.writer, one.sequence) for one in kept.checkpoints if one.kind == "lost"]
    assert gaps == [(NAME, 2), (NAME, 3)]
    assert [one for one in told if one.kind == "lost"] == [one for one in kept.checkpoints if one.kind == "lost"]
    assert [one.sequence for one in kept.entries] == [1, 2, 3, 4]
    assert caplog.text.count("has lost what was stored") == 2


@pytest.mark.parametrize("begins_anew", [True, False])
async def test_a_start_without_what_an_earlier_gateway_stored_begins_anew_in_every_mode(begins_anew: bool) -> None:
    """Somebody has started it knowing that, and its chain says so."""
    kept = Scripted()
    kept.missing = "audit.db is gone"
    async with writing(kept, begins_anew=begins_anew) as made:
        await made.durable(entry(1))
    assert [(one.kind, one.sequence) for one in kept.checkpoints] == [("lost", 0), ("checkpoint", 1)]


async def test_a_second_place_that_takes_nothing_is_complained_of_once(caplog: pytest.LogCaptureFixture) -> None:
    def broken(made: Checkpoint) -> None:
        raise OSError("no space")

    kept = Scripted()
    caplog.set_level(logging.ERROR)
    async with writing(kept, begins_anew=True, sink=broken) as made:
        for number in range(1, 4):
            await made.durable(entry(number))
            kept.missing = LOST
            await until(lambda begun=number: kept.begun_anew == begun, "it begins anew")  # type: ignore[misc]
            await asyncio.sleep(0)
        await made.durable(entry(4))
    assert caplog.text.count("cannot be written to their second place") == 1
