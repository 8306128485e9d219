"""One call on its way through the fleet: a slot, an attempt, and where it fails before its first byte another one."""

import logging
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Final

import msgspec

from ai_gateway.accounting.admission import AdmissionControl
from ai_gateway.accounting.audit import Audit
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.lease import Lease
from ai_gateway.balancing.pool import Pool
from ai_gateway.catalog.active import CurrentConfig
from ai_gateway.catalog.catalog import ServedModel
from ai_gateway.edge.asgi import Scope, Send
from ai_gateway.edge.attempt import AttemptContext, attempt
from ai_gateway.edge.buffers import BodyShare, Buffers, others_first
from ai_gateway.edge.cancel_scope import CancelScope, ClientStalled, RunningRequests
from ai_gateway.edge.classify import FailedAttempt
from ai_gateway.edge.downstream import EventReply, reply_whole
from ai_gateway.edge.error_middleware import note
from ai_gateway.edge.whole_answer import AnswerRoom
from ai_gateway.errors import BackendUnavailable, GatewayError, ModelMissing, NoEndpoint
from ai_gateway.exchange import Content, Exchange
from ai_gateway.upstream.client import Client, Request
from ai_gateway.wire.answer import Answer
from ai_gateway.wire.call import Call
from ai_gateway.wire.stream import Shape

log = logging.getLogger("ai_gateway.balancing")

# A fleet that shrinks: so many endpoints may refuse a call's connection, or fail the call as they leave, and others
# are asked.
MOST_PASSED_OVER: Final = 3


class RequestDeps(msgspec.Struct, frozen=True):
    """What the request path works with; `doubt` asks for a probe of an endpoint that failed a call."""

    current: CurrentConfig
    fleet: Fleet
    client: Client
    buffers: Buffers
    running_requests: RunningRequests
    probe_soon: Callable[[Endpoint], None]
    admission: AdmissionControl
    audit: Audit
    content: Callable[[Call], Content] | None = None  # keeps prompts and answers, where spans shall carry them


def _end_for_others(watch: CancelScope) -> None:
    watch.end(others_first())


class Attempts:
    """One call on its way through the fleet: two endpoints get it at most, besides those that are passed over."""

    __slots__ = (
        "_avoid",
        "_entry",
        "_exchange",
        "_hold",
        "_is_retry",
        "_operation",
        "_parts",
        "_passes_left",
        "_pool",
        "_request",
        "_room",
    )

    def __init__(
        self, parts: RequestDeps, exchange: Exchange, call: Call, entry: ServedModel, room: AnswerRoom
    ) -> None:
        self._parts = parts
        self._exchange = exchange
        self._entry = entry
        self._operation = call.operation
        self._request = Request("POST", call.operation.path, call.upstream_pieces(entry.name, entry.max_tokens))
        call.let_go()  # from here on the body lives in the request alone
        self._room = room
        self._hold: BodyShare = room.hold
        self._is_retry = False  # a retry of the budget is held
        self._pool: Pool = parts.fleet.pool(entry.ollama_name)
        self._avoid: frozenset[Endpoint] = frozenset()  # those that were asked
        self._passes_left = MOST_PASSED_OVER

    async def whole(self, shape: Shape, watch: CancelScope, send: Send) -> None:
        """An answer in one piece."""
        async with watch:
            answer = await self._run(self._context(shape, watch, None))
        assert answer is not None
        self._exchange.tokens.usage, self._exchange.tokens.written = answer.usage, answer.written
        self._parts.admission.count(self._exchange)
        self._exchange.outcome.finish_reason = answer.finish_reason
        await reply_whole(self._exchange, send, answer)

    async def stream(self, shape: Shape, watch: CancelScope, scope: Scope, send: Send) -> None:
        """An answer event by event. Once its 200 is out, refusals are events too."""
        events = EventReply(
            self._exchange, scope, send, self._entry.timeouts.heartbeat, self._parts.running_requests.loop
        )
        events.begin()
        try:
            async with watch:
                await self._run(self._context(shape, watch, events))
            self._parts.admission.count(self._exchange)
            await events.end()
        except GatewayError as error:
            if not events.is_started:
                raise
            note(self._exchange, error)
            self._exchange.outcome.status = error.error_status
            self._parts.admission.count(self._exchange)
            await events.fail(error)
        except ClientStalled:
            events.cut()
            raise
        finally:
            events.stop()

    def _release_body(self) -> None:
        """The answer has begun: nobody will send the body again, and a retry is over, however long the answer."""
        self._request.body = ()
        self._hold.release()
        self._end_retry()

    def _end_retry(self) -> None:
        if self._is_retry:
            self._is_retry = False
            self._parts.fleet.budget.retries -= 1

    def _context(self, shape: Shape, watch: CancelScope, events: EventReply | None) -> AttemptContext:
        return AttemptContext(
            self._exchange,
            self._entry,
            self._operation,
            self._request,
            shape,
            watch,
            events,
            self._release_body,
            self._room,
        )

    async def _run(self, context: AttemptContext) -> Answer | None:
        if self._parts.audit.holds:
            await self._parts.audit.write_intent(self._exchange)
        budget = self._parts.fleet.budget
        budget.active += 1
        try:
            endpoint, result = await self._attempt(context)
            if not isinstance(result, FailedAttempt):
                self._parts.fleet.succeeded(endpoint, self._entry.ollama_name)
                return result
            if result.is_refused:
                raise self._error(result)
            return await self._again(context, endpoint, result)
        finally:
            budget.active -= 1

    async def _attempt(self, context: AttemptContext) -> tuple[Endpoint, FailedAttempt | Answer | None]:
        """Sends the call to an endpoint. Who refuses the connection got nothing, so another one is asked."""
        exchange = self._exchange
        exchange.times.queued_at = exchange.times.queued_at or monotonic()
        while True:
            context.watch.relax()
            self._hold.give_way = partial(_end_for_others, context.watch)
            async with Lease(self._pool, self._entry.timeouts.queue, self._avoid) as choice:
                self._hold.give_way = None  # from here on an endpoint works for it
                exchange.times.leased_at = exchange.times.leased_at or monotonic()
                endpoint = choice.endpoint
                try:
                    result = await attempt(self._parts.client, context, choice)
                except BackendUnavailable as error:
                    if error.is_garbled:
                        self._count(endpoint, FailedAttempt(error, "endpoint", exchange.outcome.reason or ""))
                    raise
            if not isinstance(result, FailedAttempt):
                return endpoint, result
            self._count(endpoint, result)
            self._avoid |= {endpoint}
            if not result.is_refused or not self._passes_left:
                return endpoint, result
            self._passes_left -= 1

    def _count(self, endpoint: Endpoint, failed: FailedAttempt) -> None:
        """What is certain after one attempt; a 5xx is judged by what another endpoint makes of the call."""
        if failed.blame == "endpoint":
            if self._parts.fleet.failed(endpoint):
                log.warning("endpoint %s is ejected after failures in a row: %s", endpoint.address, failed.reason)
            self._parts.probe_soon(endpoint)
        elif failed.blame == "missing":
            self._parts.fleet.mark_missing(endpoint, self._entry.ollama_name)
            self._parts.probe_soon(endpoint)

    async def _again(self, context: AttemptContext, first: Endpoint, failed: FailedAttempt) -> Answer | None:
        """The second attempt, if there is where and the budget has one; else the first one's error."""
        fleet = self._parts.fleet
        if failed.may_repeat_here and not self._pool.endpoints_with(self._avoid):
            self._avoid -= {first}
        if not await self._is_gone(first, failed):
            if not fleet.budget.take():
                raise self._error(failed)
            self._is_retry = True
        try:
            second, result = await self._attempt(context)
        except (NoEndpoint, ModelMissing):
            raise self._error(failed) from None
        finally:
            self._end_retry()
        if isinstance(result, FailedAttempt):
            if self._pass_over(first):
                return await self._again(context, second, result)
            if self._pass_over(second):
                return await self._again(context, first, failed)
            if failed.blame == result.blame == "model":  # two endpoints fail on it: the call is at fault
                result.error.should_retry = False
            raise self._error(result)
        fleet.succeeded(second, self._entry.ollama_name)
        if failed.blame == "model" and fleet.failed_model(first, self._entry.ollama_name):
            log.warning("model %s is ejected on %s: %s", self._entry.ollama_name, first.address, failed.reason)
        return result

    def _pass_over(self, endpoint: Endpoint) -> bool:
        """Whether it failed the call as it left, as each pod does that is deleted: that says nothing about the call.

        Asked once two have failed: of the first it is often known only then.
        """
        if not endpoint.is_draining or not self._passes_left:
            return False
        self._passes_left -= 1
        return True

    async def _is_gone(self, endpoint: Endpoint, failed: FailedAttempt) -> bool:
        """Whether an endpoint that cut a call is leaving or refuses connections: then it is no retry storm."""
        if failed.blame != "endpoint":
            return False
        if endpoint.is_draining or endpoint.is_reachable is False:
            return True
        was_cut = failed.error.error_code == "upstream_disconnected"
        return was_cut and not await self._parts.client.accepts(endpoint.address, self._entry.timeouts.connect)

    def _error(self, failed: FailedAttempt) -> GatewayError:
        self._exchange.outcome.reason = failed.reason
        if isinstance(failed.error, ModelMissing) and self._pool.endpoints_with():
            # Another endpoint does hold it: what failed was this attempt, not the model's presence.
            return BackendUnavailable(failed.error.message, code="model_missing")
        return failed.error
