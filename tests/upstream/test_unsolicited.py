"""Data that an endpoint sends without a request: it answers no request, and its connection is not used again."""

import asyncio
import logging
from pathlib import Path

import pytest
from tests.upstream.scripted import Line, a_client, answer, own_authority, serving, until
from tests.upstream.test_client import POST, ask, body_of, idle_connection

from ai_gateway.upstream.client import Request
from ai_gateway.wire.address import Address

EVIL = answer(b"EVIL")


class Speaker:
    """Answers `one`, then sends `more` on command; connections after the first answer `two`."""

    def __init__(self, more: bytes) -> None:
        self.more = more
        self.go_on = asyncio.Event()
        self.has_spoken = asyncio.Event()
        self.connections = 0

    async def __call__(self, line: Line) -> None:
        self.connections += 1
        is_first = self.connections == 1
        while await line.request():
            await line.say(answer(b"one" if is_first else b"two"))
            if is_first:
                await self.go_on.wait()
                await line.say(self.more)
                self.has_spoken.set()
                await line.hung_up()


@pytest.mark.parametrize(
    "more",
    [EVIL, answer(b"", b"408 Request Timeout", b"connection: close\r\n"), b"H", b"\r\n", EVIL * 3, b"\x15\x03"],
    ids=["answer", "408", "a byte", "a line end", "three", "an alert"],
)
async def test_what_came_before_a_request_is_not_its_answer(more: bytes) -> None:
    """It waits in the kernel: the loop was busy and has not read it when the next call takes the connection."""
    speaker = Speaker(more)
    async with serving(speaker) as server, a_client() as client:
        connection = await idle_connection(client, server.address)
        speaker.go_on.set()
        connection._transport.pause_reading()  # so that only the kernel has what comes
        await speaker.has_spoken.wait()
        await until(lambda: connection.peek() != "nothing")
        assert connection.is_open
        assert await body_of(client, server.address) == b"two"
        assert not connection.is_open


async def test_an_unnoticed_end_of_a_connection_costs_no_call() -> None:
    """The endpoint went while the connection was idle."""

    async def script(line: Line) -> None:
        await line.request()
        await line.say(answer(b"ok"))
        await go.wait()

    go = asyncio.Event()
    async with serving(script) as server, a_client() as client:
        connection = await idle_connection(client, server.address)
        connection._transport.pause_reading()
        go.set()
        await until(lambda: connection.peek() != "nothing")
        async with ask(client, server.address) as exchange:
            assert not exchange.was_reused


async def test_unsolicited_data_over_tls_is_not_an_answer(tmp_path: Path) -> None:
    """And a connection that is quiet is used again."""
    context, ca_file = own_authority(tmp_path)
    connections, spoken = 0, asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for number in range(3):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer(b"%d" % number))
            await writer.drain()
            if number == 1:
                await speak.wait()
                writer.write(EVIL)
                await writer.drain()
                spoken.set()
        await reader.read()
        writer.close()

    speak = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as listening, a_client() as client:
        address = Address("127.0.0.1", listening.sockets[0].getsockname()[1], "https", "", ca_file)
        assert [await body_of(client, address) for _ in range(2)] == [b"0", b"1"]
        assert connections == 1
        speak.set()
        await spoken.wait()
        assert await body_of(client, address) == b"0"
        assert connections == 2


async def test_an_endpoint_with_unsolicited_data_gets_a_connection_for_each_exchange(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """For a while: its next data may come a moment after the check."""
    caplog.set_level(logging.WARNING, "ai_gateway.upstream")

    async def script(line: Line) -> None:
        while await line.request():
            await line.say(answer(b"ok"), EVIL)

    async with serving(script) as server, a_client() as client:
        await body_of(client, server.address)
        await until(lambda: caplog.text)
        replies = await asyncio.gather(*(body_of(client, server.address) for _ in range(20)))
        replies += [await body_of(client, server.address) for _ in range(20)]
        assert set(replies) == {b"ok"}
        assert server.connections == 41
        assert caplog.text.count("sent data without a request") == 1


async def test_a_server_that_closes_an_idle_connection_is_trusted() -> None:
    """Some say 408 before they close it."""
    is_idle = asyncio.Event()

    async def script(line: Line) -> None:
        while await line.request():
            await line.say(answer(b"ok"))
            if server.connections == 1:
                await is_idle.wait()
                await line.say(answer(b"", b"408 Request Timeout"))
                return

    async with serving(script) as server, a_client() as client:
        connection = await idle_connection(client, server.address)
        is_idle.set()
        await until(lambda: not connection.is_open)
        for _ in range(3):
            assert await body_of(client, server.address) == b"ok"
        assert server.connections == 2


@pytest.mark.parametrize("more", [EVIL, b"HTTP/1.1 100 Continue\r\n\r\n", b"x", b"HTTP/1.1 "])
@pytest.mark.parametrize("said", [answer(b"one"), b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Same\r\n\r\n"])
async def test_data_after_an_answer_ends_the_connection(said: bytes, more: bytes) -> None:
    """A body behind a status that has none is more, too."""

    async def script(line: Line) -> None:
        await line.request()
        await line.say(said + more)
        await line.hung_up()

    async with serving(script) as server, a_client() as client:
        assert await body_of(client, server.address) in (b"one", b"")
        async with ask(client, server.address) as exchange:
            assert not exchange.was_reused


async def test_an_endpoint_that_answers_before_it_has_the_request_keeps_no_connection() -> None:
    """It may take the rest of the request for another one."""

    async def script(line: Line) -> None:
        await line._reader.readuntil(b"\r\n\r\n")  # the head; of the body nothing is read
        await line.say(answer(b"too large", b"413 No"))
        await line.hung_up()

    async with serving(script) as server, a_client() as client:
        large = Request("POST", "/v1/embeddings", (b"y" * (64 << 20),))
        assert await body_of(client, server.address, large) == b"too large"
        assert client.take_idle(server.address) is None


async def test_the_head_of_an_answer_to_head_is_all_of_it() -> None:
    """Its length is that of a body that does not come."""

    async def script(line: Line) -> None:
        while await line.request():
            await line.say(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n")

    async with serving(script) as server, a_client() as client:
        assert await body_of(client, server.address, Request("HEAD", "/")) == b""
        assert await body_of(client, server.address, Request("HEAD", "/")) == b""


async def test_no_interim_answer_is_the_answer() -> None:
    """However many come; each with fields of its own."""

    async def script(line: Line) -> None:
        while await line.request():
            await line.say(b"HTTP/1.1 103 Early Hints\r\nx-a: 1\r\n\r\n" * 50 + answer(b"ok"))

    async with serving(script) as server, a_client() as client:
        for is_second in (False, True):
            async with ask(client, server.address, POST) as exchange:
                assert (await exchange.read_all(9), exchange.head.get(b"x-a")) == (b"ok", b"")
                assert exchange.was_reused is is_second
