"""A source gives whole lists, and the last one stays in force, whatever becomes of the source."""

import asyncio
import logging
from collections.abc import AsyncGenerator

import pytest
from tests.flow.waiting import PATIENCE_SECONDS

from ai_gateway.balancing.pod import Pod
from ai_gateway.config.types import StaticUpstream
from ai_gateway.config.units import FilePath
from ai_gateway.discovery.local import LOCAL, LocalSource
from ai_gateway.discovery.runner import STEP_ENDPOINTS, DiscoveryRunner
from ai_gateway.discovery.source import Found, Source, SourceStatus
from ai_gateway.discovery.static import StaticSource, UrlSource
from ai_gateway.wire.address import Address

A, B, NONE = Found((Address("a"),)), Found((Address("b"),)), Found()


class Scripted(Source):
    """A source that gives what it is handed; None makes it fail."""

    def __init__(self) -> None:
        self.script: asyncio.Queue[Found | None] = asyncio.Queue()

    @property
    def name(self) -> str:
        """See Source."""
        return "scripted"

    async def lists(self) -> AsyncGenerator[Found]:
        """See Source."""
        while True:
            found = await self.script.get()
            if found is None:
                raise ConnectionError("the API server left")
            yield found

    def status(self) -> SourceStatus:
        """See Source."""
        return SourceStatus(reason="slow today", seen=3)


class Applied:
    """The lists that came, one after the other."""

    def __init__(self) -> None:
        self.lists: asyncio.Queue[Found] = asyncio.Queue()
        self.runner = DiscoveryRunner(self.lists.put_nowait)

    async def next(self) -> Found:
        """Waits for it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.lists.get()


async def test_each_list_is_applied_as_it_comes() -> None:
    """The source is known by its name."""
    applied, source = Applied(), Scripted()
    assert applied.runner.source_name == "none"
    applied.runner.follow(source)
    assert applied.runner.source_name == "scripted"
    for found in (A, B, NONE):
        source.script.put_nowait(found)
        assert await applied.next() == found
    await applied.runner.stop()


async def test_another_source_takes_the_place_of_the_first() -> None:
    """What the first one says from then on is not heard."""
    applied, first, second = Applied(), Scripted(), Scripted()
    applied.runner.follow(first)
    first.script.put_nowait(A)
    assert await applied.next() == A
    applied.runner.follow(second)
    first.script.put_nowait(NONE)
    second.script.put_nowait(B)
    assert await applied.next() == B
    assert applied.lists.empty()
    await applied.runner.stop()


async def test_a_failed_source_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """Its last list stays in force meanwhile, and the log says so once, however often it fails."""
    applied, source = Applied(), Scripted()
    applied.runner.follow(source)
    for found in (A, None, None, B):
        source.script.put_nowait(found)
    assert [await applied.next(), await applied.next()] == [A, B]
    assert caplog.text.count("the last list stays in force") == caplog.text.count("Traceback") == 1
    await applied.runner.stop()


async def test_found_endpoints_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Also that nothing is."""
    caplog.set_level(logging.INFO, logger="ai_gateway")
    applied = Applied()
    applied.runner.follow(StaticSource(A.addresses))
    await applied.next()
    applied.runner.follow(StaticSource((), "nothing"))
    await applied.next()
    assert "discovery (static): 1 endpoints; new: http://a:11434" in caplog.text
    assert "discovery (nothing): 0 endpoints; gone: http://a:11434" in caplog.text
    await applied.runner.stop()


async def test_a_change_of_many_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Ten are named, the others counted; pods by their names."""
    caplog.set_level(logging.INFO, logger="ai_gateway")
    applied, source = Applied(), Scripted()
    addresses = tuple(Address(f"10.0.0.{number}") for number in range(12))
    pods = {address: Pod(f"ollama-{number}", "ai") for number, address in enumerate(addresses)}
    applied.runner.follow(source)
    source.script.put_nowait(Found(addresses, pods))
    await applied.next()
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith("discovery (scripted): 12 endpoints; new: ai/ollama-0 10.0.0.0:11434, ai/ollama-1 ")
    assert line.endswith("ai/ollama-9 10.0.0.9:11434 and 2 more")
    await applied.runner.stop()


async def test_the_status_has_the_sources_reason_and_the_gateways_advice() -> None:
    """Both, if there are both; another source begins without advice."""
    runner = Applied().runner
    assert runner.status() == SourceStatus()
    runner.follow(Scripted())
    assert runner.status() == SourceStatus(reason="slow today", seen=3)
    runner.advice = "go home"
    assert runner.status().reason == "slow today; go home"
    runner.follow(Scripted())
    assert runner.status().reason == "slow today"
    await runner.stop()


async def test_stopping_twice_or_before_the_start_does_no_harm() -> None:
    """A gateway may leave before it began."""
    runner = Applied().runner
    await runner.stop()
    runner.follow(StaticSource(A.addresses))
    await runner.stop()
    await runner.stop()


async def test_a_local_ollama_is_listed_from_the_moment_it_answers() -> None:
    """Until then there is none, which is said at once."""
    asked = 0

    async def answers(address: Address) -> bool:
        nonlocal asked
        asked += 1
        return asked >= 4

    lists = [found.addresses async for found in LocalSource(answers, check_seconds=0).lists()]
    assert lists == [(), (LOCAL,)]
    assert asked == 4


async def test_while_nothing_answers_a_hint_names_the_address() -> None:
    """Until something does."""
    answering = iter([False, True])

    async def answers(address: Address) -> bool:
        return next(answering)

    source = LocalSource(answers, check_seconds=0)
    assert source.status().hint is None
    hints = [source.status().hint async for _ in source.lists()]
    assert str(hints[0]).startswith("nothing answers at http://127.0.0.1:11434: start Ollama there")
    assert hints[1] is None


@pytest.mark.parametrize("kept", [0, 40, 300])
async def test_a_large_change_is_applied_in_steps(kept: int) -> None:
    """Each is a whole list, none much larger than the larger of both; the last is the source's own."""
    applied, source = Applied(), Scripted()
    applied.runner.follow(source)
    first = Found(tuple(Address(f"a{number}") for number in range(300)))
    second = Found((*first.addresses[:kept], *(Address(f"b{number}") for number in range(120))))
    before: set[Address] = set()
    for found in (first, second, NONE):
        source.script.put_nowait(found)
        while (step := await applied.next()) != found:
            now = set(step.addresses)
            assert 0 < len(now ^ before) <= 2 * STEP_ENDPOINTS
            assert now <= before | set(found.addresses)
            assert now >= before & set(found.addresses)
            before = now
        assert len(before ^ set(found.addresses)) <= STEP_ENDPOINTS
        before = set(found.addresses)
    await applied.runner.stop()


async def test_another_source_between_steps_starts_from_the_current_list() -> None:
    applied = Applied()
    many = tuple(Address(f"a{number}") for number in range(10 * STEP_ENDPOINTS))
    applied.runner.follow(StaticSource(many))
    await applied.next()
    applied.runner.follow(StaticSource(A.addresses))
    sizes = []
    while (step := await applied.next()) != A:
        sizes.append(len(step.addresses))
    assert max(sizes, default=0) < len(many)
    await applied.runner.stop()


async def test_urls_of_a_config_are_read_once_each() -> None:
    source = UrlSource(("http://a", "http://a:11434/", StaticUpstream("https://b", FilePath("/ca.pem"))))
    assert [found.addresses async for found in source.lists()] == [
        (Address("a"), Address("b", 443, "https", ca_file="/ca.pem"))
    ]
    assert source.name == "static"
