"""One attempt at one endpoint: sends the call, then relays the answer or returns why there was none."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Final

import msgspec

from ai_gateway.balancing.budget import Retry
from ai_gateway.balancing.choice import Choice
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.ticket import Claim
from ai_gateway.catalog.catalog import ServedModel
from ai_gateway.edge.cancel_scope import CancelScope, ClientStalled, Deadline
from ai_gateway.edge.downstream import FREE_SLOT, EventReply
from ai_gateway.edge.whole_answer import AnswerRoom, read_whole
from ai_gateway.errors import BackendUnavailable, GatewayError, UpstreamFailed, UpstreamTimeout
from ai_gateway.exchange import Attempt, Exchange, Upstream
from ai_gateway.upstream.classify import Blame, FailedAttempt, classify
from ai_gateway.upstream.client import Client, Request, UpstreamExchange
from ai_gateway.upstream.connection import Tap
from ai_gateway.upstream.failures import BrokenFailure, ConnectFailure, GarbledFailure, ResetFailure
from ai_gateway.wire.answer import Answer, BadAnswer, Shape
from ai_gateway.wire.call import Call, UpstreamBody
from ai_gateway.wire.stream import EventStream

MAX_ERROR_BYTES: Final = 64 << 10  # Ollama's own are one sentence
TRAILER_SECONDS: Final = 1.0

_DONE: Final = b"[DONE]"

Feed = Callable[[bytes], bytes]


class ServedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call whose model is served here."""

    exchange: Exchange
    call: Call  # its fields are gone
    entry: ServedModel
    body: UpstreamBody
    claim: Claim


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """How the answer goes to the client: as `events`, or whole where there are none, held in `room` until then."""

    shape: Shape
    cancel_scope: CancelScope
    room: AnswerRoom
    events: EventReply | None
    shows_endpoint: bool = False


class AttemptResult(msgspec.Struct, frozen=True):
    """How an attempt went. Without a failure there is an answer, or a stream was relayed to its end."""

    endpoint: Endpoint
    failed: FailedAttempt | None = None  # before the first byte
    answer: Answer | None = None


async def attempt(
    client: Client, served: ServedCall, delivery: Delivery, choice: Choice, retry: Retry | None
) -> AttemptResult:
    """Sends the call to the chosen endpoint. Raises GatewayError where no other endpoint can help."""
    endpoint, entry, exchange = choice.endpoint, served.entry, served.exchange
    tried = _begin(exchange, choice)
    exchange.tokens.context = endpoint.context_of(choice.name or entry.key)
    if delivery.events is not None:
        _expect_first_byte(entry, delivery, delivery.events, choice)
    exchange.ids.model = choice.name or entry.name
    request = _request(served, choice, tried)
    upstream = client.exchange(endpoint.address, request, entry.timeouts.connect)
    failed = answer = None
    try:
        async with upstream as reply:
            tried.status, tried.answered_at = reply.head.status, monotonic()
            if tried.status == 200:
                request.body = []
                _let_go(served, delivery, retry)
                if delivery.events is not None:
                    _tell_choice(exchange, delivery, choice)
                answer = await _take(served, delivery, reply)
            else:
                failed = await _read_failure(served, reply)
    except ConnectFailure as failure:
        failed = _unreachable(failure)
    except ResetFailure as failure:
        failed = _reset(failure, upstream.was_reused)
    except BackendUnavailable as error:
        tried.failure, tried.error = exchange.outcome.reason, error.error_code
        raise
    finally:
        tried.ended_at = monotonic()
    if failed is not None:
        tried.failure, tried.error = failed.reason, failed.error.error_code
        delivery.cancel_scope.relax()
        if delivery.events is not None:
            delivery.events.waits_for = FREE_SLOT
    elif answer is not None:
        _tell_choice(exchange, delivery, choice)
    return AttemptResult(endpoint, failed, answer)


def _expect_first_byte(entry: ServedModel, delivery: Delivery, events: EventReply, choice: Choice) -> None:
    events.waits_for = "the first token" if choice.is_warm else "the model to load"
    due = delivery.cancel_scope.now + entry.timeouts.first_byte
    delivery.cancel_scope.expect(lambda: (due, _no_first_byte(entry)))


def _begin(exchange: Exchange, choice: Choice) -> Attempt:
    pod = choice.endpoint.pod
    upstream = Upstream(choice.endpoint.address)
    if pod is not None:
        upstream = Upstream(choice.endpoint.address, f"{pod.namespace}/{pod.name}", pod.node)
    tried = Attempt(upstream, choice.reason, choice.is_warm, version=choice.name or None)
    tried.started_at = monotonic()
    if exchange.ids.trace.is_recorded or exchange.ids.trace.parent is None:
        tried.span_id = os.urandom(8).hex() if exchange.ids.trace.is_recorded else exchange.ids.trace.span_id
    exchange.attempts.append(tried)
    return tried


def _request(served: ServedCall, choice: Choice, tried: Attempt) -> Request:
    """The model's name is written per attempt: endpoints may know it by different names."""
    pieces = served.body.naming(choice.name or served.entry.name)
    return Request("POST", served.call.operation.path, pieces, served.exchange.ids.trace.lines(tried.span_id))


def _let_go(served: ServedCall, delivery: Delivery, retry: Retry | None) -> None:
    """The answer has begun: the body is not sent again, and a retry is over, however long the answer is."""
    served.body.pieces.clear()
    delivery.room.share.release()
    if retry is not None:
        retry.end()


def _tell_choice(exchange: Exchange, delivery: Delivery, choice: Choice) -> None:
    """Tells the client why the endpoint was chosen, if its answer has not begun."""
    exchange.reply_headers.append((b"x-ai-gateway-reason", choice.reason.encode()))
    if delivery.shows_endpoint:
        exchange.reply_headers.append((b"x-ai-gateway-endpoint", choice.endpoint.address.authority.encode()))


def _unreachable(failure: ConnectFailure) -> FailedAttempt:
    error = BackendUnavailable("Ollama could not be reached.", code="upstream_unreachable")
    blame: Blame = "nobody" if failure.is_local else "endpoint"
    return FailedAttempt(error, blame, str(failure), is_refused=failure.is_refused)


def _reset(failure: ResetFailure, was_reused: bool) -> FailedAttempt:
    error = UpstreamFailed("Ollama broke off before it answered.", code="upstream_disconnected")
    return FailedAttempt(error, "endpoint", str(failure), may_repeat_here=was_reused)


async def _read_failure(served: ServedCall, reply: UpstreamExchange) -> FailedAttempt:
    try:
        body = await reply.read_all(MAX_ERROR_BYTES)
    except BrokenFailure:
        body = b""
    served.exchange.outcome.reason = f"Ollama answered {reply.head.status}"
    return classify(reply.head.status, body, served.entry.id, served.call.operation)


async def _take(served: ServedCall, delivery: Delivery, reply: UpstreamExchange) -> Answer | None:
    exchange = served.exchange
    if delivery.events is not None:
        await _relay(served, delivery, delivery.events, reply)
        return None
    exchange.times.first_byte_at = monotonic()
    try:
        whole = await read_whole(served.call.operation, reply, delivery.shape, delivery.room)
    except BadAnswer as bad:
        raise _broken(exchange, str(bad), bad.is_garbled) from None
    except BrokenFailure as failure:
        raise _broken(exchange, str(failure), isinstance(failure, GarbledFailure)) from None
    for content in filter(None, (exchange.kept.content, exchange.kept.evidence)):
        content.answer(whole.short())
    return whole


async def _relay(served: ServedCall, delivery: Delivery, events: EventReply, reply: UpstreamExchange) -> None:
    """Relays events as they come, until the stream is complete. Raises UpstreamFailed if it is cut."""
    assert served.call.operation.stream is not None, "a call that cannot stream is refused"
    stream = served.call.operation.stream.read(delivery.shape)
    exchange = served.exchange
    feed: Feed = stream.feed
    for content in filter(None, (exchange.kept.content, exchange.kept.evidence)):
        feed = content.wrap_feed(feed)
    if not reply.head.get(b"content-type").startswith(b"text/event-stream"):
        raise _broken(exchange, "the answer to a stream is no event stream", is_garbled=True)
    timeouts, cancel_scope = served.entry.timeouts, delivery.cancel_scope
    cancel_scope.expect(_silence(served.entry, events, cancel_scope.now), min(timeouts.idle, timeouts.client_stall))
    try:
        while data := await reply.read():
            written = feed(data)
            if written:
                if exchange.times.first_byte_at is None:
                    exchange.times.first_byte_at = monotonic()
                    events.waits_for = "the next token"
                    reply.tap(_shortcut((stream, feed), events, reply))
                await events.write(written)
            if stream.broken is not None or stream.is_done:
                break
        if stream.is_done:
            await _read_trailer(reply)
    except BrokenFailure as failure:
        if not stream.is_done:  # after [DONE] nothing is missing
            stream.broken = stream.broken or str(failure)
            stream.is_garbled = stream.is_garbled or isinstance(failure, GarbledFailure)
    finally:
        exchange.tokens.usage, exchange.tokens.written = stream.usage, stream.written
        exchange.outcome.finish_reason = stream.finish_reason
    if not stream.is_complete:
        reason = stream.broken or "the stream ended without a finish_reason and [DONE]"
        raise _broken(exchange, reason, stream.is_garbled)


async def _read_trailer(answer: UpstreamExchange) -> None:
    """Reads the end of the body after `[DONE]`, so that the connection can be kept; an endpoint may never send it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(TRAILER_SECONDS):
            while await answer.read():
                pass


def _shortcut(feeding: tuple[EventStream, Feed], reply: EventReply, answer: UpstreamExchange) -> Tap:
    """Writes most chunks to the client in the same callback that received them.

    The loop of `_relay` takes over where it must wait, and from the first sign of an end.
    """
    stream, feed = feeding
    may_write_now, write_now = reply.may_write_now, reply.write_now

    def pass_on(data: bytes) -> bool:
        if _DONE in data or not may_write_now():
            return False
        events = feed(data)
        if events:
            write_now(events, answer.received_at)
        if stream.broken is not None or stream.is_done:  # done here only if [DONE] came in two pieces
            raise BrokenFailure(stream.broken or "nothing is read behind [DONE]")
        return True

    return pass_on


def _silence(entry: ServedModel, reply: EventReply, begun_at: float) -> Callable[[], Deadline]:
    """The deadline for the next event: the client must read it, or else the endpoint must send it.

    Only whole events count. Comments, or a byte now and then, would hold a slot for hours.
    """
    timeouts = entry.timeouts

    def deadline() -> Deadline:
        if reply.is_sending:
            return reply.sent_at + timeouts.client_stall, ClientStalled
        return max(begun_at, reply.sent_at) + timeouts.idle, lambda: UpstreamTimeout(
            f"Ollama sent no event for {timeouts.idle:g} s (timeouts.idle).", code="idle_timeout"
        )

    return deadline


def _no_first_byte(entry: ServedModel) -> Callable[[], GatewayError]:
    seconds = entry.timeouts.first_byte
    return lambda: UpstreamTimeout(
        f"Ollama sent no first byte within {seconds:g} s (timeouts.first_byte).", code="first_byte_timeout"
    )


def _broken(exchange: Exchange, reason: str, is_garbled: bool = False) -> UpstreamFailed:
    exchange.outcome.reason = reason
    error = UpstreamFailed("Ollama broke off before the answer was finished.", code="upstream_disconnected")
    error.is_garbled = is_garbled
    return error
