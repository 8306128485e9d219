"""Writes a stream to the client; it begins with the first event, comment or error."""

import asyncio
from collections.abc import Callable
from typing import Final

from ai_gateway.edge.asgi import Scope, Send, start
from ai_gateway.errors import GatewayError
from ai_gateway.exchange import CUT, WRITE_NOW, Exchange
from ai_gateway.wire.replies import Headers

# Proxies must neither hold back nor compress events: https://html.spec.whatwg.org/multipage/server-sent-events.html
SSE_HEADERS: Final[Headers] = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]

FREE_SLOT: Final = "a free slot"


class EventReply:
    """A stream to the client. Changed by the relay and by its own heartbeat timer, never by both at once.

    After `heartbeat_seconds` of silence it sends a comment, after the 200 if that is not sent yet. From then on errors
    arrive as events. The comment says what the client `waits_for`.
    """

    __slots__ = (
        "_beat_at",
        "_beat_seconds",
        "_beating",
        "_cut",
        "_exchange",
        "_loop",
        "_send",
        "_timer",
        "_write_now",
        "is_sending",
        "sent_at",
        "waits_for",
    )

    def __init__(
        self, exchange: Exchange, scope: Scope, send: Send, heartbeat_seconds: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._exchange = exchange
        self._send = send
        self._write_now: Callable[[bytes], bool] = scope["extensions"][WRITE_NOW]
        self._cut: Callable[[], None] = scope["extensions"][CUT]
        self._beat_seconds = heartbeat_seconds
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._beating: asyncio.Task[None] | None = None
        self.is_sending = False
        self.sent_at = self._loop.time()  # of events alone: comments say nothing of the endpoint
        self._beat_at = self.sent_at
        self.waits_for: str | Callable[[], str] = FREE_SLOT

    @property
    def is_started(self) -> bool:
        """Whether the 200 has gone out."""
        return self._exchange.outcome.status is not None

    def begin(self) -> None:
        """Starts the heartbeat."""
        self._timer = self._loop.call_at(self.sent_at + self._beat_seconds, self._check)

    async def write(self, events: bytes) -> None:
        """Sends whole events. Waits while the client does not read."""
        self.sent_at = self._loop.time()
        self.is_sending = True
        if self._beating is not None:
            await asyncio.shield(self._beating)  # a cancelled write must not cut the comment
        if self._exchange.outcome.status is None:
            await start(self._exchange, self._send, 200, SSE_HEADERS)
        self._exchange.outcome.sent_bytes += len(events)
        await self._send({"type": "http.response.body", "body": events, "more_body": True})
        self.is_sending = False

    def may_write_now(self) -> bool:
        """Whether events may pass at once: the 200 is out, nothing else is being written, and the client reads."""
        return not self.is_sending and self._beating is None and self._write_now(b"")

    def write_now(self, events: bytes, now: float) -> None:
        """Sends whole events without waiting, at the loop's time `now`; only where `may_write_now`."""
        self.sent_at = now
        self._exchange.outcome.sent_bytes += len(events)
        self._write_now(events)

    async def end(self) -> None:
        """Ends the stream where it is."""
        await self._send({"type": "http.response.body", "body": b""})

    async def fail(self, error: GatewayError) -> None:
        """Sends the error as an event, without `[DONE]`, and ends the stream."""
        call = self._exchange.call
        assert call is not None and call.operation.stream is not None, "a stream has begun"  # noqa: PT018
        await self.write(call.operation.stream.write_error(error))
        await self.end()

    def cut(self) -> None:
        """Ends the client's connection without waiting for what it has not read."""
        self._cut()

    def stop(self) -> None:
        """Stops the heartbeat."""
        if self._timer is not None:
            self._timer.cancel()
        if self._beating is not None:
            self._beating.cancel()

    def _check(self) -> None:
        now = self._loop.time()
        due = max(self.sent_at, self._beat_at) + self._beat_seconds
        if self.is_sending or self._beating is not None:  # a client that does not read needs no comment
            due = now + self._beat_seconds
        elif now >= due:
            self._beating = self._loop.create_task(self._beat())
            due = now + self._beat_seconds
        self._timer = self._loop.call_at(due, self._check)

    async def _beat(self) -> None:
        self._beat_at = self._loop.time()
        try:
            if self._exchange.outcome.status is None:
                await start(self._exchange, self._send, 200, SSE_HEADERS)
            waits_for = self.waits_for if isinstance(self.waits_for, str) else self.waits_for()
            comment = f": waiting for {waits_for}\n\n".encode()
            await self._send({"type": "http.response.body", "body": comment, "more_body": True})
        finally:
            self._beating = None
