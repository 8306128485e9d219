"""uvicorn's HTTP/1.1 protocol made strict: one request at a time, read in one way, within limits of size and time.

A connection is always in one phase: a method that takes its bytes and returns the rest for the next phase.

    _read_head -> _read_body | _read_chunks -> _hold (while the request runs) -> _read_head -> ...
                          any of them -> _discard (refused, or answered before the body's end)

This protocol collects the head, within its limit, and passes it to httptools whole, so that the parser buffers
nothing. It reads on while a request runs, so that it notices a disconnect at once in every phase. Bytes that the
client sends ahead are held, up to a limit.
"""

import asyncio
import math
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from ai_gateway.server.connection import Connection, PortState
from ai_gateway.server.cycle import Cycle, Signal
from ai_gateway.wire import framing
from ai_gateway.wire.framing import RequestLine

_BLANKS: Final = (b" ", b"\t")
# These fields decide where a request ends; blanks in them stay, so that the request is refused (request smuggling).
_FRAMING: Final = (b"transfer-encoding", b"content-length")


class StrictProtocol(Connection):
    """The reading half of a connection: its phases and the requests that they produce."""

    def __init__(
        self,
        config: Config,
        server_state: PortState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._keeps_alive = True  # what the request's own head allows
        self._body_left = 0  # bytes, where the length is known
        self._chunks: framing.ChunkedBody | None = None  # where it is not
        self._is_parsed = False  # httptools has reported the end of the request

    # Phases

    def _read_head(self, data: bytes) -> bytes:
        head: bytes | bytearray = data
        searched = len(self._head)
        if searched:
            head = self._head
            head += data[: self._limits.head_bytes + 4 - searched]
        elif data[:2] == b"\r\n" != data[2:4]:
            return data[2:]  # one empty line before a request is allowed (RFC 9112 2.2)
        end = head.find(framing.HEAD_END, max(0, searched - 3)) + 4
        if end == 3 or end > self._limits.head_bytes:
            self._await_head(head, searched)
            return b""
        self._begin(bytes(head[:end]))
        self._head.clear()
        return data[end - searched :]

    def _await_head(self, head: bytes | bytearray, searched: int) -> None:
        framing.check_part(head, searched, self._limits)
        if not searched:
            self._head += head
            self._deadline = self.loop.time() + self._limits.head_seconds

    def _read_body(self, data: bytes) -> bytes:
        taken = data[: self._body_left]
        self._body_left -= len(taken)
        self._take_body(taken)
        if not self._body_left:
            self._end_body()
        return data[len(taken) :]

    def _read_chunks(self, data: bytes) -> bytes:
        assert self._chunks is not None
        end = self._chunks.take(data)
        self._take_body(data[:end])
        if self._chunks.is_complete:
            self._chunks = None
            self._end_body()
        elif self._is_parsed:
            raise framing.malformed("It is unclear where the body ends.")
        return data[end:]

    def _hold(self, data: bytes) -> bytes:
        """Holds bytes that the client sends ahead; if they are too many, this answer is the connection's last."""
        self._held += data
        if not self.cycle.keep_alive or len(self._held) > self._limits.pipelined_bytes:
            self._held.clear()
            self._is_quiet = False
            self.cycle.keep_alive = False
        return b""

    # From bytes to a running request

    def _begin(self, head: bytes) -> None:
        line = framing.request_line(head, self._limits)
        self.headers = []
        self._is_parsed = False
        try:
            self.parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            self._parse_without_upgrade(head)
        body_bytes, expects_100 = framing.check_fields(line, self.headers, self._limits)
        if self._is_parsed != (body_bytes == 0):
            raise framing.malformed("It is unclear where the body ends.")
        self._deadline = math.inf
        self._start(line, body_bytes, expects_100 and body_bytes != 0)

    def _parse_without_upgrade(self, head: bytes) -> None:
        self.headers = []
        self._is_parsed = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(framing.without_upgrade(head))

    def _start(self, line: RequestLine, body_bytes: int, expects_100: bool) -> None:
        """Passes the request to the app; its body, if any, is still to come."""
        self._keeps_alive = self._keeps_alive and line.minor == b"1"
        state = self.server_state
        self.cycle = Cycle(
            scope=self._scope(line),  # type: ignore[arg-type]  # built below as ASGI's HTTPScope
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=state.default_headers,
            message_event=cast("asyncio.Event", Signal()),
            expect_100_continue=expects_100,
            keep_alive=False,  # an answer before the body's end is the connection's last
            on_response=self.on_response_complete,
        )
        if body_bytes:
            self._await_body(body_bytes)
        else:
            self._end_body()
        self._start_asgi_task(self.cycle, self.app)

    def _scope(self, line: RequestLine) -> dict[str, Any]:
        path = line.path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1" if line.minor == b"1" else "1.0",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "headers": self.headers,
            "state": {},
            "method": line.method.decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": line.path,
            "query_string": line.query,
            "extensions": self._extensions,
        }

    def _await_body(self, body_bytes: int) -> None:
        self.headers = []  # httptools reports trailers as headers; they end here, unread
        self._is_body_due = True
        self._body_bytes = 0
        self._pace = None
        if body_bytes == framing.CHUNKED:
            self._chunks = framing.ChunkedBody(self._limits)
            self._phase = self._read_chunks
        else:
            self._body_left = body_bytes
            self._phase = self._read_body

    def _take_body(self, data: bytes) -> None:
        self._body_bytes += len(data)
        self.cycle.waiting_for_100_continue = False  # a client that sends already does not wait (RFC 9110 10.1.1)
        self.parser.feed_data(data)

    def _end_body(self) -> None:
        if not self._is_parsed:
            raise framing.malformed("It is unclear where the body ends.")
        self._is_body_due = False
        self._phase = self._hold
        cycle = self.cycle
        cycle.more_body = False
        if not cycle.response_started:
            cycle.keep_alive = self._keeps_alive and not self.server_state.is_leaving
        cycle.message_event.set()

    # Callbacks of httptools

    def on_message_begin(self) -> None:
        """Does nothing: the scope is built from the complete head."""

    def on_url(self, url: bytes) -> None:
        """The request line has been read already."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or a trailer. Blanks after a value do not belong to it (RFC 9110 5.5)."""
        name = name.lower()
        if value[-1:] in _BLANKS and name not in _FRAMING:
            value = value.rstrip(b" \t")
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Reads keep-alive from the parser, which only now knows it; the request starts when httptools returns."""
        self._keeps_alive = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """A piece of the body, chunk framing removed."""
        cycle = self.cycle
        if cycle.disconnected or cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """httptools reports the request's end; the phases check that they see the same end."""
        self._is_parsed = True

    # After the answer

    def on_response_complete(self) -> None:
        """The answer is written: closes, or reads on with the held bytes."""
        self.server_state.total_requests += 1
        if self.transport.is_closing() or self._phase == self._discard:
            return
        self.flow.resume_reading()
        if not self.cycle.keep_alive:
            self._close(is_quiet=self._is_quiet and not self._is_body_due)
            return
        self._phase = self._read_head
        self._wait_for_request(self.server_state.idle_seconds(), self._limits.last_call_seconds)
        if self._held:
            held = bytes(self._held)
            self._held.clear()
            self.data_received(held)
