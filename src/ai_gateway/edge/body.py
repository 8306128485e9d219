"""Reads a request body once, within its limits of size and time: small ones whole, larger ones while they come."""

import asyncio
from typing import Final

from ai_gateway.config.types import Body
from ai_gateway.edge.asgi import Message, Receive, Scope, header
from ai_gateway.edge.body_deadline import BodyDeadline
from ai_gateway.edge.buffers import SMALL_BYTES, BodyShare, Buffers, others_first
from ai_gateway.edge.cancel_scope import ClientLeft
from ai_gateway.edge.media_type import check_media_type
from ai_gateway.errors import BodyTooLarge, GatewayError, RequestTimeout
from ai_gateway.exchange import Caller
from ai_gateway.limits.rules import address_scope, caller_scope, site_of
from ai_gateway.wire.json_guard import SMALL_BYTES as WHOLE_BYTES
from ai_gateway.wire.json_guard import is_small, refusal
from ai_gateway.wire.json_scan import NO_OBJECT, Scan, Value
from ai_gateway.wire.json_windows import WINDOW
from ai_gateway.wire.large import SPLIT
from ai_gateway.wire.prompt_size import Measuring

_BEGINNING: Final = 64  # bytes of a body that tell what it is instead of JSON


class BodyReader:
    """One body on its way in. What is held of it is counted in `hold`, which outlives the reading."""

    def __init__(self, buffers: Buffers, body: Body, caller: Caller) -> None:
        self._slices = buffers.slices
        self._most = body.max_bytes
        self._total_seconds = body.timeout
        site = address_scope(site_of(caller.address))
        name = site if caller.method == "none" else caller_scope(caller.method, caller.name)
        self.hold = BodyShare(buffers, (body.buffered_bytes, body.max_bytes), name, site)
        self.body_bytes = 0  # that have come
        self.is_large = False  # it says so, or does not say how large it is
        self._clock: asyncio.Timeout | None = None
        self._given_up: GatewayError | None = None
        self._scan: Scan | None = None
        self._beginning = b""
        self.measuring = Measuring()  # of a body that is read in windows

    def check(self, scope: Scope) -> None:
        """Looks at what the head says. Raises UnsupportedMediaType or BodyTooLarge."""
        is_usual = header(scope, b"content-type") == b"application/json" and header(scope, b"content-encoding") is None
        if not is_usual:
            check_media_type(scope)
        announced = header(scope, b"content-length")
        if announced is not None and int(announced) > self._most:
            raise _too_large(self._most)
        self.is_large = announced is None or int(announced) > SMALL_BYTES

    async def read(self, receive: Receive) -> bytes | dict[str, Value]:
        """The whole body, or the keys and values of one that is large.

        Raises InvalidRequest, BodyTooLarge, BuffersFull, RequestTimeout or ClientLeft.
        """
        message = await receive()
        chunk = self._taken(message)
        if not message.get("more_body", False) and is_small(chunk):
            return chunk
        loop = asyncio.get_running_loop()
        pace = BodyDeadline(loop.time(), self._total_seconds)
        self.hold.give_way = self._give_way
        try:
            async with asyncio.timeout_at(pace.due) as self._clock:
                return await self._read_on(chunk, message, receive, pace)
        except TimeoutError:
            raise self._given_up or RequestTimeout("The request's body came too slowly.") from None
        except NO_OBJECT as error:
            raise refusal(error, self._beginning) from None
        finally:
            self.hold.give_way = None
            if self._scan is not None:
                self._scan.close()  # the values are its reader's, if there are any
            self._clock = self._scan = None

    async def _read_on(
        self, chunk: bytes, message: Message, receive: Receive, pace: BodyDeadline
    ) -> bytes | dict[str, Value]:
        begun = bytearray()  # of a body that may turn out small
        loop = asyncio.get_running_loop()
        while True:
            if self._scan is None and len(begun) + len(chunk) <= WHOLE_BYTES:
                begun += chunk
            else:
                await self._feed(begun)
                await self._feed(chunk)
                begun.clear()
            if not message.get("more_body", False):
                break
            message = await receive()
            chunk = self._taken(message)
            if pace.came(len(chunk), loop.time()) and self._clock is not None and self._given_up is None:
                self._clock.reschedule(pace.due)
        if self._scan is None:
            body = bytes(begun)
            if is_small(body):
                return body
            await self._feed(body)
        assert self._scan is not None, "it was fed"
        return self._scan.end()

    async def _feed(self, data: bytes | bytearray) -> None:
        """Reads what has come, a window a turn: so nobody waits behind a body for longer than one takes."""
        if self._scan is None:
            self._scan = Scan(SPLIT, replaces_lone=True)
            self._beginning = bytes(data[:_BEGINNING])
        for at in range(0, len(data), WINDOW):
            async with self._slices:
                window = bytes(data[at : at + WINDOW])
                self.measuring.feed(window)
                self._scan.feed(window)

    def _taken(self, message: Message) -> bytes:
        if message["type"] == "http.disconnect":
            raise ClientLeft
        chunk: bytes = message.get("body", b"")
        self.body_bytes += len(chunk)
        if self.body_bytes > self._most:
            raise _too_large(self._most)
        self.hold.take(len(chunk))
        return chunk

    def _give_way(self) -> None:
        self._given_up = others_first()
        if self._clock is not None and not self._clock.expired():
            self._clock.reschedule(0.0)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {max_bytes} bytes (body.max_bytes).")
