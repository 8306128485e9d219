"""A few thousand mutated requests on real sockets, compared with a second, plain reader of HTTP/1.1."""

import asyncio
import random
import re
from typing import Any
from urllib.parse import unquote

import pytest
from tests.flow.waiting import soon

from ai_gateway.server import FramingLimits

Request = tuple[str, str, bytes]

ROUNDS = 5000
AT_ONCE = 50
END = b"GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
SEEDS = [
    b"GET /a?b=c HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 14\r\n\r\nGET /b HTTP/1.",
    b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nExpect: 100-continue\r\n\r\n1\r\na\r\n0\r\n\r\n",
    b"POST /a HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
    b"PUT http://a/a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
]
PIECES = [
    *(bytes([byte]) for byte in b"\r\n \t:;,0123456789abcfxAX/?#@-+\x00\x0b\x7f\x80\xff"),
    b"\r\n",
    b"\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:\tchunked\r\n",
    b"Connection: close\r\n",
    b"0\r\n\r\n",
    b"HTTP/1.0",
    b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
]
HEAD = re.compile(
    rb"(?:\r\n)?([A-Z]+) (?:http://[^/ ]*)?(/[^ ?]*)[^ ]* HTTP/1\.([01])\r\n"
    rb"((?:[^\x00-\x20:\x7f]+:[^\x00-\x08\x0a-\x1f\x7f]*\r\n)*)\r\n"
)
CHUNK = re.compile(rb"([0-9A-Fa-f]+)(?:;[^\r\n]*)?\r\n")
TRAILER = re.compile(rb"(?:[^\x00-\x20:\x7f]+:[^\r\n]*\r\n)*\r\n")


def strict_reading(data: bytes) -> list[Request]:
    """The requests in these bytes up to the first that is broken or asks for the end of the connection."""
    requests: list[Request] = []
    position = 0
    while match := HEAD.match(data, position):
        fields = [line.partition(b":") for line in match[4].lower().split(b"\r\n")[:-1]]
        values = {name: value.strip(b" \t") for name, _, value in fields}
        read = body_at(data, match.end(), values)
        if read is None or sum(name in (b"content-length", b"transfer-encoding") for name, _, _ in fields) > 1:
            break
        body, position = read
        requests.append((match[1].decode(), unquote(match[2].decode("latin-1")), body))
        if match[3] == b"0" or b"close" in values.get(b"connection", b""):
            break
    return requests


def body_at(data: bytes, position: int, values: dict[bytes, bytes]) -> tuple[bytes, int] | None:
    """The body and where it ends."""
    if b"transfer-encoding" not in values:
        length = values.get(b"content-length", b"0")
        if not length.isdigit() or position + int(length) > len(data):
            return None
        return data[position : position + int(length)], position + int(length)
    body = b""
    while values[b"transfer-encoding"] == b"chunked" and (chunk := CHUNK.match(data, position)):
        size = int(chunk[1], 16)
        if size == 0:
            trailer = TRAILER.match(data, chunk.end())
            return (body, trailer.end()) if trailer else None
        body += data[chunk.end() : chunk.end() + size]
        position = chunk.end() + size + 2
        if data[position - 2 : position] != b"\r\n":
            return None
    return None


def mutated(dice: random.Random) -> bytes:
    data = b"".join(dice.choices(SEEDS, k=dice.randint(1, 2)))
    for _ in range(dice.randint(0, 2)):
        at = dice.randrange(len(data))
        cut = dice.choice((0, 0, 1, 1, 2, dice.randrange(20)))
        data = data[:at] + dice.choice((b"", *PIECES)) + data[at + cut :]
        if dice.random() < 0.2:
            lines = data.split(b"\r\n")
            lines.insert(dice.randrange(len(lines)), dice.choice(lines))
            data = b"\r\n".join(lines)
    return data + END


async def heard(world: Any, data: bytes, split_at: int) -> tuple[list[Request], bytes]:
    """What the app was asked on one connection, and what was answered."""
    reader, writer = await world.open()
    port = writer.get_extra_info("sockname")[1]
    world.app.by_port[port] = []
    answer = b""
    try:
        writer.write(data[:split_at])
        await asyncio.sleep(0)
        writer.write(data[split_at:])
        while piece := await soon(reader.read(65536)):
            answer += piece
    except ConnectionResetError:
        pass
    writer.close()
    return world.app.by_port.pop(port), answer


async def test_mutated_requests_are_read_strictly_or_refused_in_the_error_shape(
    serving: Any, error_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    dice = random.Random(20_26)
    limits = FramingLimits(head_seconds=0.05, body_silence_seconds=0.05, idle_seconds=0.05, sweep_seconds=0.02)
    accepted = refused = 0
    async with serving(limits) as world:
        for _ in range(ROUNDS // AT_ONCE):
            inputs = [mutated(dice) for _ in range(AT_ONCE)]
            outputs = await asyncio.gather(*(heard(world, data, dice.randrange(len(data))) for data in inputs))
            for data, (seen, answer) in zip(inputs, outputs, strict=True):
                expected = strict_reading(data)
                assert seen == expected[: len(seen)], data
                accepted += len(seen)
                if not re.search(rb"HTTP/1\.1 200 OK\r\n[^{]*\Z", answer) and answer:
                    error_of(answer)
                    refused += 1
    assert accepted > ROUNDS / 5
    assert refused > ROUNDS / 3
    assert not caplog.records
