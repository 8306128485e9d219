"""The request path: reads a call, finds its model, waits for a slot, sends, and relays the answer. Straight lines."""

from time import monotonic
from typing import Final

from ai_gateway.accounting.admission import Admitted
from ai_gateway.catalog.active import ActiveConfig
from ai_gateway.catalog.catalog import ServedModel
from ai_gateway.catalog.permissions import deny, may_use
from ai_gateway.edge.asgi import Receive, Scope, Send, exchange_of, patience
from ai_gateway.edge.attempts import Attempts, RequestDeps
from ai_gateway.edge.cancel_scope import CancelScope, Deadline
from ai_gateway.edge.incoming import Incoming
from ai_gateway.edge.whole_answer import AnswerRoom
from ai_gateway.errors import UpstreamTimeout
from ai_gateway.exchange import Exchange
from ai_gateway.wire.call import Call, Operation
from ai_gateway.wire.stream import Shape

# An answer a little before the client's patience ends tells more than the client's own timeout.
MARGIN_SECONDS: Final = 1.0
MARGIN_SHARE: Final = 0.05


class Forward:
    """One POST route, as a raw ASGI endpoint: the lease encloses connecting and streaming, so no slot can leak."""

    def __init__(self, operation: Operation, parts: RequestDeps) -> None:
        self._operation = operation
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        in_force = self._parts.current.now
        admission = self._parts.admission
        incoming = Incoming(self._parts.buffers, admission, exchange, in_force)
        admitted: Admitted | None = None
        try:
            await incoming.ask(scope, self._parts.fleet)
            call = await incoming.read(self._operation, receive)
            exchange.times.called_at = monotonic()
            if call.ignored:
                exchange.reply_headers.append((b"x-ai-gateway-ignored", ", ".join(call.ignored).encode()))
            if exchange.ids.trace.is_recorded:
                self._keep(call, exchange)
            await incoming.in_turns(call, self._parts.audit.capture(call, exchange))
            entry = self._find(call, in_force, exchange)
            total = _total(call, entry, patience(scope), self._parts.running_requests.loop.time())
            if admission.concerns(exchange.caller):
                incoming.is_counted_anew()
                admitted = await admission.admit(exchange, entry, total[0] - self._parts.running_requests.loop.time())
            room = AnswerRoom(incoming.hold, self._parts.buffers.slices, in_force.config.body.max_answer_bytes)
            context = Attempts(self._parts, exchange, call, entry, room)
            shape = Shape(
                self._operation.id_prefix + exchange.ids.answer_id,
                call.model,
                call.wants_usage,
                in_force.config.compatibility.reasoning_content,
            )
            if call.stream:
                await context.stream(shape, CancelScope(scope, self._parts.running_requests, total), scope, send)
            else:
                await context.whole(shape, CancelScope(scope, self._parts.running_requests, total), send)
        finally:
            incoming.close()
            admission.settle(admitted, exchange)

    def _keep(self, call: Call, exchange: Exchange) -> None:
        """What spans tell of a call, before its fields go."""
        exchange.kept.parameters = call.parameters()
        if self._parts.content is not None:
            exchange.kept.content = self._parts.content(call)

    def _find(self, call: Call, in_force: ActiveConfig, exchange: Exchange) -> ServedModel:
        exchange.call = call
        entry = in_force.catalog.find(call.model, self._parts.fleet)
        if entry is None or not may_use(exchange.caller, entry):
            raise deny(call.model, entry)
        exchange.ids.model, exchange.ids.model_label = entry.name, entry.label
        if call.operation.limit_field is not None:
            exchange.tokens.limit = call.token_limit() or entry.max_tokens
        return entry


def _total(call: Call, entry: ServedModel, patience_seconds: float | None, now: float) -> Deadline:
    """When all of it must be over. The client's patience goes for whole answers; a stream shows signs of life."""
    seconds: float = entry.timeouts.stream
    if not call.stream:
        seconds = entry.timeouts.total
        if patience_seconds is not None:
            margin = min(MARGIN_SECONDS, patience_seconds * MARGIN_SHARE)
            seconds = min(patience_seconds - margin, max(entry.timeouts.stream, seconds))
    return now + seconds, lambda: UpstreamTimeout(
        f"The answer was not finished within {seconds:g} s.", code="total_timeout"
    )
