"""Batch work waits behind interactive calls: by the rule of its caller, or by its own word."""

import asyncio
from collections.abc import Mapping

import pytest
from tests.flow.line import Line
from tests.flow.test_access import Ring, bearer
from tests.flow.upstream import Upstream, Visit, answer_well
from tests.flow.waiting import until
from tests.flow.world import CHAT, Served, World, chat

PRIORITY = "x-ai-gateway-priority"


class Held:
    """One slot, taken until it is opened; then each call is answered at once."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def act(self, visit: Visit) -> None:
        """Waits, then answers well."""
        await self.opened.wait()
        await answer_well(visit)


async def queued(served: Served, text: str, headers: Mapping[str, str]) -> Line:
    """A call that waits behind those that are there."""
    before = served.in_flight + served.waiting
    line = await served.begin(chat(text), headers=headers)
    await until(lambda: served.in_flight + served.waiting == before + 1)
    return line


def order(upstream: Upstream) -> list[str]:
    """What the calls said, in the order in which they came in."""
    return [visit.fields["messages"][0]["content"] for visit in upstream.visits]


async def test_a_call_may_lower_its_priority(world: World) -> None:
    """Who comes later without the header goes first."""
    held = Held()
    upstream = await world.upstream(held.act)
    served = await world.gateway([upstream.url])
    lines = [await queued(served, "first", {})]
    lines += [await queued(served, "batch", {PRIORITY: "batch"})]
    lines += [await queued(served, text, headers) for text, headers in (("a", {}), ("b", {PRIORITY: "interactive"}))]
    held.opened.set()
    assert [(await line.reply()).status for line in lines] == [200] * 4
    assert order(upstream) == ["first", "a", "b", "batch"]


async def test_a_callers_rule_makes_all_its_calls_batch_work(world: World) -> None:
    """Its header cannot raise them; another caller's calls go before."""
    ring = Ring(world.folder)
    held = Held()
    upstream = await world.upstream(held.act)
    nightly, human = bearer(ring.add("nightly")), bearer(ring.add("human"))
    callers = [{"match": {"key": "nightly"}, "priority": "batch"}, {"match": {"key": "human"}}]
    served = await world.gateway([upstream.url], auth=ring.auth, callers=callers)
    lines = [await queued(served, "first", human)]
    lines += [
        await queued(served, "nightly", nightly | {PRIORITY: "interactive"}),
        await queued(served, "human", human),
    ]
    held.opened.set()
    assert [(await line.reply()).status for line in lines] == [200] * 3
    assert order(upstream) == ["first", "human", "nightly"]


@pytest.mark.parametrize("word", ["high", "Batch", "batch, interactive", "1"])
async def test_an_unknown_priority_is_refused(world: World, word: str) -> None:
    """Before any endpoint is asked: a typing mistake must not make batch work urgent."""
    upstream = await world.upstream(answer_well)
    served = await world.gateway([upstream.url])
    reply = await served.ask("POST", CHAT, chat(), {PRIORITY: word})
    assert (reply.status, reply.error["type"], reply.error["param"]) == (400, "invalid_request", PRIORITY)
    assert not upstream.visits
