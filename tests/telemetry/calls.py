"""Finished exchanges, as the request path leaves them."""

import json
from typing import Any

from ai_gateway.exchange import Attempt, Exchange, Ids, Times, Upstream
from ai_gateway.wire.address import Address
from ai_gateway.wire.call import read_call
from ai_gateway.wire.operations import OPERATIONS
from ai_gateway.wire.trace_context import Trace
from ai_gateway.wire.usage import Usage

TRACE = Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", is_recorded=True)
_BODIES: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "SECRET"}]},
    "completions": {"prompt": "SECRET"},
    "embeddings": {"input": "SECRET"},
}
_PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions", "embeddings": "/v1/embeddings"}


def attempt(started_at: float, reason: str = "least_in_flight", *, is_warm: bool = True) -> Attempt:
    """A try that went well."""
    return Attempt(Upstream(Address("10.0.0.1")), reason, is_warm, started_at=started_at, status=200)


def served(operation: str = "chat", *, stream: bool = True, **stamps: Any) -> Exchange:
    """A call that went well: 0.5 s in the queue, 2 s to the first byte, 4 s in all. `stamps` replace what is known."""
    exchange = Exchange(Ids("req-1"), Times(10.0), "POST", _PATHS[operation])
    body = {"model": "best", "stream": stream and operation != "embeddings", **_BODIES[operation]}
    exchange.route = exchange.path
    exchange.call = read_call(OPERATIONS[operation], json.dumps(body).encode())
    exchange.ids.model, exchange.ids.model_label = "codellama:13b", "coder"
    exchange.attempts = [attempt(10.5)]
    times = exchange.times
    times.queued_at, times.leased_at, times.first_byte_at, times.closed_at = 10.0, 10.5, 12.0, 14.0
    exchange.outcome.status = exchange.outcome.sent_status = 200
    exchange.tokens.usage = Usage(12, 5)
    exchange.ids.trace, exchange.times.started_ns = TRACE, 1_700_000_000_000_000_000
    for name, value in stamps.items():
        stamp(exchange, name, value)
    return exchange


def stamp(exchange: Exchange, name: str, value: Any) -> None:
    """Sets what an exchange knows, in the part that has a field of this name."""
    parts = (exchange.ids, exchange.times, exchange.outcome, exchange.tokens, exchange.kept)
    setattr(next((part for part in parts if hasattr(part, name)), exchange), name, value)


def refused(code: str = "queue_full", status: int = 503, **stamps: Any) -> Exchange:
    """A call that was refused before it was sent."""
    kind = "backend_unavailable" if status >= 500 else "invalid_request"
    ends = {"kind": "refused", "error_type": kind, "error_code": code, "status": status, "sent_status": status}
    nothing: dict[str, Any] = {"attempts": [], "leased_at": None, "first_byte_at": None, "usage": None}
    return served(**{**ends, **nothing, **stamps})
