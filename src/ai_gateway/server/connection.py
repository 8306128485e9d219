"""A connection with its deadlines: the server may refuse it, find it too slow, or close it at a shutdown.

A deadline costs a request only a number: one sweep per port checks all connections now and then.
"""

import asyncio
import fcntl
import math
import sys
import termios
import uuid
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from ai_gateway.errors import GatewayError, RequestTimeout
from ai_gateway.exchange import CUT, ON_LEFT, ON_LOOPBACK, WRITE_NOW
from ai_gateway.server.cycle import Cycle
from ai_gateway.server.pace import BodyPace, WritePace
from ai_gateway.wire import framing
from ai_gateway.wire.framing import FramingLimits
from ai_gateway.wire.replies import error_reply

_TICK_SECONDS = 0.002  # the loop's timers may fire so much early

Refused = Callable[[int, str, str], None]
"""Called for each refusal with status, code, and the peer as `host:port`."""


class PortState(ServerState):
    """State that the connections of one port share. `is_leaving`: each new answer is the last of its connection.
    `is_shut`: the port accepts no more connections.

    `idle_seconds` is called after each answer, since a config may change it; without it, the limits apply.
    """

    def __init__(
        self, limits: FramingLimits, refused: Refused, idle_seconds: Callable[[], float] | None = None
    ) -> None:
        super().__init__()
        self.limits = limits
        self.idle_seconds = idle_seconds or (lambda: limits.idle_seconds)
        self.is_on_loopback = False  # only this machine can connect; set by the port
        self.refused = refused
        self.is_leaving = False
        self.is_shut = False
        self.connections: set[Connection] = set()  # type: ignore[assignment]  # only ours are ever added


def error_bytes(error: GatewayError) -> bytes:
    """A whole answer that closes the connection, for a request that never reached the app."""
    status, headers, body = error_reply(error)
    lines = [b"%b: %b\r\n" % header for header in headers]
    request_id = uuid.uuid4().hex.encode()
    end = b"x-request-id: %b\r\nconnection: close\r\n\r\n%b" % (request_id, body)
    return b"".join([STATUS_LINE[status], *lines, end])


class Connection(HttpToolsProtocol):
    """Changed only by events of its transport and its running request."""

    server_state: PortState
    cycle: Cycle

    def __init__(
        self,
        config: Config,
        server_state: PortState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = server_state.limits
        self._phase: Callable[[bytes], bytes] = self._read_head
        self._head = bytearray()  # of a request, until it is complete
        self._held = bytearray()  # bytes that the client sent ahead
        self._deadline = math.inf  # the loop's time; of a head or of idling
        self._stays_until = math.inf  # the same at a shutdown: until then the client may not know of it
        self._is_body_due = False  # a request has begun and its body has not ended
        self._is_quiet = True  # the client sends nothing that stays unread
        self._body_bytes = 0  # of that body, received so far
        self._pace: BodyPace | None = None  # of that body; made by the sweep, so that fast ones cost nothing
        self._write_pace = WritePace(self._limits)
        # On the connection, not the cycle: a request that refers to itself would need a garbage collection.
        self._extensions = {
            ON_LEFT: self._on_disconnect,
            WRITE_NOW: self._write_now,
            CUT: self._cut,
            ON_LOOPBACK: server_state.is_on_loopback,
        }

    @abstractmethod
    def _read_head(self, data: bytes) -> bytes:
        """The first phase of each request."""

    # Events of the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """A client has connected; it must send a request soon."""
        super().connection_made(transport)
        self._wait_for_request(self._limits.first_byte_seconds, self._limits.underway_seconds)

    def data_received(self, data: bytes) -> None:
        """Passes the bytes to one phase after the other until none are left."""
        try:
            while data:
                data = self._phase(data)
        except GatewayError as error:
            self._refuse(error)
        except httptools.HttpParserError:
            self._refuse(framing.malformed("The request is not valid HTTP/1.1."))

    def eof_received(self) -> None:
        """A FIN means that the client has left, as in Ollama itself; the transport closes on return."""
        self._notify_disconnect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Notifies the running request, and drops all references to this object."""
        self._notify_disconnect()
        super().connection_lost(exc)
        self._phase = _ignore
        self.cycle = None  # type: ignore[assignment]  # as uvicorn before the first request
        self._held.clear()
        self._head.clear()

    def resume_writing(self) -> None:
        """The client has read most of the waiting bytes."""
        self._write_pace.moved()
        super().resume_writing()

    def _close(self, is_quiet: bool) -> None:
        """Closes at once if the client is quiet; else reads on for a moment, so that it can read the answer."""
        if is_quiet or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._phase = self._discard
        self._is_body_due = False
        self.transport.write_eof()
        self._deadline = self.loop.time() + self._limits.linger_seconds

    def _refuse(self, error: GatewayError) -> None:
        """Answers with an error if no answer has begun, and ends the connection."""
        cycle = self.cycle
        if self._is_body_due and not cycle.is_begun and not cycle.disconnected:
            self._refuse_body(error)
            return
        self._notify_refused(error)
        is_begun = cycle is not None and not cycle.response_complete and cycle.is_begun
        self._notify_disconnect()
        self._head.clear()
        if self.transport.is_closing():
            return
        if not is_begun:
            self.transport.write(error_bytes(error))
        self.flow.resume_reading()
        self._close(is_quiet=False)

    def _refuse_body(self, error: GatewayError) -> None:
        """Gives the error to the app's next read of the body: the app answers and records it."""
        self._is_body_due = False
        self._is_quiet = False
        self._phase = self._drop
        self.cycle.refuse(error, self._notify_refused)

    def _notify_refused(self, error: GatewayError) -> None:
        """Calls back for a refusal that the app does not record."""
        host, port = self.client or ("", 0)
        self.server_state.refused(error.error_status, error.error_code, f"{host}:{port}")

    def _notify_disconnect(self) -> None:
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.leave()
            self.flow.resume_writing()

    def _on_disconnect(self, callback: Callable[[], None]) -> None:
        """Calls back when the client disconnects before the answer ends; at once if it has already."""
        if self.cycle is None or self.cycle.disconnected:
            callback()
        else:
            self.cycle.on_disconnect = callback

    def _write_now(self, body: bytes) -> bool:
        return self.cycle is not None and self.cycle.write_now(body)

    def _cut(self) -> None:
        self._notify_disconnect()
        self.transport.abort()

    def _discard(self, data: bytes) -> bytes:
        """The last phase after an answer: drops all bytes."""
        return b""

    def _drop(self, data: bytes) -> bytes:
        """Drops bytes while the answer is still to come."""
        return b""

    # Time and leaving

    def sweep(self, now: float) -> None:
        """Checks the deadlines; `now` is the loop's time in seconds."""
        waiting_bytes = 0
        if self.flow.write_paused or self.transport.is_closing():
            waiting_bytes = self.transport.get_write_buffer_size()
        if self._write_pace.is_stuck(now, waiting_bytes):
            self.transport.abort()
        elif self.transport.is_closing():
            return
        elif self._is_body_due:
            self._pace = self._pace or BodyPace(now, self._limits)
            if self._pace.is_too_slow(now, self._body_bytes, self.flow.read_paused):
                self._refuse(RequestTimeout("The request's body arrived too slowly."))
        elif now >= self._deadline:
            self._expire()

    def _wait_for_request(self, seconds: float, last_seconds: float) -> None:
        """Sets how long it may be idle: `seconds`, or `last_seconds` for a last request once the port is closed."""
        now = self.loop.time()
        self._deadline = now + seconds
        if self.server_state.is_leaving:
            self._stays_until = now + last_seconds
            if self.server_state.is_shut:
                self._end_soon()

    def _end_soon(self) -> None:
        """Ends the connection without a sweep: the process waits for it."""
        self._deadline = min(self._deadline, self._stays_until)
        self.loop.call_at(self._deadline + _TICK_SECONDS, self._check)

    def _check(self) -> None:
        self.sweep(self.loop.time())

    def _expire(self) -> None:
        if self._head:
            self._deadline = math.inf
            self._refuse(RequestTimeout("The request's head arrived too slowly."))
        elif self._phase != self._read_head or not _unread_bytes(self.transport):
            self._deadline = math.inf
            self.transport.close()

    def leave(self) -> None:
        """The next answer is the connection's last, and announces it. An answer whose head is out could not: one more
        request may follow it within a moment."""
        self._stays_until = self.loop.time() + self._limits.underway_seconds
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """The port is closed: ends the connection if it is idle and nothing arrives for a moment."""
        if not self._head and self._phase == self._read_head:
            self._end_soon()


def _ignore(data: bytes) -> bytes:
    return b""


def _unread_bytes(transport: asyncio.Transport) -> int:
    """Bytes in the kernel that the loop has not read; a close would answer them with a reset."""
    unread = bytearray(4)
    with suppress(OSError):
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, unread)
    return int.from_bytes(unread, sys.byteorder)
