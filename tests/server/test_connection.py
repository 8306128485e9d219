"""One request at a time on a connection, each answered alone, and a client that leaves is noticed at once."""

import asyncio
import gc
import socket
import struct
from typing import Any

import pytest
from tests.flow.waiting import soon

from ai_gateway.server import FramingLimits
from ai_gateway.server.cycle import Cycle

CLOSE = b"Connection: close\r\n\r\n"


def get(path: str, end: bytes = b"\r\n") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n".encode() + end


async def test_a_request_behind_an_empty_body_is_parsed_alone(serving: Any) -> None:
    async with serving() as world:
        await world.talk(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" + get("/b", CLOSE))
    assert world.app.seen == [("POST", "/a", b""), ("GET", "/b", b"")]


async def test_requests_on_one_connection_are_answered_in_order(serving: Any) -> None:
    chunked = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    async with serving() as world:
        answer = await world.talk(get("/a") + get("/b") + chunked + get("/d", CLOSE))
    assert [path for _, path, _ in world.app.seen] == ["/a", "/b", "/c", "/d"]
    assert answer.index(b"/a") < answer.index(b"/b") < answer.index(b"/c") < answer.index(b"/d")


async def test_what_comes_after_connection_close_is_ignored(serving: Any) -> None:
    async with serving() as world:
        answer = await world.talk(get("/a", CLOSE) + get("/b"))
    assert [path for _, path, _ in world.app.seen] == ["/a"]
    assert answer.count(b"HTTP/1.1 200") == 1


async def test_a_bad_request_sent_ahead_is_refused_after_the_running_answer(serving: Any) -> None:
    async with serving() as world:
        answer = await world.talk(get("/a") + b"FOO /b HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 405 " in answer


async def test_more_sent_ahead_than_is_held_ends_the_connection_after_the_answer(serving: Any) -> None:
    async with serving() as world:
        reader, writer = await world.open()
        writer.write(get("/wait"))
        await world.app.started.wait()
        for _ in range(10):  # turns of the loop, in which the server takes all that has come
            writer.write(b"x" * 15_000)
            await asyncio.sleep(0.01)
        world.app.answer.set()
        answer = await soon(reader.read())
        writer.close()
    assert answer.endswith(b"GET /wait 0")
    assert len(world.app.seen) == 1


@pytest.mark.parametrize("path", ["/wait", "/stream"])
@pytest.mark.parametrize("ahead", [b"", get("/b"), b"x" * 300_000])
@pytest.mark.parametrize("is_reset", [False, True])
async def test_a_disconnect_is_noticed_with_any_bytes_sent_ahead(
    path: str, ahead: bytes, is_reset: bool, serving: Any
) -> None:
    async with serving() as world:
        _, writer = await world.open()
        writer.write(get(path))
        await world.app.started.wait()
        writer.write(ahead)
        await writer.drain()
        if is_reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        else:
            writer.write_eof()
        await soon(world.app.left.wait())
        writer.close()
    assert len(world.app.seen) == 1


async def test_a_client_that_leaves_within_its_body_is_noticed(serving: Any) -> None:
    async with serving() as world:
        _, writer = await world.open()
        writer.write(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"a" * 100_000)
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.close()
        await soon(world.app.left.wait())
    assert world.app.seen == []


async def test_an_answer_before_the_bodys_end_can_be_read_and_ends_the_connection(serving: Any) -> None:
    head = b"POST /deaf HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\n"
    async with serving() as world:
        answer = await world.talk(head, *[b"a" * 1_000_000] * 29)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.endswith(b"POST /deaf 0")


async def test_a_large_body_arrives_whole(serving: Any) -> None:
    body = bytes(range(256)) * 20_000
    head = b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with serving() as world:
        await world.talk(head + body)
    assert world.app.seen == [("POST", "/a", body)]


async def test_continue_is_sent_only_when_the_app_reads(serving: Any) -> None:
    head = "POST {} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
    async with serving() as world:
        unread = await world.talk(head.format("/deaf").encode())
        read = await world.talk(head.format("/a").encode(), b"hi")
    assert unread.startswith(b"HTTP/1.1 200 OK")
    assert read.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


async def test_a_broken_body_is_refused_unless_the_answer_has_begun(serving: Any, error_of: Any) -> None:
    head = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
    async with serving() as world:
        answer = await world.talk(head, b"XX\r\n")
        error_of(answer)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert [error.error_status for error in world.app.refused] == [400]
    assert world.refusals == [(400, "malformed_request")]


@pytest.mark.parametrize("bad", [b"XX\r\n", b"1\r\naX", b"0\r\nContent-Length: 1\r\n\r\n"])
async def test_an_app_gets_the_error_of_a_broken_body_and_answers_it(bad: bytes, serving: Any) -> None:
    """With Expect or without: no 100 is sent, and only the app answers and records it."""
    head = b"POST /own HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving() as world:
        sent = [(head + bad,), (head, bad), (head, b"1\r\na\r\n", bad)]
        answers = [await world.talk(*pieces) for pieces in sent]
    for answer in answers:
        assert answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1 ") <= 2
        assert b"\r\nconnection: close\r\n" in answer
        assert answer.endswith(b"own words")
    assert not answers[0].startswith(b"HTTP/1.1 100 "), "a client that sends already gets no 100"
    assert world.refusals == []


async def test_an_app_that_reads_nothing_answers_all_the_same(serving: Any) -> None:
    head = b"POST /deaf HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving() as world:
        answer = await world.talk(head + b"XX\r\n", b"more")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"POST /deaf 0")
    assert world.refusals == []


@pytest.mark.parametrize("path", ["/broken", "/splitting"])
async def test_a_failure_of_the_app_is_answered_in_the_error_shape(
    path: str, serving: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as world:
        answer = await world.talk(get(path, CLOSE))
    assert answer.startswith(b"HTTP/1.1 500 ") or path == "/splitting"
    assert b"evil: 1" not in answer
    assert "Exception in ASGI application" in caplog.text


async def test_head_requests_get_no_body(serving: Any) -> None:
    async with serving() as world:
        answer = await world.talk(b"HEAD /a HTTP/1.1\r\nHost: a\r\n" + CLOSE)
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-length: 9" in answer


async def test_answers_carry_a_date_and_no_server(serving: Any) -> None:
    async with serving(FramingLimits()) as world:
        answer = await world.talk(get("/a", CLOSE))
    assert b"\r\ndate: " in answer
    assert b"server" not in answer


async def test_a_client_that_leaves_without_reading_what_waits_for_it_is_noticed(serving: Any) -> None:
    async with serving() as world:
        world.app.chunk = b"x" * 262_144
        _, writer = await world.open()
        writer.transport.pause_reading()
        writer.write(get("/stream"))
        await world.app.started.wait()
        await asyncio.sleep(0.1)
        writer.write_eof()
        await soon(world.app.left.wait())
        writer.transport.abort()


async def test_an_http_1_0_connection_ends_with_its_answer_even_if_asked_to_stay(serving: Any) -> None:
    async with serving() as world:
        answer = await world.talk(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert b"\r\nconnection: close\r\n" in answer


async def test_an_answer_that_has_begun_is_cut_off_rather_than_mixed_with_a_refusal(serving: Any) -> None:
    async with serving() as world:
        answer = await world.talk(b"POST /early HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"XX\r\n")
        await soon(world.app.left.wait())
    assert answer.endswith(b"5\r\nearly\r\n")
    assert world.refusals == [(400, "malformed_request")]


async def test_a_body_that_the_app_does_not_read_waits_in_the_network(serving: Any) -> None:
    body = b"a" * 30_000_000
    async with serving() as world:
        reader, writer = await world.open()
        writer.write(b"POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\n" + body)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(writer.drain(), 0.2)
        world.app.answer.set()
        assert b"POST /later" in await reader.readuntil(b"30000000")
        writer.close()


async def test_an_answered_request_leaves_nothing_to_the_garbage_collector(serving: Any) -> None:
    """A request that referred to itself cost 5 us more, and its memory stayed until the next collection."""
    async with serving() as world:
        gc.collect()
        gc.disable()
        try:
            await world.talk(*[get("/a")] * 10 + [get("/b", CLOSE)])
            alive = sum(type(each) is Cycle for each in gc.get_objects())
        finally:
            gc.enable()
    assert len(world.app.seen) == 11
    assert alive <= 1
