"""The reply to one request as bytes on a socket, framed as Go's net/http does it, and ways to break it."""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus

Header = tuple[str, str]

BUFFERED_BYTES = 2048  # Go sets Content-Length only for answers that fit its buffer; larger ones are chunked


class Answer:
    """Changed as it is written: nothing, then a head, then a body. One request owns it.

    `whole` and `start` may be called once. `extra_headers` and `split_bytes` may be set before that.
    """

    def __init__(self, transport: asyncio.Transport, *, is_head: bool, keeps_alive: bool, chunks: bool) -> None:
        self._transport = transport
        self._is_head = is_head
        self._chunks = chunks
        self.keeps_alive = keeps_alive and chunks
        self.extra_headers: tuple[Header, ...] = ()
        self.split_bytes = 0  # 0: writes go out whole; else in pieces of so many bytes
        self.is_complete = False
        self.is_paused = False  # the client reads too slowly
        self.on_resume: Callable[[], None] | None = None
        self._pieces: deque[bytes] = deque()
        self._flushed: asyncio.Future[None] | None = None
        self._head = b""

    def whole(self, status: int, content_type: str, body: bytes, headers: tuple[Header, ...] = ()) -> None:
        """Writes head and body at once."""
        if len(body) > BUFFERED_BYTES and self._chunks and not self._is_head:
            self._write(self._head_bytes(status, content_type, headers, None) + _chunk(body) + b"0\r\n\r\n")
        else:
            head = self._head_bytes(status, content_type, headers, len(body))
            self._write(head if self._is_head else head + body)
        self.is_complete = True

    def start(self, content_type: str) -> None:
        """Begins a stream; its head goes out with the first `send`."""
        self._head = self._head_bytes(200, content_type, (), None)

    def send(self, data: bytes) -> None:
        """Writes one record of the stream, or several that are due together."""
        if self.split_bytes:
            size = self.split_bytes
            for at in range(0, len(data), size):
                self._write(self._take_head() + self._frame(data[at : at + size]))
        else:
            self._write(self._take_head() + self._frame(data))

    def send_each(self, records: list[bytes]) -> None:
        """Writes several records in one write, each as a chunk of its own."""
        if self.split_bytes:
            self.send(b"".join(records))
        else:
            self._write(self._take_head() + b"".join(map(self._frame, records)))

    def end(self) -> None:
        """Ends the stream properly, as far as HTTP is concerned."""
        self._write(self._take_head() + (b"0\r\n\r\n" if self._chunks else b""))
        self.is_complete = True

    async def flush(self) -> None:
        """Waits until the pieces of a split answer are out."""
        if self._pieces:
            self._flushed = asyncio.get_running_loop().create_future()
            await self._flushed

    def reset(self) -> None:
        """Ends the connection with a TCP reset."""
        self.keeps_alive = False
        reset(self._transport)

    def close(self) -> None:
        """Ends the connection with a FIN, even in the middle of an answer."""
        self.keeps_alive = False
        self._transport.close()

    def _take_head(self) -> bytes:
        head, self._head = self._head, b""
        return head

    def _frame(self, data: bytes) -> bytes:
        return _chunk(data) if self._chunks else data

    def _head_bytes(self, status: int, content_type: str, headers: tuple[Header, ...], length: int | None) -> bytes:
        given = [*headers, *self.extra_headers, *((("Content-Type", content_type),) if content_type else ())]
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in sorted(given)]  # as Go writes them
        lines.append(f"Date: {formatdate(usegmt=True)}")
        if length is not None and status != 204:
            lines.append(f"Content-Length: {length}")
        lines += [] if self.keeps_alive else ["Connection: close"]
        lines += ["Transfer-Encoding: chunked"] if length is None and self._chunks else []
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def _write(self, data: bytes) -> None:
        if not self.split_bytes:
            self._transport.write(data)
            return
        if not self._pieces:
            asyncio.get_running_loop().call_soon(self._write_piece)
        self._pieces.append(data)

    def _write_piece(self) -> None:
        """Writes one piece per round of the event loop, so that each can arrive alone."""
        if self._transport.is_closing():
            return
        self._transport.write(self._pieces.popleft())
        if self._pieces:
            asyncio.get_running_loop().call_soon(self._write_piece)
        elif self._flushed is not None and not self._flushed.done():
            self._flushed.set_result(None)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def reset(transport: asyncio.Transport) -> None:
    """Ends a TCP connection with RST: with a linger time of 0 the kernel sends no FIN."""
    connection = transport.get_extra_info("socket")
    if connection is not None and not transport.is_closing() and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
