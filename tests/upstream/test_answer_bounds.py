"""However much an endpoint says, and however it says it: heads, chunk sizes and trailers are bounded, and so is the
work that they make."""

import asyncio
import gzip
import time

import httpx
import pytest
from tests.upstream.scripted import Line, Script, a_client, answer, answers, serving
from tests.upstream.test_client import ask, body_of

from ai_gateway.upstream.connection import MAX_DRY_BYTES
from ai_gateway.upstream.failures import BrokenFailure, GarbledFailure, ResetFailure
from ai_gateway.upstream.transport import MAX_BYTES, httpx_client

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
PIECE = 1 << 16


def says(begin: bytes, again: bytes, most: int = 64 << 20) -> Script:
    """Says one thing, then another again and again, until the client hangs up."""

    async def script(line: Line) -> None:
        while await line.request():
            await line.say(begin)
            block = again * (PIECE // len(again) + 1)
            for _ in range(most // len(block)):
                await line.say(block)
            await line.hung_up()

    return script


@pytest.mark.parametrize(
    ("begin", "again"),
    [
        (b"", b"a"),
        (b"HTTP/1.1 200 ", b"O"),
        (OK + b"x: ", b"y"),
        (OK, b"xy"),
        (OK, b"x: y\r\n"),
        (OK + b"x: y\r\n", b" y\r\n"),
        (OK + b"x: y", b"\r\n "),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"),
        (b"", b"\r\n"),
    ],
)
async def test_an_endless_head_is_a_cheap_failure(begin: bytes, again: bytes) -> None:
    """Made of anything: a name, a value, lines, folded lines, interim answers."""
    async with serving(says(begin, again)) as server, a_client() as client:
        began = time.process_time()
        with pytest.raises(ResetFailure):
            await body_of(client, server.address)
        assert time.process_time() - began < 1.0


@pytest.mark.parametrize(
    ("begin", "again"),
    [
        (CHUNKED + b"5;", b"x"),
        (CHUNKED, b"0"),
        (CHUNKED + b"2\r\nok\r\n0\r\n", b"x: y\r\n"),
        (CHUNKED + b"2\r\nok\r\n0\r\nx: ", b"y"),
        (CHUNKED + b"2\r\nok\r\n0\r\nx: y", b"\r\n "),
    ],
)
async def test_endless_framing_is_a_failure(begin: bytes, again: bytes) -> None:
    """An extension of a chunk's size, zeros before it, trailers."""
    async with serving(says(begin, again)) as server, a_client() as client:
        began = time.process_time()
        with pytest.raises(BrokenFailure):
            await body_of(client, server.address)
        assert time.process_time() - began < 1.0


async def test_a_head_that_drips_is_bounded_by_what_it_costs() -> None:
    """Each byte of it in a segment of its own."""

    async def script(line: Line) -> None:
        await line.request()
        await line.say(OK + b"x: ")
        while True:
            await line.say(b"y")
            await asyncio.sleep(0)

    async with serving(script) as server, a_client() as client:
        began = time.process_time()
        with pytest.raises(ResetFailure, match=str(MAX_DRY_BYTES)):
            async with asyncio.timeout(60), ask(client, server.address):
                pass
        assert time.process_time() - began < 20.0  # the server's part of it too


async def test_a_body_of_one_byte_chunks_is_read() -> None:
    """More framing than content is not a failure, as long as content comes."""
    body = b"x" * 20_000

    async def script(line: Line) -> None:
        await line.request()
        await line.say(CHUNKED + b"1\r\nx\r\n" * len(body) + b"0\r\n\r\n")

    async with serving(script) as server, a_client() as client:
        assert await body_of(client, server.address) == body


async def test_a_head_as_proxies_write_it_is_read() -> None:
    """With cookies, policies and traces: far more than Ollama's own."""
    fields = b"".join(b"x-%d: %b\r\n" % (number, b"y" * 400) for number in range(60))
    async with serving(answers_with(answer(b"ok", extra=fields))) as server, a_client() as client:
        assert await body_of(client, server.address) == b"ok"
        assert await body_of(client, server.address) == b"ok"
        assert server.connections == 1


def answers_with(raw: bytes) -> Script:
    async def script(line: Line) -> None:
        while await line.request():
            await line.say(raw)
        await line.hung_up()

    return script


@pytest.mark.parametrize(
    "raw",
    [
        OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\nok!",
        OK + b"content-length: 2, 3\r\n\r\nok!",
        OK + b"content-length: -1\r\n\r\nok",
        OK + b"content-length: 99999999999999999999\r\n\r\nok",
        OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        CHUNKED + b"-2\r\nok\r\n0\r\n\r\n",
        CHUNKED + b"fffffffffffffffff\r\nok",
        CHUNKED + b"2\r\nokay\r\n0\r\n\r\n",
        CHUNKED + b"zz\r\nok\r\n0\r\n\r\n",
        OK + b"transfer-encoding: gzip\r\n\r\nok",
        OK + b"x y\r\n\r\n",
        b"HTTP/9.9 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 1000 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
)
async def test_ambiguous_framing_is_not_an_answer(raw: bytes) -> None:
    """The endpoint hangs up after it; the bytes before are never taken for a whole answer."""

    async def script(line: Line) -> None:
        await line.request()
        await line.say(raw)

    async with serving(script) as server, a_client() as client:
        try:
            assert await body_of(client, server.address) == b"ok"
        except (ResetFailure, BrokenFailure):
            return
        assert raw.startswith(CHUNKED), "only what lies behind a whole body may be wrong"
        assert client.take_idle(server.address) is None


LATER_LINE = b"\r\ncontent-encoding: gzip"  # several lines are one list, and httpx would decode by the last one


@pytest.mark.parametrize(
    "coding",
    [b"gzip", b"x-gzip", b"br", b"zstd", b"identity, gzip", b"\xff", b"identity" + LATER_LINE, LATER_LINE],
)
async def test_a_compressed_answer_is_refused_by_its_head(coding: bytes) -> None:
    """None was asked for, and what is small on the line may be anything in memory."""
    raw = answer(gzip.compress(b" " * (1 << 20)), extra=b"content-encoding: " + coding + b"\r\n")
    async with serving(answers_with(raw)) as server, a_client() as client:
        with pytest.raises(ResetFailure, match="compressed"):
            await body_of(client, server.address)
        async with httpx_client(client, server.address) as http:
            with pytest.raises(httpx.ReadError, match="compressed"):
                await http.get("/api/tags")


@pytest.mark.parametrize("coding", [b"identity", b"Identity", b"", b"\r\ncontent-encoding: identity"])
async def test_an_answer_that_is_said_to_be_plain_is_read(coding: bytes) -> None:
    raw = answer(b"{}", extra=b"content-encoding: " + coding + b"\r\n")
    async with (
        serving(answers_with(raw)) as server,
        a_client() as client,
        httpx_client(client, server.address) as http,
    ):
        assert (await http.get("/api/tags")).content == b"{}"


async def test_an_answer_to_a_control_call_is_bounded() -> None:
    """For polls, details and an issuer's keys."""
    async with a_client() as client:
        async with serving(answers(b" " * MAX_BYTES)) as server, httpx_client(client, server.address) as http:
            assert len((await http.get("/api/tags")).content) == MAX_BYTES
        endless = says(OK + b"\r\n", b" ")
        async with serving(endless) as server, httpx_client(client, server.address) as http:
            with pytest.raises(httpx.ReadError, match="larger than"):
                await http.get("/api/tags")


def test_a_garbled_answer_differs_from_a_cut_one() -> None:
    """Only the first is surely the endpoint's fault."""
    assert issubclass(GarbledFailure, BrokenFailure)
    assert not issubclass(ResetFailure, BrokenFailure)
