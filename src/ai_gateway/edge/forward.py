"""The request path: reads a call, finds its model, waits for a slot, sends the call, and relays the answer."""

from collections.abc import Callable, Generator
from time import monotonic

import msgspec

from ai_gateway.accounting.admission import AdmissionControl, known_as
from ai_gateway.accounting.audit import Audit
from ai_gateway.accounting.buffers import Buffers
from ai_gateway.balancing.learned import Answered
from ai_gateway.balancing.ticket import Claim
from ai_gateway.catalog.active import ActiveConfig, CurrentConfig
from ai_gateway.catalog.catalog import ServedModel
from ai_gateway.catalog.permissions import deny, may_use
from ai_gateway.config.types import Compatibility
from ai_gateway.edge.asgi import Receive, Scope, Send, exchange_of, first_header
from ai_gateway.edge.attempt import Delivery, ServedCall
from ai_gateway.edge.attempts import Attempts, Upstreams
from ai_gateway.edge.cancel_scope import CancelScope, ClientStalled, Deadline, RunningRequests
from ai_gateway.edge.downstream import EventReply
from ai_gateway.edge.exchange_middleware import note
from ai_gateway.edge.incoming import Incoming
from ai_gateway.edge.patience import patience_of
from ai_gateway.edge.priority import is_batch
from ai_gateway.edge.whole_answer import AnswerRoom, reply_whole
from ai_gateway.errors import GatewayError, UpstreamTimeout
from ai_gateway.exchange import Caller, Content, Exchange
from ai_gateway.limits.rules import caller_scope
from ai_gateway.wire.answer import Answer, Shape
from ai_gateway.wire.call import Call, Operation
from ai_gateway.wire.conversation import Conversation, conversation_of


class RequestDeps(msgspec.Struct, frozen=True, kw_only=True):
    """What the request path needs. `content` keeps prompts and answers, if spans are to carry them."""

    current: CurrentConfig
    upstreams: Upstreams
    buffers: Buffers
    running_requests: RunningRequests
    admission: AdmissionControl
    audit: Audit
    content: Callable[[Call], Content] | None


class Forward:
    """One POST route, as a raw ASGI endpoint: the lease encloses connecting and streaming, so no slot can leak."""

    def __init__(self, operation: Operation, deps: RequestDeps) -> None:
        self._operation = operation
        self._deps = deps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        deps, exchange = self._deps, exchange_of(scope)
        loop = deps.running_requests.loop
        active = deps.current.now  # read once: a reload does not change a running request
        with Incoming(deps.buffers, deps.admission, exchange, active) as incoming:
            is_batch_work = is_batch(scope, exchange.caller)
            await incoming.ask(scope, deps.upstreams.fleet)
            call = await incoming.read(self._operation, receive)
            self._stamp(call, exchange)
            await incoming.in_turns(call, deps.audit.capture(call, exchange))
            entry = self._find(call, active, exchange)
            patience = patience_of(scope)
            total = _total(patience.total_seconds(entry.timeouts, stream=call.stream), loop.time())
            await incoming.admit(entry, total[0] - loop.time())
            pool = deps.upstreams.fleet.pool(entry.key)
            conversation = None
            if len(deps.upstreams.fleet.endpoints) > 1 and pool.policy.knows_conversations:  # else nobody asks for it
                header = first_header(scope, active.config.balancing.affinity_headers)
                conversation = await incoming.in_turns(call, _conversation(call, exchange.caller, entry, header))
            claim = Claim(
                caller=known_as(exchange.caller),
                is_batch=is_batch_work,
                # What is not charged before it runs is charged at its end; the order matters only where calls wait.
                tokens=deps.admission.estimate(exchange) if pool.waiting else 0,
                conversation=conversation,
                patience_seconds=min(entry.timeouts.queue, total[0] - loop.time()),
            )
            body = call.upstream(entry.max_tokens, entry.defaults)
            call.let_go()  # from here on only `body` holds the text
            served = ServedCall(exchange=exchange, call=call, entry=entry, body=body, claim=claim)
            beat_seconds = patience.heartbeat_seconds(entry.timeouts.heartbeat)
            delivery = Delivery(
                shape=self._shape(exchange, call, active.config.compatibility),
                cancel_scope=CancelScope(scope, deps.running_requests, total),
                room=AnswerRoom(incoming.share, deps.buffers.slices, active.config.body.max_answer_bytes),
                events=EventReply(exchange, scope, send, beat_seconds, loop) if call.stream else None,
                shows_endpoint=active.config.compatibility.endpoint_header and _may_see_endpoints(exchange.caller),
            )
            await self._deliver(served, delivery, send)

    def _shape(self, exchange: Exchange, call: Call, compatibility: Compatibility) -> Shape:
        answer_id = self._operation.id_prefix + exchange.ids.answer_id
        return Shape(answer_id, call.model, call.wants_usage, compatibility.reasoning_content)

    async def _deliver(self, served: ServedCall, delivery: Delivery, send: Send) -> None:
        """Answers the call, and lets the fleet learn from how it went."""
        try:
            if delivery.events is None:
                await self._whole(served, delivery, send)
            else:
                await self._stream(served, delivery, delivery.events)
        finally:
            if served.exchange.attempts:
                answered = _answered(served.exchange)
                self._deps.upstreams.fleet.note_answer(served.entry.key, served.claim, answered)

    async def _whole(self, served: ServedCall, delivery: Delivery, send: Send) -> None:
        """Relays a whole answer. The endpoint has sent all of it before the client gets any."""
        exchange = served.exchange
        answer = await self._run(served, delivery)
        assert answer is not None, "only a stream leaves none"
        exchange.tokens.usage, exchange.tokens.written = answer.usage, answer.written
        self._deps.admission.count(exchange)
        exchange.outcome.finish_reason = answer.finish_reason
        await reply_whole(exchange, send, answer)

    async def _stream(self, served: ServedCall, delivery: Delivery, events: EventReply) -> None:
        """Relays an answer event by event. Once its 200 is sent, errors are events, too."""
        exchange, admission = served.exchange, self._deps.admission
        events.begin()
        try:
            await self._run(served, delivery)
            admission.count(exchange)
            await events.end()
        except GatewayError as error:
            if not events.is_started:
                raise
            note(exchange, error)
            exchange.outcome.status = error.error_status
            admission.count(exchange)
            await events.fail(error)
        except ClientStalled:
            events.cut()
            raise
        finally:
            events.stop()

    async def _run(self, served: ServedCall, delivery: Delivery) -> Answer | None:
        """Makes the attempts within the cancel scope. In the modes that ask for it the audit is written first."""
        async with delivery.cancel_scope:
            if self._deps.audit.holds:
                await self._deps.audit.write_intent(served.exchange)
            return await Attempts(self._deps.upstreams, served, delivery).run()

    def _stamp(self, call: Call, exchange: Exchange) -> None:
        """Notes what answers and spans show of a call, before its fields are dropped."""
        exchange.times.called_at = monotonic()
        if call.ignored:
            exchange.reply_headers.append((b"x-ai-gateway-ignored", ", ".join(call.ignored).encode()))
        if exchange.ids.trace.is_recorded:
            exchange.kept.parameters = call.parameters()
            if self._deps.content is not None:
                exchange.kept.content = self._deps.content(call)

    def _find(self, call: Call, active: ActiveConfig, exchange: Exchange) -> ServedModel:
        exchange.call = call
        entry = active.catalog.find(call.model, self._deps.upstreams.fleet)
        if entry is None or (exchange.caller.models and not may_use(exchange.caller, entry)):
            raise deny(call.model, entry)
        exchange.ids.model, exchange.ids.tag, exchange.ids.model_label = entry.name, entry.name, entry.id
        if call.operation.limit_field is not None:
            exchange.tokens.limit = call.token_limit() or entry.max_tokens
        return entry


def _conversation(
    call: Call, caller: Caller, entry: ServedModel, header: tuple[str, bytes] | None
) -> Generator[int, None, Conversation | None]:
    return conversation_of(call, caller_scope(caller.method, caller.name), entry.key, header)


def _answered(exchange: Exchange) -> Answered:
    """What the last attempt shows of its endpoint."""
    last, usage = exchange.attempts[-1], exchange.tokens.usage
    if usage is None:
        return Answered(last.upstream.address, exchange.tokens.written or 0)
    begun_at = last.started_at
    if exchange.call is not None and exchange.call.stream and exchange.times.first_byte_at is not None:
        begun_at = exchange.times.first_byte_at
    return Answered(
        last.upstream.address, usage.input_tokens + usage.output_tokens, usage.output_tokens, monotonic() - begun_at
    )


def _may_see_endpoints(caller: Caller) -> bool:
    """As /v1/health decides: everyone where nobody must prove who they are, else admins."""
    return caller.method == "none" or caller.is_admin


def _total(seconds: float, now: float) -> Deadline:
    """When the whole call must be over."""
    return now + seconds, lambda: UpstreamTimeout(
        f"The answer was not finished within {seconds:g} s.", code="total_timeout"
    )
