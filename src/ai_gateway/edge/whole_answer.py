"""Reads a whole answer within its limits, a large one while it comes, and sends it in one piece."""

import msgspec

from ai_gateway.accounting.buffers import BodyShare
from ai_gateway.accounting.fair_slices import FairSlices
from ai_gateway.edge.asgi import Send, reply, start
from ai_gateway.errors import UpstreamFailed
from ai_gateway.exchange import Exchange
from ai_gateway.upstream.client import UpstreamExchange
from ai_gateway.wire.answer import SPLIT, Answer, BadAnswer, Shape, read_answer, read_large_answer
from ai_gateway.wire.json_guard import SMALL_BYTES
from ai_gateway.wire.json_scan import NO_OBJECT, Scan
from ai_gateway.wire.json_windows import WINDOW
from ai_gateway.wire.operations import Operation
from ai_gateway.wire.replies import json_headers_for


class AnswerRoom(msgspec.Struct, frozen=True):
    """Where a whole answer is held, and how large it may be."""

    share: BodyShare
    slices: FairSlices
    most_bytes: int


async def read_whole(operation: Operation, upstream: UpstreamExchange, shape: Shape, room: AnswerRoom) -> Answer:
    """The answer. Raises BadAnswer, BrokenFailure, BuffersFull, or UpstreamFailed for one that is too large."""
    begun: list[bytes] = []
    size = 0
    scan: Scan | None = None
    try:
        while data := await upstream.read():
            size += len(data)
            if size > room.most_bytes:
                raise _too_large(room.most_bytes)
            room.share.take(len(data))
            begun.append(data)
            if size > SMALL_BYTES:
                scan = scan or Scan(SPLIT)
                await _feed(scan, begun, room.slices)
        if scan is None:
            return read_answer(operation.read_answer, begun[0] if len(begun) == 1 else b"".join(begun), shape)
        values = scan.end()
    except NO_OBJECT:
        raise BadAnswer("no JSON object") from None
    finally:
        if scan is not None:
            scan.close()
    return await room.slices.through(read_large_answer(operation.read_answer, values, shape), room.share.change)


def _too_large(most_bytes: int) -> UpstreamFailed:
    text = f"Ollama's answer is larger than {most_bytes} bytes (body.max_answer_bytes); ask for less."
    error = UpstreamFailed(text, code="answer_too_large")
    error.should_retry = False
    return error


async def _feed(scan: Scan, data: list[bytes], slices: FairSlices) -> None:
    """Reads the pieces that have come, and drops them."""
    while data:
        piece = data.pop(0)
        for at in range(0, len(piece), WINDOW):
            async with slices:
                scan.feed(piece[at : at + WINDOW])


async def reply_whole(exchange: Exchange, send: Send, answer: Answer) -> None:
    """Sends a finished JSON answer, a large one piece by piece, as the client reads."""
    if not answer.pieces:
        await reply(exchange, send, 200, json_headers_for(len(answer.body)), answer.body)
        return
    size = sum(map(len, answer.pieces))
    await start(exchange, send, 200, json_headers_for(size))
    for piece in answer.pieces:
        exchange.outcome.sent_bytes += len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
