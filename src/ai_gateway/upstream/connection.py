"""One HTTP/1.1 connection to an endpoint: the loop calls it on one side, one exchange reads on the other."""

import asyncio
import select
from collections.abc import Callable, Sequence
from typing import Final, Literal, cast

import httptools

from ai_gateway.upstream.failures import BrokenFailure, GarbledFailure, ResetFailure, UpstreamFailure

Headers = list[tuple[bytes, bytes]]
Tap = Callable[[bytes], bool]
Peeked = Literal["nothing", "bytes", "end"]

# Above the first, reading stops until the reader has taken all: a slow client holds no more than this.
HIGH_WATER: Final = 64 * 1024
MAX_HEADERS: Final = 200
# Bytes without any byte of the body: heads, interim answers, chunk sizes, trailers. Ollama's head has 200.
MAX_DRY_BYTES: Final = 32 * 1024

_READABLE: Final = select.POLLIN | select.POLLRDHUP
# Some servers send this before they close an idle connection; it answers no request.
_IDLE_TOO_LONG: Final = (b"HTTP/1.1 408 ", b"HTTP/1.0 408 ")


class Head:
    """Status and headers of an answer; header names are lower case."""

    __slots__ = ("headers", "status")

    def __init__(self, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers

    def get(self, name: bytes) -> bytes:
        """The first value of a header, b"" if there is none."""
        return next((value for key, value in self.headers if key == name), b"")


class Connection(asyncio.Protocol):
    """Changed by the event loop's callbacks and by the exchange that holds it.

    Life: `send`, then `head`, then `read` until b"", then free again if `is_reusable`.
    """

    __slots__ = (
        "_chunks",
        "_dry_bytes",
        "_head",
        "_headers",
        "_is_bodiless",
        "_is_early",
        "_is_over",
        "_is_paused",
        "_keeps_alive",
        "_loop",
        "_lost",
        "_on_unsolicited",
        "_parser",
        "_poll",
        "_tap",
        "_transport",
        "_waiter",
        "_waiting_bytes",
        "idle_since",
        "is_busy",
        "received_at",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, on_unsolicited: Callable[[], None]) -> None:
        """`on_unsolicited` is called when the endpoint sends data without a request."""
        self._loop = loop
        self._on_unsolicited = on_unsolicited
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._chunks: list[bytes] = []
        self._waiting_bytes = 0
        self._dry_bytes = 0
        self._is_paused = False
        self._is_bodiless = False  # the request was a HEAD
        self._is_early = False  # the answer began before the request was fully written
        self._poll: select.poll | None = None
        self._head: Head | None = None
        self._headers: Headers = []
        self._is_over = False
        self._keeps_alive = False
        self._lost: UpstreamFailure | None = None
        self._tap: Tap | None = None
        self.is_busy = False
        self.idle_since = 0.0
        self.received_at = 0.0

    # -- the event loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class is not a subclass

    def data_received(self, data: bytes) -> None:
        self.received_at = self._loop.time()
        if not self.is_busy:
            if not data.startswith(_IDLE_TOO_LONG):
                self._on_unsolicited()
            self._fail(BrokenFailure("the endpoint sent data without a request"))
            return
        try:
            self._parse(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(GarbledFailure(f"not an HTTP answer: {error}"))
            return
        except UpstreamFailure as failure:
            self._fail(failure)
            return
        if self._tap is not None and self._passes_by(self._tap):
            return
        if self._waiting_bytes > HIGH_WATER and not self._is_paused and not self._is_over:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def _parse(self, data: bytes) -> None:
        """Parses the bytes of one read in pieces, so that the limit applies within them."""
        if len(data) <= MAX_DRY_BYTES:
            self._dry_bytes += len(data)
            self._parser.feed_data(data)
            if self._dry_bytes > MAX_DRY_BYTES:
                raise GarbledFailure(f"{MAX_DRY_BYTES} bytes of head, chunk sizes or trailers without a byte of body")
            return
        for start in range(0, len(data), MAX_DRY_BYTES):
            self._parse(data[start : start + MAX_DRY_BYTES])

    def eof_received(self) -> bool:
        self._end(None)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error)

    # -- the parser's side

    def on_message_begin(self) -> None:
        if self._is_over:
            self._on_unsolicited()
            raise ValueError("an answer without a request")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))
        if len(self._headers) > MAX_HEADERS:
            raise ValueError(f"more than {MAX_HEADERS} headers")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:  # not an interim answer
            self._head = Head(status, self._headers)
            self._is_early = self._transport.get_write_buffer_size() > 0
            self._is_over = self._is_bodiless
        self._headers = []

    def on_body(self, data: bytes) -> None:
        self._dry_bytes = 0
        self._chunks.append(data)
        self._waiting_bytes += len(data)

    def on_message_complete(self) -> None:
        if self._head is not None:
            self._is_over = True
            self._keeps_alive = self._parser.should_keep_alive()  # the parser knows it only now

    # -- the exchange's side

    def send(self, request: bytes, body: Sequence[bytes]) -> None:
        """Writes a request whose head is `request`. Raises ResetFailure if the connection is gone."""
        self.is_busy = True
        self._is_bodiless = request.startswith(b"HEAD ")
        if self._lost is not None:
            raise ResetFailure(str(self._lost))
        if len(body) < 3 and sum(map(len, body)) < HIGH_WATER:
            self._transport.write(b"".join((request, *body)))
        else:
            self._transport.writelines((request, *body))

    async def head(self) -> Head:
        """The head of the answer. Raises ResetFailure if the connection ends before it."""
        while self._head is None:
            if self._lost is not None:
                raise ResetFailure(str(self._lost))
            await self._wait()
        return self._head

    async def read(self) -> bytes:
        """All waiting bytes of the body, at least one; b"" at its end. Raises BrokenFailure if it is cut."""
        while not self._chunks:
            if self._is_over:
                return b""
            if self._lost is not None:
                raise self._lost
            await self._wait()
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._chunks = []
        self._waiting_bytes = 0
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    def tap(self, tap: Tap) -> None:
        """Calls `tap` with new data while the reader only waits for it, so that no task has to wake up.

        The tap returns whether it took the data; it raises UpstreamFailure to end the exchange.
        """
        self._tap = tap

    def _passes_by(self, tap: Tap) -> bool:
        """Whether the tap took all data, so that the reader can wait on."""
        if not self._chunks or self._waiter is None or self._waiter.done():
            return False
        try:
            if not tap(self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)):
                return False
        except UpstreamFailure as failure:
            self._fail(failure)
        self._chunks = []
        self._waiting_bytes = 0
        return not self._is_over

    @property
    def is_open(self) -> bool:
        """Whether the endpoint has not ended the connection."""
        return self._lost is None

    def peek(self) -> Peeked:
        """What waits unread in the kernel; "end" also where the endpoint has ended the connection.

        Bytes that came before a request answer no request.

        One system call. With TLS, these may be the protocol's own bytes.
        """
        if self._lost is not None:
            return "end"
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._transport.get_extra_info("socket").fileno(), _READABLE)
        found = self._poll.poll(0)
        if not found:
            return "nothing"
        is_plain = self._transport.get_extra_info("ssl_object") is None
        return "bytes" if is_plain and found[0][1] == select.POLLIN else "end"

    def finish(self) -> bool:
        """Ends the exchange; True if the connection may carry another one, else it is closed.

        If an endpoint answered before it had the whole request, it may read the rest as another request.
        """
        reusable = self._is_over and self._lost is None and not self._chunks and self._keeps_alive
        if not reusable or self._is_early or self._transport.get_write_buffer_size():
            self.close()
            return False
        self._head = None
        self._tap = None
        self._dry_bytes = 0
        self._is_over = False
        self._keeps_alive = False
        self.is_busy = False
        self.idle_since = self._loop.time()
        return True

    def close(self) -> None:
        """Drops the connection at once; Ollama stops writing an answer when its client is gone."""
        if self._lost is None:
            self._lost = BrokenFailure("closed by the gateway")
        self._transport.abort()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, failure: UpstreamFailure) -> None:
        if self._lost is None:
            self._lost = failure
        self._transport.abort()
        self._wake()

    def _end(self, error: Exception | None) -> None:
        if self._lost is None:
            # A body without a length or chunks ends with the connection (RFC 9112 6.3).
            if self.is_busy and self._head is not None and not self._is_over and self._ends_with_connection():
                self._is_over = True
            self._lost = BrokenFailure(str(error) or type(error).__name__ if error else "the endpoint hung up")
        self._wake()

    def _ends_with_connection(self) -> bool:
        assert self._head is not None
        return not (self._head.get(b"content-length") or self._head.get(b"transfer-encoding"))
