"""A call on its way in: first the checks that need only its head, then its body, within limits of size and time.

The gateway reads a small body whole, and parses a larger one while it comes.
"""

import asyncio
from collections.abc import Generator
from types import TracebackType
from typing import Final, TypeVar

from ai_gateway.accounting.admission import AdmissionControl, Admitted
from ai_gateway.accounting.body_deadline import BodyDeadline
from ai_gateway.accounting.buffers import SMALL_BYTES, BodyShare, Buffers, others_first
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.catalog.active import ActiveConfig
from ai_gateway.catalog.catalog import ServedModel
from ai_gateway.catalog.permissions import may_use, no_model, refuse_unloaded
from ai_gateway.config.types import Body
from ai_gateway.edge.asgi import Message, Receive, Scope, header
from ai_gateway.edge.cancel_scope import ClientLeft
from ai_gateway.edge.media_type import check_media_type
from ai_gateway.errors import BackendUnavailable, BodyTooLarge, GatewayError, RequestTimeout
from ai_gateway.exchange import Caller, Exchange
from ai_gateway.limits.admission import Grant
from ai_gateway.limits.rules import caller_scope, site_of
from ai_gateway.wire.call import Call, read_call
from ai_gateway.wire.json_guard import SMALL_BYTES as WHOLE_BYTES
from ai_gateway.wire.json_guard import is_small, json_error
from ai_gateway.wire.json_scan import NO_OBJECT, Scan, Value
from ai_gateway.wire.json_windows import WINDOW
from ai_gateway.wire.large import SPLIT, read_large
from ai_gateway.wire.operations import Operation
from ai_gateway.wire.placeholders import finished
from ai_gateway.wire.usage import Measuring, measure

T = TypeVar("T")

_BEGINNING: Final = 64  # bytes of a body that tell what it is instead of JSON


class BodyReader:
    """Reads one body. `share` counts the bytes of it that are held, also after the reading."""

    def __init__(self, buffers: Buffers, body: Body, caller: Caller) -> None:
        self._slices = buffers.slices
        self._most = body.max_bytes
        self._total_seconds = body.timeout
        site = site_of(caller.address)
        name = site if caller.method == "none" else caller_scope(caller.method, caller.name)
        self.share = BodyShare(buffers, (body.buffered_bytes, body.max_bytes), name, site)
        self.body_bytes = 0  # that have come
        self.is_large = False  # by its announced length, or it announces none
        self._clock: asyncio.Timeout | None = None
        self._given_up: GatewayError | None = None
        self._scan: Scan | None = None
        self._beginning = b""
        self.measuring = Measuring()  # of a body that is read in windows

    def check(self, scope: Scope) -> None:
        """Checks the head. Raises UnsupportedMediaType or BodyTooLarge."""
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
        self.share.give_way = self._give_way
        try:
            async with asyncio.timeout_at(pace.due) as self._clock:
                return await self._read_on(chunk, message, receive, pace)
        except TimeoutError:
            raise self._given_up or RequestTimeout("The request's body arrived too slowly.") from None
        except NO_OBJECT as error:
            raise json_error(error, self._beginning) from None
        finally:
            self.share.give_way = None
            if self._scan is not None:
                self._scan.close()  # the reader has the values, if there are any
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
        """Reads what has come, one window per turn: other requests wait for one window at most."""
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
        self.share.take(len(chunk))
        return chunk

    def _give_way(self) -> None:
        self._given_up = others_first()
        if self._clock is not None and not self._clock.expired():
            self._clock.reschedule(0.0)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {max_bytes} bytes, the limit here (body.max_bytes); send less.")


# A large body counts as a call under way from its head on. Where several gateways count together, and this one dies,
# its caller is free again after so long.
EARLY_SECONDS: Final = 900.0


class Incoming:
    """One call from its head to its end. Leaving the block gives back its room, and settles its charges.

    `share` is what is held of its body, and later of its answer.
    """

    def __init__(self, buffers: Buffers, admission: AdmissionControl, exchange: Exchange, active: ActiveConfig) -> None:
        self._slices = buffers.slices
        self._admission = admission
        self._exchange = exchange
        self._active = active
        self._is_limited = admission.concerns(exchange.caller)
        self._reading = BodyReader(buffers, active.config.body, exchange.caller)
        self.share: BodyShare = self._reading.share
        self._early: Grant | None = None
        self._admitted: Admitted | None = None

    def __enter__(self) -> "Incoming":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.share.release()
        if self._early is not None:  # a large body without a call stays charged as one request
            self._early.settle(0)
        self._admission.settle(self._admitted, self._exchange)

    async def ask(self, scope: Scope, fleet: Fleet) -> None:
        """Makes every check that needs only the head, so that no body is read in vain."""
        self._reading.check(scope)
        if not self._active.is_loaded:
            refuse_unloaded(self._active)
        caller = self._exchange.caller
        if caller.models and not any(may_use(caller, entry) for _, entry in self._active.catalog.entries(fleet)):
            raise no_model()
        if self._is_limited:
            self._early = await self._admission.begin(self._exchange, EARLY_SECONDS, is_large=self._reading.is_large)

    async def read(self, operation: Operation, receive: Receive) -> Call:
        """The call in the body."""
        try:
            body = await self._reading.read(receive)
            if isinstance(body, bytes):
                call = read_call(operation, body)
                self._exchange.tokens.prompt = measure(operation.prompt_kind, body)
                return call
            steps = read_large(operation, body)
            del body  # its pieces are let go of one by one
            self._exchange.tokens.prompt = self._reading.measuring.size(operation.prompt_kind)
            return await self._slices.through(steps, self.share.change)
        except BackendUnavailable:  # no room: not the caller's fault
            self._take_back()
            raise
        finally:
            self._exchange.body_bytes = self._reading.body_bytes

    async def in_turns(self, call: Call, steps: Generator[int, None, T]) -> T:
        """Runs steps over a call: at once, or one per turn if the call is large. Returns their result."""
        if call.placeholders is None:
            return finished(steps)
        return await self._slices.through(steps, self.share.change)

    async def admit(self, entry: ServedModel, longest_seconds: float) -> None:
        """Charges the whole call to its limits, in place of what its head was charged. Raises RateLimited."""
        if self._is_limited:
            self._take_back()
            self._admitted = await self._admission.admit(self._exchange, entry, longest_seconds)

    def _take_back(self) -> None:
        if self._early is not None:
            self._early.take_back()
            self._early = None
