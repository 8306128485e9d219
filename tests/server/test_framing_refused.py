"""Bytes that are not HTTP/1.1, or that could be read in two ways, are refused and never reach the app."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from tests.flow.waiting import soon

POST = b"POST /a HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

REFUSED = {
    "both lengths": (400, POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"),
    "both lengths, other order": (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG"),
    "xchunked": (400, POST + b"Transfer-Encoding: xchunked\r\nContent-Length: 1\r\n\r\na"),
    "gzip, chunked": (400, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "chunked, identity": (400, POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    "two codings": (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "coding with a tab": (400, POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "a blank behind a coding": (400, POST + b"Transfer-Encoding: chunked \r\n\r\n0\r\n\r\n"),
    "a blank behind a length": (400, POST + b"Content-Length: 1 \r\n\r\na"),
    "coding in 1.0": (400, b"POST /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "equal lengths": (400, POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na"),
    "length list": (400, POST + b"Content-Length: 1, 1\r\n\r\na"),
    "length with plus": (400, POST + b"Content-Length: +1\r\n\r\na"),
    "length in hex": (400, POST + b"Content-Length: 0x1\r\n\r\na"),
    "negative length": (400, POST + b"Content-Length: -1\r\n\r\na"),
    "empty length": (400, POST + b"Content-Length:\r\n\r\na"),
    "length of 2^70": (400, POST + b"Content-Length: 1180591620717411303424\r\n\r\na"),
    "folded line": (400, b"GET /a HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"),
    "bare LF": (400, b"GET /a HTTP/1.1\nHost: a\n\n"),
    "one bare LF": (400, b"GET /a HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
    "bare CR": (400, b"GET /a HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"),
    "NUL": (400, b"GET /a HTTP/1.1\r\nHost: a\r\nX: b\x00c\r\n\r\n"),
    "space before colon": (400, b"GET /a HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n"),
    "space before name": (400, b"GET /a HTTP/1.1\r\n Host: a\r\n\r\n"),
    "no colon": (400, b"GET /a HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
    "no Host": (400, b"GET /a HTTP/1.1\r\n\r\n"),
    "two Hosts": (400, b"GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    "empty Host": (400, b"GET /a HTTP/1.1\r\nHost:\r\n\r\n"),
    "Host with path": (400, b"GET /a HTTP/1.1\r\nHost: a/../b?x\r\n\r\n"),
    "Host with user": (400, b"GET /a HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    "foreign absolute form": (400, b"GET http://evil/a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "absolute form with user": (400, b"GET http://x@a/a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "asterisk": (400, b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    "no slash": (400, b"GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "fragment": (400, b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "raw UTF-8 in path": (400, "GET /ä HTTP/1.1\r\nHost: a\r\n\r\n".encode()),
    "two spaces": (400, b"GET  /a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "HTTP/0.9 style": (400, b"GET /a\r\n\r\n"),
    "HTTP/0.9": (505, b"GET /a HTTP/0.9\r\nHost: a\r\n\r\n"),
    "HTTP/1.2": (505, b"GET /a HTTP/1.2\r\nHost: a\r\n\r\n"),
    "HTTP/2 preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "lower-case version": (400, b"GET /a http/1.1\r\nHost: a\r\n\r\n"),
    "CONNECT": (405, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "TRACE": (405, b"TRACE /a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "unknown method": (405, b"FOO /a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "lower-case method": (405, b"get /a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "TLS on a plain port": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "two empty lines first": (400, b"\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "other expectation": (417, POST + b"Expect: 200-ok\r\nContent-Length: 1\r\n\r\na"),
    "chunk size overflow": (400, CHUNKED + b"fffffffff\r\na\r\n0\r\n\r\n"),
    "chunk size 0x1": (400, CHUNKED + b"0x1\r\na\r\n0\r\n\r\n"),
    "chunk size +1": (400, CHUNKED + b"+1\r\na\r\n0\r\n\r\n"),
    "chunk size empty": (400, CHUNKED + b"\r\na\r\n0\r\n\r\n"),
    "space after chunk size": (400, CHUNKED + b"1 \r\na\r\n0\r\n\r\n"),
    "garbage after chunk": (400, CHUNKED + b"1\r\naXX0\r\n\r\n"),
    "bare LF after chunk size": (400, CHUNKED + b"1\na\r\n0\r\n\r\n"),
    "bare LF in extension": (400, CHUNKED + b"1;a\nb\r\na\r\n0\r\n\r\n"),
    "long chunk extension": (400, CHUNKED + b"1;" + b"a" * 1_000_000 + b"\r\na\r\n0\r\n\r\n"),
    "many chunk extensions": (400, CHUNKED + (b"1;" + b"a" * 100 + b"\r\na\r\n") * 1000),
    "trailer Content-Length": (400, CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n"),
    "trailer Transfer-Encoding": (400, CHUNKED + b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "folded trailer": (400, CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n"),
    "line of 9 KiB": (414, b"GET /" + b"a" * 9216 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "line of 100 kB": (414, b"GET /" + b"a" * 100_000),
    "field of 1 MB": (431, b"GET /a HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n"),
    "head of 33 KiB": (431, b"GET /a HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 33 * 1024 + b"\r\n\r\n"),
    "101 fields": (431, b"GET /a HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 100 + b"\r\n"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_ambiguous_bytes_get_one_error_and_nothing_after_them_is_answered(
    name: str, serving: Any, error_of: Callable[[bytes], dict[str, Any]]
) -> None:
    status, request = REFUSED[name]
    async with serving() as world:
        answer = await world.talk(request + SMUGGLED)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert len(re.findall(rb"HTTP/1\.1 \d", answer)) == 1
    error_of(answer)
    assert [error[0] for error in world.refusals] == [status]
    assert world.app.seen == []


@pytest.mark.parametrize("name", ["bare LF", "both lengths", "trailer Content-Length", "TRACE", "folded line"])
async def test_a_refusal_is_the_same_when_bytes_come_one_by_one(name: str, serving: Any) -> None:
    status, request = REFUSED[name]
    async with serving() as world:
        reader, writer = await world.open()
        for position in range(len(request)):
            writer.write(request[position : position + 1])
            await writer.drain()
        answer = await soon(reader.read())
        writer.close()
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert world.app.seen == []


ACCEPTED = {
    "plain": (b"GET /a?b=c HTTP/1.1\r\nHost: a\r\n", b"", "GET", "/a"),
    "empty line first": (b"\r\nGET /a HTTP/1.1\r\nHost: a\r\n", b"", "GET", "/a"),
    "percent": (b"GET /a%2Fb:c HTTP/1.1\r\nHost: a:80\r\n", b"", "GET", "/a/b:c"),
    "absolute form": (b"GET http://a:80/a HTTP/1.1\r\nHost: A:80\r\n", b"", "GET", "/a"),
    "IPv6 Host": (b"GET /a HTTP/1.1\r\nHost: [::1]:8080\r\n", b"", "GET", "/a"),
    "h2c offer": (b"POST /a HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nContent-Length: 2\r\n", b"hi", "POST", "/a"),
    "chunks": (POST + b"Transfer-Encoding: chunked\r\n", b"1;x=y\r\nh\r\n1\r\ni\r\n0\r\n\r\n", "POST", "/a"),
    "trailer": (POST + b"Transfer-Encoding: chunked\r\n", b"2\r\nhi\r\n0\r\nX: y\r\n\r\n", "POST", "/a"),
    "no length": (POST, b"", "POST", "/a"),
    "blanks behind values": (
        b"POST /a HTTP/1.1\r\nHost: a \t\r\nExpect: 100-Continue \r\nTransfer-Encoding: chunked\r\n",
        b"2\r\nhi\r\n0\r\n\r\n",
        "POST",
        "/a",
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
@pytest.mark.parametrize("is_dripped", [False, True])
async def test_valid_requests_pass_whole_and_in_single_bytes(name: str, is_dripped: bool, serving: Any) -> None:
    head, body, method, path = ACCEPTED[name]
    upgrade = b"upgrade, " if b"Upgrade" in head else b""
    request = head + b"Connection: " + upgrade + b"close\r\n\r\n" + body
    async with serving() as world:
        reader, writer = await world.open()
        for position in range(0, len(request), 1 if is_dripped else len(request)):
            writer.write(request[position : position + (1 if is_dripped else len(request))])
            await writer.drain()
        answer = await soon(reader.read())
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert world.app.seen == [(method, path, b"hi" if body else b"")]


@pytest.mark.parametrize("name", [b"Authorization", b"X-Request-Id", b"Cookie"])
async def test_a_trailer_never_becomes_a_header(name: bytes, serving: Any) -> None:
    async with serving() as world:
        await world.talk(POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n" + name + b": x\r\n\r\n")
    assert name.lower() not in world.app.headers[0]


async def test_an_upgrade_request_keeps_its_body(serving: Any) -> None:
    """httptools alone would read the body of an upgrade request as the next request."""
    head = POST + b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED)
    async with serving() as world:
        await world.talk(head, SMUGGLED, b"GET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert [path for _, path, _ in world.app.seen] == ["/a", "/b"]


async def test_an_http_1_0_client_gets_no_chunks(serving: Any) -> None:
    async with serving() as world:
        world.app.answer.set()
        answer = await world.talk(b"GET /stream HTTP/1.0\r\n\r\n")
    assert answer.endswith(b"\r\n\r\ndata: end\n\n")
    assert b"chunked" not in answer
