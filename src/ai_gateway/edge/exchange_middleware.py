"""Opens the exchange of each request, and closes it once, whatever happens; then whoever records reads it."""

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ai_gateway.catalog.active import CurrentConfig
from ai_gateway.edge.asgi import EXCHANGE_KEY, HEADERS_KEY, ASGIApp, Receive, Scope, Send, header
from ai_gateway.edge.cancel_scope import ClientLeft, ClientStalled
from ai_gateway.edge.client_address import client_address
from ai_gateway.exchange import CURRENT, Caller, Exchange, Heads, Trace
from ai_gateway.telemetry.settings import TelemetrySettings
from ai_gateway.wire.trace_context import Parent, read_baggage, read_parent

log = logging.getLogger("ai_gateway.telemetry")

MAX_CLIENT_NAME: Final = 200  # bytes that are kept of a User-Agent
_SANE_ID: Final = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")

Reader = Callable[[Exchange], None]
# Whether spans are made of a request: asked with its trace id, the caller's context, its method and its path.
Sampler = Callable[[str, Parent | None, str, str], bool]


class ExchangeMiddleware:
    """The outermost wrapper. `readers` are called with the finished exchange, in order; they must not wait.

    A reader's fault harms neither the request, which is over, nor the readers behind it.
    """

    def __init__(self, app: ASGIApp, readers: Sequence[Reader], open_exchange: "OpenExchange") -> None:
        self._app = app
        self._readers = readers
        self._open_exchange = open_exchange
        self._told: set[tuple[int, type[Exception]]] = set()  # faults that are in the log, by their reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = self._open_exchange(scope)
        CURRENT.set(exchange)  # each request has a task, and so a context, of its own
        try:
            await self._app(scope, receive, send)
        except ClientLeft as error:
            exchange.outcome.kind = "client_stalled" if isinstance(error, ClientStalled) else "client_left"
            exchange.outcome.status = exchange.outcome.status or 499  # what nginx made the usual number for it
        except asyncio.CancelledError:
            exchange.outcome.kind = "shutdown"
            raise
        finally:
            exchange.times.closed_at = self._open_exchange.clock()
            for number, reader in enumerate(self._readers):
                try:
                    reader(exchange)
                except Exception as failure:  # whatever it is, the others still have to record
                    self._tell(number, failure)

    def _tell(self, number: int, failure: Exception) -> None:
        """One mistake must not write a line for every request."""
        if (number, type(failure)) not in self._told:
            self._told.add((number, type(failure)))
            log.error("a request could not be recorded in full; more of the kind are not told", exc_info=failure)


class OpenExchange(msgspec.Struct, frozen=True):
    """How requests begin. `clock` is monotonic seconds; `current` names the proxies whose X-Forwarded-For is believed.

    `marks` are headers that every answer carries. With a `sampler` spans are made of the requests that it takes.
    """

    clock: Callable[[], float]
    current: CurrentConfig
    marks: list[tuple[bytes, bytes]]
    telemetry: TelemetrySettings
    sampler: Sampler | None = None

    def __call__(self, scope: Scope) -> Exchange:
        """The request's exchange, also kept in its scope."""
        headers = scope[HEADERS_KEY] = dict(scope["headers"])
        given = header(scope, b"x-request-id")
        sane = given is not None and _SANE_ID.fullmatch(given) is not None
        random_hex = os.urandom(52).hex()
        now_ns = time.time_ns()
        # Ids in the order of time (as UUIDv7's) stand side by side in the audit's index: a third of its cost.
        request_id = given.decode() if sane and given else f"{now_ns // 1_000_000:012x}{random_hex[:20]}"
        exchange = Exchange(request_id, scope["method"], scope["path"], self.clock())
        exchange.times.started_ns = now_ns
        exchange.scheme = scope.get("scheme", "http")  # optional in ASGI
        exchange.ids.answer_id = random_hex[32:56]
        client_name = headers.get(b"user-agent")
        if client_name is not None:
            exchange.client_name = client_name[:MAX_CLIENT_NAME].decode("latin-1")
        trusted = self.current.now.config.trusted_proxies
        peer = scope["client"][0] if scope.get("client") else ""
        exchange.caller = Caller(address=client_address(scope, trusted) if trusted else peer)
        trace = exchange.ids.trace = self._trace(scope, headers, random_hex[56:])
        if trace.is_recorded:
            protocol, query = scope["http_version"], scope["query_string"]
            exchange.kept.heads = Heads(protocol, query, scope.get("client"), scope["headers"])
        exchange.reply_headers = [
            (b"x-request-id", request_id.encode()),
            (b"x-trace-id", trace.trace_id.encode()),
            *self.marks,
        ]
        scope[EXCHANGE_KEY] = exchange
        return exchange

    def _trace(self, scope: Scope, headers: dict[bytes, bytes], random_hex: str) -> Trace:
        parent, baggage = None, b""
        if self.telemetry.context and b"traceparent" in headers:
            parent = read_parent(_every(scope, b"traceparent"), _every(scope, b"tracestate"))
        if self.telemetry.baggage and b"baggage" in headers:
            baggage = read_baggage(_every(scope, b"baggage"))
        trace_id = random_hex[:32] if parent is None else parent.trace_id
        is_recorded = self.sampler is not None and self.sampler(trace_id, parent, scope["method"], scope["path"])
        return Trace(trace_id, random_hex[32:], parent, is_recorded, baggage, self.telemetry.context)


def _every(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]
