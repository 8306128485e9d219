"""A source gives whole lists, and the last one stays in force, whatever becomes of the source."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from ai_gateway.discovery.following import Following
from ai_gateway.discovery.local import LOCAL, LocalSource
from ai_gateway.discovery.source import Addresses
from ai_gateway.discovery.static import StaticSource
from ai_gateway.wire.address import Address

A, B = (Address("a"),), (Address("b"),)


class Scripted:
    """A source that gives what it is handed; None makes it fail."""

    name = "scripted"

    def __init__(self) -> None:
        self.script: asyncio.Queue[Addresses | None] = asyncio.Queue()

    async def lists(self) -> AsyncIterator[Addresses]:
        """See Source."""
        while True:
            addresses = await self.script.get()
            if addresses is None:
                raise ConnectionError("the API server left")
            yield addresses


class Applied:
    """The lists that came, one after the other."""

    def __init__(self) -> None:
        self.lists: asyncio.Queue[Addresses] = asyncio.Queue()
        self.following = Following(self.lists.put_nowait)

    async def next(self) -> Addresses:
        """Waits for it."""
        async with asyncio.timeout(5):
            return await self.lists.get()


async def test_each_list_is_applied_as_it_comes() -> None:
    """The source is known by its name."""
    applied, source = Applied(), Scripted()
    assert applied.following.source_name == "none"
    applied.following.follow(source)
    assert applied.following.source_name == "scripted"
    for addresses in (A, B, ()):
        source.script.put_nowait(addresses)
        assert await applied.next() == addresses
    await applied.following.stop()


async def test_another_source_takes_the_place_of_the_first() -> None:
    """What the first one says from then on is not heard."""
    applied, first, second = Applied(), Scripted(), Scripted()
    applied.following.follow(first)
    first.script.put_nowait(A)
    assert await applied.next() == A
    applied.following.follow(second)
    first.script.put_nowait(())
    second.script.put_nowait(B)
    assert await applied.next() == B
    assert applied.lists.empty()
    await applied.following.stop()


async def test_a_source_that_fails_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    """Its last list stays in force meanwhile, and the log says so."""
    applied, source = Applied(), Scripted()
    applied.following.follow(source)
    for addresses in (A, None, B):
        source.script.put_nowait(addresses)
    assert [await applied.next(), await applied.next()] == [A, B]
    assert "the last list stays in force" in caplog.text
    await applied.following.stop()


async def test_what_is_found_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Also that nothing is."""
    caplog.set_level(logging.INFO, logger="ai_gateway")
    applied = Applied()
    applied.following.follow(StaticSource(A))
    await applied.next()
    applied.following.follow(StaticSource((), "nothing"))
    await applied.next()
    assert "discovery (static): http://a:11434" in caplog.text
    assert "discovery (nothing): no endpoint" in caplog.text
    await applied.following.stop()


async def test_stopping_twice_or_before_the_beginning_is_no_harm() -> None:
    """A gateway may leave before it began."""
    following = Applied().following
    await following.stop()
    following.follow(StaticSource(A))
    await following.stop()
    await following.stop()


async def test_a_local_ollama_is_listed_from_the_moment_it_answers() -> None:
    """Until then there is none, which is said at once."""
    asked = 0

    async def answers(address: Address) -> bool:
        nonlocal asked
        asked += 1
        return asked >= 4

    lists = [addresses async for addresses in LocalSource(answers, look_seconds=0).lists()]
    assert lists == [(), (LOCAL,)]
    assert asked == 4
