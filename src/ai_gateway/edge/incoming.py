"""A call on its way in: what can be known from its head is asked before its body is read, and then the body is."""

from collections.abc import Generator
from types import TracebackType
from typing import Final

from ai_gateway.accounting.admission import AdmissionControl, Admitted
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.catalog.active import ActiveConfig
from ai_gateway.catalog.catalog import ServedModel
from ai_gateway.catalog.permissions import may_use, no_model, refuse_unloaded
from ai_gateway.edge.asgi import Receive, Scope
from ai_gateway.edge.body import BodyReader
from ai_gateway.edge.buffers import BodyShare, Buffers
from ai_gateway.errors import BackendUnavailable
from ai_gateway.exchange import Exchange
from ai_gateway.limits.admission import Grant
from ai_gateway.wire.call import Call, read_call
from ai_gateway.wire.large import read_large
from ai_gateway.wire.operations import Operation
from ai_gateway.wire.prompt_size import measure

# A large body counts as a call under way from its head on. Where several gateways count together, and this one dies,
# its caller is free again after so long.
EARLY_SECONDS: Final = 900.0


class Incoming:
    """One call from its head to its end: leaving the block gives back its room, and settles what it was charged.

    `hold` is what is held of its body, and later of its answer.
    """

    def __init__(self, buffers: Buffers, admission: AdmissionControl, exchange: Exchange, active: ActiveConfig) -> None:
        self._slices = buffers.slices
        self._admission = admission
        self._exchange = exchange
        self._active = active
        self._is_limited = admission.concerns(exchange.caller)
        self._reading = BodyReader(buffers, active.config.body, exchange.caller)
        self.hold: BodyShare = self._reading.hold
        self._early: Grant | None = None
        self._admitted: Admitted | None = None

    def __enter__(self) -> "Incoming":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hold.release()
        if self._early is not None:  # a large body that was read and led to no call stays charged as a request
            self._early.settle(0)
        self._admission.settle(self._admitted, self._exchange)

    async def ask(self, scope: Scope, fleet: Fleet) -> None:
        """All that can be asked before the body: so nobody has one read who gets nothing for it."""
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
            return await self._slices.through(steps, self.hold.change)
        except BackendUnavailable:  # no room: that is not the caller's doing
            self._take_back()
            raise
        finally:
            self._exchange.body_bytes = self._reading.body_bytes

    async def in_turns(self, call: Call, steps: Generator[int, None, None]) -> None:
        """What is done with a call: at once, or a step a turn if it is large."""
        if call.placeholders is None:
            for _ in steps:
                pass
        else:
            await self._slices.through(steps, self.hold.change)

    async def admit(self, entry: ServedModel, longest_seconds: float) -> None:
        """Charges the whole call to its limits, in place of what its head was charged. Raises RateLimited."""
        if self._is_limited:
            self._take_back()
            self._admitted = await self._admission.admit(self._exchange, entry, longest_seconds)

    def _take_back(self) -> None:
        if self._early is not None:
            self._early.take_back()
            self._early = None
