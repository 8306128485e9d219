"""A client made of bytes: one connection to the gateway, on which a test sees when each piece comes."""

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.flow.waiting import PATIENCE_SECONDS, soon

SLOWEST_BYTES_PER_SECOND = 200_000  # of a large body, on a busy machine
LINGER_NOT = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The one value of a header, None where it is absent."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, f"{name} stands {len(values)} times"
        return values[0] if values else None

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object; its shape is asserted."""
        assert self.header("content-type") == "application/json"
        error = error_in(self.body)
        assert "status" not in error
        return error

    @property
    def events(self) -> list[str]:
        """The blocks of an event stream."""
        text = self.body.decode()
        assert text.endswith("\n\n") or not text
        return text.split("\n\n")[:-1]


def error_in(text: bytes | str) -> dict[str, Any]:
    """The error object in JSON text, which holds nothing beside it; in an event it tells its status too."""
    content = json.loads(text)
    assert set(content) == {"error"}
    error: dict[str, Any] = content["error"]
    assert set(error) - {"status"} == {"type", "message", "code", "param"}
    assert isinstance(error["message"], str)
    assert len(error["message"]) > 10
    return error


class Line:
    """One connection. Requests are sent by `send`; `head`, `event` and `rest` read the answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = b""
        self._left: int | None = None  # bytes of an answer with a length; None: chunked
        self._is_over = False

    @classmethod
    async def open(cls, port: int, receive_bytes: int | None = None) -> "Line":
        """Connects; `receive_bytes` makes the kernel's buffer that small, for a client that reads slowly."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        if receive_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        limit = receive_bytes or 1 << 16
        return cls(*await asyncio.open_connection(sock=sock, limit=limit))

    async def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Sends one request; a body is JSON unless the headers say otherwise."""
        lines = {"host": "localhost"}
        if body is not None:
            lines |= {"content-type": "application/json", "content-length": str(len(body))}
        lines |= headers or {}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
        await self.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (body or b""))

    async def write(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self._writer.write(data)
        await soon(self._writer.drain(), max(PATIENCE_SECONDS, len(data) / SLOWEST_BYTES_PER_SECOND))

    async def head(self) -> Reply:
        """Status and headers, as a reply without a body yet."""
        text = (await soon(self._reader.readuntil(b"\r\n\r\n"))).decode("latin-1")
        first, *lines = text.strip().split("\r\n")
        headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
        length = dict(headers).get("content-length")
        self._left = int(length) if length is not None else None
        self._is_over = self._left == 0
        self._buffer = b""
        return Reply(int(first.split()[1]), headers, b"")

    async def piece(self) -> bytes:
        """What comes next of the body: one chunk, or some bytes of a body with a length; b"" at its end."""
        if self._is_over:
            return b""
        if self._left is not None:
            data = await soon(self._reader.read(self._left))
            self._left -= len(data)
            assert data, "the answer is shorter than its length"
            self._is_over = not self._left
            return data
        size = int(await soon(self._reader.readuntil(b"\r\n")), 16)
        data = (await soon(self._reader.readexactly(size + 2)))[:-2]
        self._is_over = not size
        return data

    async def event(self) -> str | None:
        """The next block of an event stream, without its blank line; None at the end."""
        while b"\n\n" not in self._buffer:
            data = await self.piece()
            if not data:
                assert not self._buffer, "the stream ends inside an event"
                return None
            self._buffer += data
        block, _, self._buffer = self._buffer.partition(b"\n\n")
        return block.decode()

    async def rest(self) -> bytes:
        """The body to its end."""
        body = self._buffer
        self._buffer = b""
        while data := await self.piece():
            body += data
        return body

    async def reply(self) -> Reply:
        """A whole answer."""
        head = await self.head()
        return Reply(head.status, head.headers, await self.rest())

    async def is_closed(self) -> bool:
        """Waits for the gateway's end of the connection; False if more bytes come first."""
        try:
            return not await soon(self._reader.read(1))
        except ConnectionError:
            return True

    def leave(self) -> None:
        """Closes as a client that ends (FIN)."""
        self._writer.close()

    def vanish(self) -> None:
        """Closes as a client that dies (RST); may be called again."""
        if self._writer.is_closing():
            return
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        self._writer.transport.abort()
