"""Clients may not be slow or send for ever; running requests have no receive deadline."""

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.flow.waiting import soon

from ai_gateway.server import FramingLimits

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
QUICK = FramingLimits(
    first_byte_seconds=0.1,
    head_seconds=0.1,
    idle_seconds=0.1,
    body_silence_seconds=0.1,
    body_grace_seconds=0.1,
    body_rate=1024,
    write_silence_seconds=0.2,
    linger_seconds=1,
    sweep_seconds=0.02,
)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /a HT",
        b"GET /a HTTP/1.1\r\nHost: a\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\na",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na",
    ],
)
async def test_an_unfinished_request_is_answered_408(request_: bytes, serving: Any, error_of: Any) -> None:
    async with serving(QUICK) as world:
        answer = await world.talk(request_)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert error_of(answer)["code"] == "request_timeout"
    assert world.refusals == [(408, "request_timeout")]
    assert world.app.seen == []


async def test_a_body_that_drips_is_answered_408(serving: Any) -> None:
    async with serving(QUICK) as world:
        answer = await world.talk(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", *[b"a"] * 20)
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_head_that_drips_is_answered_408(serving: Any) -> None:
    async with serving(QUICK) as world:
        answer = await world.talk(*[bytes([byte]) for byte in GET])
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_silent_and_idle_clients_are_closed_without_an_answer(serving: Any) -> None:
    async with serving(QUICK) as world:
        assert await world.talk() == b""
        answer = await world.talk(GET)
    assert answer.endswith(b"\r\n\r\nGET /a 0")
    assert world.refusals == []


async def test_a_running_request_has_no_receive_deadline(serving: Any) -> None:
    async with serving(QUICK) as world:
        talking = asyncio.create_task(world.talk(GET.replace(b"/a", b"/wait")))
        await world.app.started.wait()
        await asyncio.sleep(0.3)
        world.app.answer.set()
        assert (await talking).endswith(b"GET /wait 0")


async def test_a_client_that_stops_reading_is_cut_and_the_request_notified(serving: Any) -> None:
    async with serving(QUICK) as world:
        reader, writer = await world.open()
        writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader._transport.pause_reading()
        world.app.chunk = b"x" * 262_144
        writer.write(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        await soon(world.app.left.wait())
        writer.transport.abort()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("piece", [b"a" * 65536, b"X: " + b"a" * 65533 + b"\r\n", b"X: a\r\n" * 10000])
async def test_a_head_drip_of_100_mb_is_cut_and_takes_no_memory(piece: bytes, serving: Any) -> None:
    async with serving() as world:
        await world.talk(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        before = resident_bytes()
        reader, writer = await world.open()
        writer.write(b"GET /a HTTP/1.1\r\nHost: a\r\nX: ")
        sent = 0
        while sent < 100_000_000 and not reader.at_eof():
            writer.write(piece)
            await writer.drain()
            sent += len(piece)
            if reader._buffer:
                break
        answer = await soon(reader.read())
        writer.close()
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert sent < 10_000_000
    assert resident_bytes() - before < 4 * 1024 * 1024


async def test_slow_clients_do_not_slow_others(serving: Any) -> None:
    async with serving() as world:
        slow = [await world.open() for _ in range(200)]
        for _, writer in slow:
            writer.write(b"GET /a HTTP/1.1\r\nX")
        answer = await world.talk(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert answer.endswith(b"GET /a 0")
        for _, writer in slow:
            writer.close()
