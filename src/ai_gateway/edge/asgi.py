"""ASGI types, request headers, and replies: every reply carries the exchange's own headers."""

from collections.abc import Iterable
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ai_gateway.exchange import Exchange
from ai_gateway.wire.replies import Headers, json_headers

__all__ = [
    "ASGIApp",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "exchange_of",
    "first_header",
    "header",
    "reply",
    "reply_json",
    "start",
]

_encode = msgspec.json.Encoder().encode

EXCHANGE_KEY = "ai_gateway.exchange"
HEADERS_KEY = "ai_gateway.headers"


def exchange_of(scope: Scope) -> Exchange:
    """The exchange that ExchangeMiddleware opened for this request."""
    exchange: Exchange = scope[EXCHANGE_KEY]
    return exchange


def header(scope: Scope, name: bytes) -> bytes | None:
    """The value of a request header (lower case name); of several the last."""
    headers: dict[bytes, bytes] = scope[HEADERS_KEY]
    return headers.get(name)


def first_header(scope: Scope, names: Iterable[str]) -> tuple[str, bytes] | None:
    """The first of these headers that the request has and that is not empty: its name in lower case, and its value."""
    for name in map(str.lower, names):
        if value := header(scope, name.encode()):
            return name, value
    return None


async def start(exchange: Exchange, send: Send, status: int, headers: Headers) -> None:
    """Sends status and headers, and notes the status in the exchange."""
    exchange.outcome.status = exchange.outcome.sent_status = status
    headers = headers + exchange.reply_headers
    if exchange.kept.heads is not None:
        exchange.kept.heads.answered = headers
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def reply(exchange: Exchange, send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Sends a whole reply."""
    await start(exchange, send, status, headers)
    exchange.outcome.sent_bytes += len(body)
    await send({"type": "http.response.body", "body": body})


async def reply_json(scope: Scope, send: Send, value: Any, status: int = 200) -> None:
    """Sends a value as JSON."""
    body = _encode(value)
    await reply(exchange_of(scope), send, status, json_headers(body), b"" if scope["method"] == "HEAD" else body)
