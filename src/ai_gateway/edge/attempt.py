"""One try at one endpoint: send, and either relay what comes or say what stood in the way before the first byte."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Final

import msgspec

from ai_gateway.balancing.policy import Choice
from ai_gateway.catalog.catalog import ServedModel
from ai_gateway.edge.cancel_scope import CancelScope, ClientStalled, Deadline
from ai_gateway.edge.classify import Blame, FailedAttempt, classify
from ai_gateway.edge.downstream import EventReply
from ai_gateway.edge.whole_answer import AnswerRoom, read_whole
from ai_gateway.errors import BackendUnavailable, GatewayError, UpstreamFailed, UpstreamTimeout
from ai_gateway.exchange import Attempt, Exchange, Upstream
from ai_gateway.upstream.client import Client, Request, UpstreamExchange
from ai_gateway.upstream.connection import Tap
from ai_gateway.upstream.failures import BrokenFailure, ConnectFailure, GarbledFailure, ResetFailure
from ai_gateway.wire.answer import Answer, BadAnswer
from ai_gateway.wire.call import Operation
from ai_gateway.wire.stream import EventStream, Shape

MAX_ERROR_BYTES: Final = 64 << 10  # Ollama's own are one sentence
TRAILER_SECONDS: Final = 1.0

_DONE: Final = b"[DONE]"

Feed = Callable[[bytes], bytes]


class AttemptContext(msgspec.Struct, frozen=True):
    """All that the attempts of one request have in common. `events` is None for a whole answer."""

    exchange: Exchange
    entry: ServedModel
    operation: Operation
    request: Request
    shape: Shape
    watch: CancelScope
    events: EventReply | None
    release_body: Callable[[], None]  # once an answer has begun, nobody sends the body again
    room: AnswerRoom


async def attempt(client: Client, context: AttemptContext, choice: Choice) -> FailedAttempt | Answer | None:
    """Sends the request to the chosen endpoint.

    Returns an Answer, None after a stream was relayed to its end, or the Setback that came before the first
    byte. Raises GatewayError for what no other endpoint can mend.
    """
    address = choice.endpoint.address
    exchange = context.exchange
    tried = _begin(exchange, choice)
    exchange.tokens.context = choice.endpoint.contexts.get(context.entry.ollama_name)
    context.request.extra = exchange.ids.trace.lines(tried.span_id)
    if context.events is not None:
        context.events.waits_for = "the first token" if choice.is_warm else "the model to load"
        due = context.watch.now + context.entry.timeouts.first_byte
        context.watch.expect(lambda: (due, _no_first_byte(context.entry)))
    upstream = client.exchange(address, context.request, context.entry.timeouts.connect)
    try:
        async with upstream as answer:
            tried.status = answer.head.status
            tried.answered_at = monotonic()
            result = await _take(context, answer)
    except ConnectFailure as failure:
        unreachable = BackendUnavailable("Ollama could not be reached.", code="upstream_unreachable")
        blame: Blame = "nobody" if failure.is_local else "endpoint"
        result = FailedAttempt(unreachable, blame, str(failure), is_refused=failure.is_refused)
    except ResetFailure as failure:
        broke = UpstreamFailed("Ollama broke off before it answered.", code="upstream_disconnected")
        result = FailedAttempt(broke, "endpoint", str(failure), may_repeat_here=upstream.was_reused)
    except BackendUnavailable as error:
        tried.failure, tried.error = exchange.outcome.reason, error.error_code
        raise
    finally:
        tried.ended_at = monotonic()
    if isinstance(result, FailedAttempt):
        tried.failure, tried.error = result.reason, result.error.error_code
    return result


def _begin(exchange: Exchange, choice: Choice) -> Attempt:
    pod = choice.endpoint.pod
    upstream = Upstream(choice.endpoint.address)
    if pod is not None:
        upstream = Upstream(choice.endpoint.address, f"{pod.namespace}/{pod.name}", pod.node)
    tried = Attempt(upstream, choice.reason, choice.is_warm)
    tried.started_at = monotonic()
    if exchange.ids.trace.is_recorded or exchange.ids.trace.parent is None:
        tried.span_id = os.urandom(8).hex() if exchange.ids.trace.is_recorded else exchange.ids.trace.span_id
    exchange.attempts.append(tried)
    return tried


async def _take(context: AttemptContext, answer: UpstreamExchange) -> FailedAttempt | Answer | None:
    if answer.head.status != 200:
        try:
            body = await answer.read_all(MAX_ERROR_BYTES)
        except BrokenFailure:
            body = b""
        context.exchange.outcome.reason = f"Ollama answered {answer.head.status}"
        return classify(answer.head.status, body, context.entry.id, context.operation)
    context.release_body()
    if context.events is not None:
        await _relay(context, context.events, answer)
        return None
    context.exchange.times.first_byte_at = monotonic()
    try:
        whole = await read_whole(context.operation, answer, context.shape, context.room)
        for content in filter(None, (context.exchange.kept.content, context.exchange.kept.evidence)):
            content.answer(whole.short())
        return whole
    except BadAnswer as bad:
        raise _broken(context.exchange, str(bad), bad.is_garbled) from None
    except BrokenFailure as failure:
        raise _broken(context.exchange, str(failure), isinstance(failure, GarbledFailure)) from None


async def _relay(context: AttemptContext, reply: EventReply, answer: UpstreamExchange) -> None:
    """Passes events on as they come, until Ollama has finished honestly; raises UpstreamFailed if it does not."""
    assert context.operation.stream is not None, "a call that cannot stream is refused"
    stream = context.operation.stream.read(context.shape)
    exchange = context.exchange
    feed: Feed = stream.feed
    for content in filter(None, (exchange.kept.content, exchange.kept.evidence)):
        feed = content.wrap_feed(feed)
    if not answer.head.get(b"content-type").startswith(b"text/event-stream"):
        raise _broken(exchange, "the answer to a stream is no event stream", is_garbled=True)
    timeouts = context.entry.timeouts
    context.watch.expect(_silence(context.entry, reply, context.watch.now), min(timeouts.idle, timeouts.client_stall))
    try:
        while data := await answer.read():
            events = feed(data)
            if events:
                if exchange.times.first_byte_at is None:
                    exchange.times.first_byte_at = monotonic()
                    reply.waits_for = "the next token"
                    answer.tap(_shortcut((stream, feed), reply, answer))
                await reply.write(events)
            if stream.broken is not None or stream.is_done:
                break
        if stream.is_done:
            await _read_trailer(answer)
    except BrokenFailure as failure:
        if not stream.is_done:  # behind [DONE] nothing is missing
            stream.broken = stream.broken or str(failure)
            stream.is_garbled = stream.is_garbled or isinstance(failure, GarbledFailure)
    finally:
        exchange.tokens.usage, exchange.tokens.written = stream.usage, stream.written
        exchange.outcome.finish_reason = stream.finish_reason
    if not stream.is_complete:
        reason = stream.broken or "the stream ended without a finish_reason and [DONE]"
        raise _broken(exchange, reason, stream.is_garbled)


async def _read_trailer(answer: UpstreamExchange) -> None:
    """Reads the end of the body behind `[DONE]`, so that the connection can be kept; some endpoint may owe it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(TRAILER_SECONDS):
            while await answer.read():
                pass


def _shortcut(feeding: tuple[EventStream, Feed], reply: EventReply, answer: UpstreamExchange) -> Tap:
    """Most chunks by the shortest way: written to the client in the very callback that brought them.

    The relay's own loop takes over where something must be waited for, and from the first sign of an end.
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
    """Who must move next, and until when: the client that is being written to, or else the endpoint.

    Only whole events count: comments, or a byte now and then, would hold a slot for hours.
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
