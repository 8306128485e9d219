"""One request and its answer: uvicorn's cycle with a stricter and cheaper sending half.

Different from uvicorn: an HTTP/1.0 client gets no chunks; a failure of the app is answered in the error shape; the
connection is closed through the protocol, which lets a client that is still sending read the answer first.
"""

import asyncio
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from ai_gateway.errors import GatewayError, InternalError
from ai_gateway.wire.replies import error_reply

if TYPE_CHECKING:
    from uvicorn._types import (
        ASGI3Application,
        ASGIReceiveEvent,
        ASGISendEvent,
        HTTPResponseBodyEvent,
        HTTPResponseStartEvent,
    )

# Statuses that never have a body (RFC 9110 15.3.5, 15.4.5).
_BODILESS = (204, 304)


def _ignore() -> None:
    """Replaces the callback to the connection, so that a finished request does not hold it."""


class Signal:
    """A small asyncio.Event for one waiter, with a tenth of its memory; each open stream has one."""

    __slots__ = ("_is_set", "_waiter")

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wakes the waiter, or lets the next one pass at once."""
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """The next waiter waits again."""
        self._is_set = False

    async def wait(self) -> None:
        """Returns when it is set."""
        if self._is_set:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


class Cycle(RequestResponseCycle):
    """Changes with each message of the app; owned by one connection.

    `left_bytes` is the rest of the announced Content-Length, None if there is none.
    """

    is_chunked = False
    unsent_head = b""  # sent with the first bytes of the body: one write, one packet
    on_disconnect: Callable[[], None] | None = None
    is_silent = False
    left_bytes: int | None = None
    body_error: GatewayError | None = None  # of a body that turned out to be invalid
    _on_unanswered: Callable[[GatewayError], None] | None = None

    async def run_asgi(self, app: "ASGI3Application") -> None:
        """Runs the app. Answers an error of the body that the app did not answer."""
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as error:
            if error is not self.body_error:
                self.logger.error("Exception in ASGI application\n", exc_info=error)
            elif self._on_unanswered is not None:
                self._on_unanswered(self.body_error)
            await self._end_without_answer()
        else:
            if not self.response_complete and not self.disconnected:
                self.logger.error("ASGI callable returned without completing response.")
                await self._end_without_answer()
        finally:
            self.on_response = _ignore

    async def _end_without_answer(self) -> None:
        if self.response_started:
            self.transport.close()
        else:
            await self.send_500_response()

    async def receive(self) -> "ASGIReceiveEvent":
        """ASGI's receive. Raises the error of an invalid body: the app answers it like its own errors."""
        if self.body_error is None:
            message = await super().receive()
            if self.body_error is None:
                return message
        raise self.body_error

    def refuse(self, error: GatewayError, on_unanswered: Callable[[GatewayError], None]) -> None:
        """Ends the body with an error. Calls `on_unanswered` if the app does not answer it."""
        self.body_error = error
        self._on_unanswered = on_unanswered
        self.waiting_for_100_continue = False
        self.message_event.set()

    async def send(self, message: "ASGISendEvent") -> None:
        """ASGI's send: waits while the client does not read, and drops everything once it has disconnected."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if self.response_started:
            if kind != "http.response.body" or self.response_complete:
                raise RuntimeError(f"unexpected ASGI message {kind!r}")
            self._write_body(message)  # type: ignore[arg-type]  # the type was just looked at
        elif kind == "http.response.start":
            self.response_started = True
            self.waiting_for_100_continue = False
            self.unsent_head = self._head(message)  # type: ignore[arg-type]  # the type was just looked at
        else:
            raise RuntimeError(f"expected ASGI message 'http.response.start', got {kind!r}")

    def _head(self, message: "HTTPResponseStartEvent") -> bytes:
        status = message["status"]
        parts = [STATUS_LINE[status]]
        for name, value in self.default_headers:
            parts += (name, b": ", value, b"\r\n")
        for name, value in message.get("headers", ()):
            name = name.lower()  # noqa: PLW2901  # ASGI asks for lower case; a slip must not become two lengths
            if name == b"content-length":
                self.left_bytes = int(value)
            elif name == b"transfer-encoding":
                continue  # the server does the framing
            elif name == b"connection":
                self.keep_alive = self.keep_alive and b"close" not in value.lower()
                continue
            parts += (name, b": ", value, b"\r\n")
        self._choose_framing(status, parts)
        parts.append(b"\r\n")
        head = b"".join(parts)
        # A line end in a value would begin a second answer (response splitting).
        line_ends = len(parts) // 4 + 2
        if not head.count(b"\n") == head.count(b"\r") == line_ends:
            raise RuntimeError("a response header has a line end in it")
        return head

    def _choose_framing(self, status: int, parts: list[bytes]) -> None:
        """Adds two header lines at most, as four parts each."""
        if self.scope["method"] == "HEAD" or status in _BODILESS:
            self.is_silent = True
        elif self.left_bytes is None:
            if self.scope["http_version"] == "1.0":
                self.keep_alive = False  # the end of the connection is the end of the body
            else:
                self.is_chunked = True
                parts += (b"transfer-encoding", b": ", b"chunked", b"\r\n")
        if not self.keep_alive:
            parts += (b"connection", b": ", b"close", b"\r\n")

    def _write_body(self, message: "HTTPResponseBodyEvent") -> None:
        body = message.get("body", b"")
        more_body = message.get("more_body", False)
        head = self.unsent_head
        self.unsent_head = b""
        if self.is_chunked:
            end = b"" if more_body else b"0\r\n\r\n"
            if body:
                self.transport.write(b"%b%x\r\n%b\r\n%b" % (head, len(body), body, end))
            elif head or end:
                self.transport.write(head + end)
        elif self.is_silent:
            self.transport.write(head)
        else:
            self._count(body, more_body)
            self.transport.write(head + body)
        if not more_body:
            self.response_complete = True
            self.on_disconnect = None
            self.message_event.set()
            self.on_response()

    def _count(self, body: bytes, more_body: bool) -> None:
        if self.left_bytes is not None:
            self.left_bytes -= len(body)
            if self.left_bytes < 0 or (self.left_bytes and not more_body):
                raise RuntimeError("the response's body is not as long as its content-length")

    def write_now(self, body: bytes) -> bool:
        """Writes a piece of a chunked body if that is possible without waiting; False if it needs `send`.

        With an empty piece it only returns whether it could write now.
        """
        if not self.is_chunked or self.unsent_head or self.flow.write_paused:
            return False
        if self.disconnected or self.response_complete:
            return False
        if body:
            self.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
        return True

    @property
    def is_begun(self) -> bool:
        """Whether a part of the answer has been sent."""
        return self.response_started and not self.unsent_head

    def leave(self) -> None:
        """The client has disconnected."""
        if not self.disconnected:
            self.disconnected = True
            self.waiting_for_100_continue = False
            self.message_event.set()
            callback, self.on_disconnect = self.on_disconnect, None
            if callback is not None:
                callback()

    async def send_500_response(self) -> None:
        """Answers for an app that failed, or did not answer an error, before its answer began."""
        error = self.body_error or InternalError("The gateway failed to answer; its log has the reason.")
        status, headers, body = error_reply(error)
        headers.append((b"x-request-id", uuid.uuid4().hex.encode()))
        self.keep_alive = False
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})
