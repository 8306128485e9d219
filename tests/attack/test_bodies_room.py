"""One caller holds all the room, slowly: others find some, and room that is held for nothing is given back."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.attack.bodies import CHAT_PATH, MIB, take_unread
from tests.attack.command import Command, serving
from tests.attack.table import Tried
from tests.flow.line import Line
from tests.flow.test_access import Ring, bearer
from tests.flow.waiting import until
from tests.flow.world import World, chat, config

PROXY = {"trusted_proxies": ["127.0.0.1"]}


OPENED: list[Line] = []


@pytest.fixture(autouse=True)
async def _closed() -> AsyncIterator[None]:
    """No connection outlives its test."""
    yield
    while OPENED:
        OPENED.pop().vanish()


async def upload(command: Command, size: int, **headers: str) -> Line:
    """A chunked body that begins with so many bytes and never ends."""
    line = await command.open()
    OPENED.append(line)
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"POST {CHAT_PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{lines}"
    await line.write(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
    body = b'{"model":"llama3","messages":[{"role":"user","content":"' + b"x" * size
    for at in range(0, len(body), MIB):
        piece = body[at : at + MIB]
        await line.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    return line


async def drip(lines: list[Line]) -> None:
    """A byte on each of them, now and then, for ever."""
    while True:
        await asyncio.sleep(0.05)
        for line in lines:
            try:
                await line.write(b"1\r\nx\r\n")
            except ConnectionError:
                lines.remove(line)


@pytest.mark.attack("bodies", "four connections that hold 14 MiB each and send a byte now and then")
@pytest.mark.parametrize("size", [100, 60_000, 5 * MIB, 12 * MIB], ids=["100 B", "60 KB", "5 MiB", "12 MiB"])
async def test_a_hog_keeps_no_caller_out(world: World, tried: Tried, size: int) -> None:
    upstream = await world.upstream(take_unread)
    async with serving(world.folder, config([upstream.url], **PROXY)) as command:
        await command.ready()
        hogs = [await upload(command, 14 * MIB - 100_000, x_forwarded_for="192.0.2.1") for _ in range(4)]
        dripping = asyncio.create_task(drip(hogs))
        tried.times = 5
        for _ in range(tried.times):
            reply = await command.ask("POST", CHAT_PATH, chat("x" * size), {"x-forwarded-for": "192.0.2.2"})
            assert reply.status == 200
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


@pytest.mark.attack("bodies", "the same with one key from many addresses, and with many keys from one")
@pytest.mark.parametrize("has_many_keys", [False, True])
async def test_neither_many_addresses_nor_many_keys_help(world: World, has_many_keys: bool) -> None:
    ring = Ring(world.folder)
    keys = [ring.add(f"hog-{number}", limits={"concurrent": 4}) for number in range(4)]
    other = ring.add("other")
    upstream = await world.upstream(take_unread)
    async with serving(world.folder, config([upstream.url], auth=ring.auth, **PROXY)) as command:
        await command.ready()
        for number in range(4):
            key = keys[number if has_many_keys else 0]
            address = "192.0.2.1" if has_many_keys else f"192.0.2.{number + 1}"
            await upload(command, 14 * MIB - 100_000, authorization=f"Bearer {key}", x_forwarded_for=address)
        headers = {**bearer(other), "x-forwarded-for": "192.0.2.77"}
        assert (await command.ask("POST", CHAT_PATH, chat("x" * 5 * MIB), headers)).status == 200


@pytest.mark.attack("bodies", "a caller with concurrent 1 opens four uploads: one is read")
async def test_concurrent_counts_from_the_head_on(world: World, tried: Tried) -> None:
    ring = Ring(world.folder)
    key = ring.add("one", limits={"concurrent": 1})
    upstream = await world.upstream(take_unread)
    async with serving(world.folder, config([upstream.url], auth=ring.auth)) as command:
        await command.ready()
        first = await upload(command, MIB, authorization=f"Bearer {key}")
        for _ in range(3):
            line = await command.open()
            OPENED.append(line)
            head = f"POST {CHAT_PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json"
            await line.write(f"{head}\r\nauthorization: Bearer {key}\r\ncontent-length: {15 * MIB}\r\n\r\n".encode())
            reply = await line.reply()
            assert (reply.status, reply.error["code"]) == (429, "rate_limit_exceeded")
        first.vanish()
        reply = await command.ask("POST", CHAT_PATH, chat("x" * MIB), bearer(key))
        while reply.status == 429:  # it takes a moment to notice who is gone
            reply = await command.ask("POST", CHAT_PATH, chat("x" * MIB), bearer(key))
        assert reply.status == 200
        tried.times = 4


@pytest.mark.attack("bodies", "uploads that never end, that are aborted, and that come too slowly, over and over")
async def test_all_room_comes_back(world: World, tried: Tried) -> None:
    upstream = await world.upstream(take_unread)
    served = await world.gateway([upstream.url], body={"timeout": "1s"})
    buffers = served.gateway.buffers
    tried.times = 30
    for number in range(tried.times):
        line = await served.open()
        OPENED.append(line)
        await line.write(
            f"POST {CHAT_PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            f"content-length: {MIB}\r\n\r\n".encode()
            + b'{"model":"'
            + b"x" * (300_000 if number % 2 else 30)
        )
        if number % 3 == 0:
            line.vanish()
        elif number % 3 == 1:
            line.leave()
    await until(lambda: len(served.exchanges) == tried.times)
    assert {exchange.outcome.status for exchange in served.exchanges} == {408, 499}
    assert (buffers.held_bytes, buffers.large_bytes, len(buffers.shares)) == (0, 0, 0)
