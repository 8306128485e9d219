"""A gateway that stands still for so long that another one believes it dead, and then goes on."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.flow.test_audit_killed import serving
from tests.flow.test_shared_audit import audit, dsn, folder, is_whole, listed, mortal_postgresql
from tests.flow.upstream import DONE, END, SSE_HEAD, Act, Visit, event, framed
from tests.flow.waiting import until
from tests.flow.world import Served, World, chat

from ai_gateway.audit.store import SILENT_SECONDS

__all__ = ["dsn", "folder", "mortal_postgresql"]
pytestmark = pytest.mark.services

SWEEP_SECONDS = 20.0


def ending_when(may_end: asyncio.Event) -> Act:
    """Begins an answer, and ends it when it may."""

    async def act(visit: Visit) -> None:
        await visit.say(SSE_HEAD, framed(event("one")))
        await may_end.wait()
        await visit.say(framed(event("two", "stop")), framed(DONE), END)

    return act


async def _told(served: Served, is_there: Callable[[list[str]], bool], seconds: float) -> list[str]:
    """The outcomes of calls, once they are what is waited for."""
    async with asyncio.timeout(seconds):
        while True:
            outcomes = [one["outcome"] for one in await listed(served)]
            if is_there(outcomes):
                return outcomes
            await asyncio.sleep(0.5)


async def test_a_call_of_a_gateway_that_stood_still_is_closed_once_and_its_late_end_adds_nothing(
    dsn: str, world: World, folder: Path
) -> None:
    """In real time: a writer is dead when it has been silent for a minute."""
    may_end = asyncio.Event()
    upstream = await world.upstream(ending_when(may_end))
    other = await world.gateway((), audit=audit(folder, dsn, "other", mode="strict"))
    async with serving(world.folder, upstream.url, **audit(folder, dsn, "paused", mode="strict")) as paused:
        line = await paused.begin(chat(stream=True), "late")
        await until(lambda: len(upstream.visits) == 1, "the call is with the endpoint")
        os.kill(paused.process.pid, signal.SIGSTOP)
        assert await listed(other) == []
        lost = await _told(other, bool, SILENT_SECONDS + 2 * SWEEP_SECONDS)
        assert lost == ["gateway_lost"]
        os.kill(paused.process.pid, signal.SIGCONT)
        may_end.set()
        body = await line.rest() if (await line.head()).status == 200 else b""
        assert b"[DONE]" in body  # the client has its answer, whatever the audit believed
        line.leave()
        assert await paused.end(signal.SIGTERM) == 0
    assert [one["outcome"] for one in await listed(other)] == ["gateway_lost"]
    assert is_whole(dsn)
