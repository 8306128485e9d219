"""The request path: reads a call, finds its model, waits for a slot, sends, and relays the answer. Straight lines."""

from time import monotonic
from typing import Final

from ai_gateway.catalog.catalog import Entry
from ai_gateway.catalog.current import InForce
from ai_gateway.edge.asgi import Receive, Scope, Send, exchange_of, patience
from ai_gateway.edge.errands import Errands, Parts
from ai_gateway.edge.incoming import Incoming
from ai_gateway.edge.limiting import Admitted
from ai_gateway.edge.permissions import deny, may_use
from ai_gateway.edge.watch import Deadline, Watch
from ai_gateway.edge.whole_answer import AnswerRoom
from ai_gateway.errors import UpstreamTimeout
from ai_gateway.exchange import Exchange
from ai_gateway.wire.call import Call, Operation
from ai_gateway.wire.stream import Shape

# An answer a little before the client's patience ends tells more than the client's own timeout.
MARGIN_SECONDS: Final = 1.0
MARGIN_SHARE: Final = 0.05

_ID_PREFIX: Final[dict[Operation, str]] = {"chat": "chatcmpl-", "completions": "cmpl-", "embeddings": "embd-"}


class Forward:
    """One POST route, as a raw ASGI endpoint: the lease encloses connecting and streaming, so no slot can leak."""

    def __init__(self, operation: Operation, parts: Parts) -> None:
        self._operation = operation
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        in_force = self._parts.current.now
        limiting = self._parts.limiting
        incoming = Incoming(self._parts.buffers, limiting, exchange, in_force)
        admitted: Admitted | None = None
        try:
            await incoming.ask(scope, self._parts.fleet)
            call = await incoming.read(self._operation, receive)
            exchange.called_at = monotonic()
            if call.ignored:
                exchange.reply_headers.append((b"x-ai-gateway-ignored", ", ".join(call.ignored).encode()))
            if exchange.trace.is_recorded:
                self._keep(call, exchange)
            await incoming.in_turns(call, self._parts.audit.listen(call, exchange))
            entry = self._find(call, in_force, exchange)
            total = _total(call, entry, patience(scope), self._parts.departures.loop.time())
            if limiting.concerns(exchange.caller):
                incoming.is_counted_anew()
                admitted = await limiting.admit(exchange, entry, total[0] - self._parts.departures.loop.time())
            room = AnswerRoom(incoming.hold, self._parts.buffers.turns, in_force.config.body.max_answer_bytes)
            errand = Errands(self._parts, exchange, call, entry, room)
            shape = Shape(
                _ID_PREFIX[self._operation] + exchange.answer_id,
                call.model,
                call.wants_usage,
                in_force.config.compatibility.reasoning_content,
            )
            if call.stream:
                await errand.stream(shape, Watch(scope, self._parts.departures, total), scope, send)
            else:
                await errand.whole(shape, Watch(scope, self._parts.departures, total), send)
        finally:
            incoming.close()
            limiting.settle(admitted, exchange)

    def _keep(self, call: Call, exchange: Exchange) -> None:
        """What spans tell of a call, before its fields go."""
        exchange.parameters = call.parameters()
        if self._parts.content is not None:
            exchange.content = self._parts.content(call)

    def _find(self, call: Call, in_force: InForce, exchange: Exchange) -> Entry:
        exchange.call = call
        entry = in_force.catalog.find(call.model, self._parts.fleet)
        if entry is None or not may_use(exchange.caller, entry):
            raise deny(call.model, entry)
        exchange.model, exchange.model_label = entry.name, entry.label
        if call.operation != "embeddings":
            exchange.token_limit = call.token_limit() or entry.max_tokens
        return entry


def _total(call: Call, entry: Entry, patience_seconds: float | None, now: float) -> Deadline:
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
