"""What a caller says of an answer that it does not wait for: nobody else's limits are used up by it."""

import asyncio

import pytest
from tests.attack.command import serving
from tests.attack.table import Tried
from tests.flow.upstream import Visit, answer, whole
from tests.flow.waiting import soon, until
from tests.flow.world import CHAT, World, chat, config

SHARED = {"models": {"llama3": {"tokens_per_day": 100_000}}}


@pytest.mark.attack("numbers", "max_tokens of 2^31-1, and gone at once: the day of everyone who shares the model")
async def test_a_huge_limit_of_a_client_that_left_uses_up_no_day_budget(world: World, tried: Tried) -> None:
    """What is paid is what a model can have written in that time (a real process)."""
    arrived = asyncio.Event()

    async def act(visit: Visit) -> None:
        if visit.fields["max_tokens"] == 1:
            await visit.say(whole(answer()))
            return
        arrived.set()
        await visit.gone()

    upstream = await world.upstream(act)
    async with serving(world.folder, config([upstream.url], limits=SHARED)) as command:
        await command.ready()
        line = await command.open()
        await line.send("POST", CHAT, chat(max_tokens=2**31 - 1))
        await soon(arrived.wait())
        line.vanish()
        await until(lambda: '"client_left"' in command.lines, "its access line")
        reply = await command.chat(max_tokens=1)
        assert reply.status == 200, reply.body
        spent = 100_000 - int(reply.header("x-ratelimit-remaining-tokens") or 0)
    assert 256 <= spent < 50_000
    tried.figure(f"{spent} tokens charged")
