"""A call on its way in: what can be known from its head is asked before its body is read, and then the body is."""

from collections.abc import Generator
from typing import Final

from ai_gateway.accounting.admission import AdmissionControl
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.catalog.active import ActiveConfig
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
    """One call from its head to what it asks; `hold` is the room that it takes. Leave it by `close`."""

    def __init__(
        self, buffers: Buffers, admission: AdmissionControl, exchange: Exchange, in_force: ActiveConfig
    ) -> None:
        self._slices = buffers.slices
        self._limiting = admission
        self._exchange = exchange
        self._in_force = in_force
        self._reading = BodyReader(buffers, in_force.config.body, exchange.caller)
        self._early: Grant | None = None

    @property
    def hold(self) -> BodyShare:
        """What is held of its body, and later of its answer."""
        return self._reading.hold

    async def ask(self, scope: Scope, fleet: Fleet) -> None:
        """All that can be asked before the body: so nobody has one read who gets nothing for it."""
        self._reading.check(scope)
        refuse_unloaded(self._in_force)
        caller = self._exchange.caller
        if caller.models and not any(may_use(caller, entry) for _, entry in self._in_force.catalog.entries(fleet)):
            raise no_model()
        if self._limiting.concerns(caller):
            self._early = await self._limiting.begin(self._exchange, EARLY_SECONDS, is_large=self._reading.is_large)

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
            self.is_counted_anew()
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

    def is_counted_anew(self) -> None:
        """Takes back what the head was charged: the whole call is admitted now, or never was made."""
        if self._early is not None:
            self._early.take_back()
            self._early = None

    def close(self) -> None:
        """Gives back all room. A large body that was read and led to no call stays charged as a request."""
        self.hold.release()
        if self._early is not None:
            self._early.settle(0)
            self._early = None
