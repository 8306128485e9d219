"""The pure rules for requests, byte for byte; tests/server has the same on a socket."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_gateway.errors import GatewayError, WrongMethod
from ai_gateway.wire.framing import (
    CHUNKED,
    ChunkedBody,
    Fields,
    FramingLimits,
    RequestLine,
    check_fields,
    check_part,
    request_line,
    without_upgrade,
)

LIMITS = FramingLimits()
LINE = RequestLine(b"POST", b"/a", b"", b"1")
HOST = (b"host", b"a")


def status_of(refused: pytest.ExceptionInfo[GatewayError]) -> int:
    return refused.value.error_status


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (b"GET / HTTP/1.1\r\n", (b"GET", b"/", b"", b"1", b"")),
        (b"POST /v1/models/a%2Fb:c?d=e?f HTTP/1.0\r\n", (b"POST", b"/v1/models/a%2Fb:c", b"d=e?f", b"0", b"")),
        (b"GET //a HTTP/1.1\r\n", (b"GET", b"//a", b"", b"1", b"")),
        (b"GET http://a:80 HTTP/1.1\r\n", (b"GET", b"/", b"", b"1", b"a:80")),
        (b"GET HTTPS://a/b?c HTTP/1.1\r\n", (b"GET", b"/b", b"c", b"1", b"a")),
    ],
)
def test_a_request_line_is_taken_apart(line: bytes, read: tuple[bytes, ...]) -> None:
    assert tuple(request_line(line, LIMITS)) == read


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /\r\n", 400),
        (b"GET / HTTP/1.1 \r\n", 400),
        (b"GET\t/ HTTP/1.1\r\n", 400),
        (b"GET /a\x7f HTTP/1.1\r\n", 400),
        (b"\r\n", 400),
        (b"GET / HTTP/1.2\r\n", 505),
        (b"GET / HTTP/3.0\r\n", 505),
        (b"BREW / HTTP/1.1\r\n", 405),
        (b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\n", 414),
    ],
)
def test_an_invalid_request_line_is_refused(line: bytes, status: int) -> None:
    with pytest.raises(GatewayError) as refused:
        request_line(line, LIMITS)
    assert status_of(refused) == status


def test_a_refused_method_names_those_that_are_served() -> None:
    with pytest.raises(WrongMethod) as refused:
        request_line(b"TRACE / HTTP/1.1\r\n", LIMITS)
    assert "POST" in refused.value.allow


@pytest.mark.parametrize("end", [8 * 1024 - 14, 8 * 1024 - 13])
def test_the_line_limit_is_exact(end: int) -> None:
    line = b"GET /" + b"a" * (end - 5) + b" HTTP/1.1\r\n"
    if len(line) - 2 <= LIMITS.line_bytes:
        assert request_line(line, LIMITS).method == b"GET"
    else:
        with pytest.raises(GatewayError):
            request_line(line, LIMITS)


@pytest.mark.parametrize(
    ("fields", "read"),
    [
        ([HOST], (0, False)),
        ([HOST, (b"content-length", b"12")], (12, False)),
        ([HOST, (b"content-length", b"12"), (b"expect", b"100-Continue")], (12, True)),
        ([HOST, (b"content-length", b"12"), (b"expect", b"")], (12, False)),
        ([HOST, (b"transfer-encoding", b"chunked")], (CHUNKED, False)),
        ([HOST, (b"transfer-encoding", b"Chunked")], (CHUNKED, False)),
        ([HOST, (b"cookie", b"a"), (b"cookie", b"b")], (0, False)),
        ([(b"host", b"[::1]:80")], (0, False)),
        ([(b"host", b"a_b.c-d:8080")], (0, False)),
    ],
)
def test_fields_say_how_long_the_body_is(fields: Fields, read: tuple[int, bool]) -> None:
    assert check_fields(LINE, fields, LIMITS) == read


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([], 400),
        ([HOST, HOST], 400),
        ([(b"host", b"a:b")], 400),
        ([(b"host", b"a, b")], 400),
        ([(b"host", b"a:123456")], 400),
        ([HOST, (b"content-length", b"1"), (b"transfer-encoding", b"chunked")], 400),
        ([HOST, (b"transfer-encoding", b"chunked, chunked")], 400),
        ([HOST, (b"content-length", b"\xd9\xa1")], 400),
        ([HOST, (b"expect", b"100-continue, x")], 417),
        ([HOST] + [(b"x", b"y")] * 100, 431),
    ],
)
def test_ambiguous_fields_are_refused(fields: Fields, status: int) -> None:
    with pytest.raises(GatewayError) as refused:
        check_fields(LINE, fields, LIMITS)
    assert status_of(refused) == status


def test_http_1_0_needs_no_host_and_knows_no_chunks_and_no_expectation() -> None:
    old = LINE._replace(minor=b"0")
    assert check_fields(old, [(b"expect", b"100-continue")], LIMITS) == (0, False)
    with pytest.raises(GatewayError):
        check_fields(old, [HOST, (b"transfer-encoding", b"chunked")], LIMITS)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\n", 400),
        (b"GET /\rX", 400),
        (b"\x16\x03\x01", 400),
        (b"FOO / HTTP/1.1\r\n", 405),
        (b"GET / HTTP/2.0\r\nHos", 505),
        (b"GET /" + b"a" * 8192, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 32768, 431),
    ],
)
def test_a_head_that_cannot_become_good_is_refused_before_its_end(head: bytes, status: int) -> None:
    with pytest.raises(GatewayError) as refused:
        check_part(head, 0, LIMITS)
    assert status_of(refused) == status


@given(st.integers(0, 60))
def test_every_beginning_of_a_good_head_may_still_become_good(length: int) -> None:
    head = b"GET /v1/models?a=b HTTP/1.1\r\nHost: a\r\nX: \xc3\xa4\r\n\r"[:length]
    for new_from in range(len(head)):
        check_part(head, new_from, LIMITS)


def test_an_upgrade_field_is_removed_in_any_case() -> None:
    head = b"GET / HTTP/1.1\r\nHost: upgrade: a\r\nUPGRADE: h2c\r\nX: y\r\n\r\n"
    assert without_upgrade(head) == b"GET / HTTP/1.1\r\nHost: upgrade: a\r\nX: y\r\n\r\n"


def taken(pieces: list[bytes]) -> tuple[int, bool]:
    body = ChunkedBody(LIMITS)
    total = 0
    for piece in pieces:
        total += body.take(piece)
    return total, body.is_complete


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.lists(st.integers(0, 300), max_size=8))
def test_a_chunked_body_ends_at_the_same_byte_in_any_pieces(chunks: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(b"%x;e=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nX: y\r\n\r\n"
    data = whole + b"GET / HTTP/1.1\r\n"
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(edges)]
    assert taken(pieces) == (len(whole), True)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"1\r\nab",
        b"1\r\na\n",
        b"1\n",
        b"1\rX",
        b"1;" + b"a" * 128,
        b"123456789\r\n",
        b"0\r\nno field\r\n",
        b"0\r\n folded\r\n",
        b"0\r\nContent-length: 1\r\n",
        b"0\r\nHOST: b\r\n",
        b"0\r\n" + b"X: y\r\n" * 3000,
        b"1\r\na\r\n" * 5000,
    ],
)
@pytest.mark.parametrize("step", [1, 1_000_000])
def test_a_broken_chunked_body_is_refused_in_any_pieces(data: bytes, step: int) -> None:
    with pytest.raises(GatewayError) as refused:
        taken([data[start : start + step] for start in range(0, len(data), step)])
    assert status_of(refused) == 400


def test_chunks_as_small_as_a_word_are_fine() -> None:
    assert taken([b"8\r\naaaaaaaa\r\n"] * 20_000 + [b"0\r\n\r\n"])[1]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (lambda: request_line(data, LIMITS), lambda: check_part(data, 0, LIMITS), lambda: taken([data])):
        with suppress(GatewayError):
            read()
