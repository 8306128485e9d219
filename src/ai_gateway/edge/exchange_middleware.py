"""How each request begins and ends: an exchange is opened, an error becomes a reply, the audit gets its entry.

From the outside in: ExchangeMiddleware, AuditGate, ErrorMiddleware.
"""

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from starlette.exceptions import HTTPException

from ai_gateway.accounting.audit import Audit
from ai_gateway.catalog.active import CurrentConfig
from ai_gateway.edge.asgi import (
    EXCHANGE_KEY,
    HEADERS_KEY,
    ASGIApp,
    Message,
    Receive,
    Scope,
    Send,
    exchange_of,
    header,
    reply,
)
from ai_gateway.edge.cancel_scope import ClientLeft, ClientStalled
from ai_gateway.edge.client_address import client_address
from ai_gateway.errors import GatewayError, InternalError, UpstreamTimeout
from ai_gateway.exchange import CURRENT, CUT, Caller, Exchange, Heads, Ids, Times
from ai_gateway.failure_log import FailureLog
from ai_gateway.telemetry.settings import TelemetrySettings
from ai_gateway.wire.operations import BY_PATH
from ai_gateway.wire.replies import error_reply
from ai_gateway.wire.trace_context import Parent, Trace, read_baggage, read_parent

log = logging.getLogger("ai_gateway.telemetry")
error_log = logging.getLogger("ai_gateway.rescue")

MAX_CLIENT_NAME: Final = 200  # bytes that are kept of a User-Agent
_SANE_ID: Final = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")

Reader = Callable[[Exchange], None]
# Whether spans are made of a request: asked with its trace id, the caller's context, its method and its path.
Sampler = Callable[[str, Parent | None, str, str], bool]


class OpenExchange(msgspec.Struct, frozen=True):
    """How requests begin. `clock` gives monotonic seconds. `current` names the proxies whose X-Forwarded-For counts.

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
        times = Times(self.clock(), now_ns)
        exchange = Exchange(Ids(request_id, random_hex[32:56]), times, scope["method"], scope["path"])
        exchange.scheme = scope.get("scheme", "http")  # optional in ASGI
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


class ExchangeMiddleware:
    """Opens an exchange for each request, and closes it once, whatever happens. Then it calls `readers`, in order.

    A reader must not wait. Its failure harms neither the request, which is over, nor the readers behind it.
    """

    def __init__(self, app: ASGIApp, readers: Sequence[Reader], open_exchange: OpenExchange) -> None:
        self._app = app
        # One mistake must not write a line for every request.
        self._readers = [(reader, FailureLog(log)) for reader in readers]
        self._open_exchange = open_exchange

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
            for reader, failures in self._readers:
                try:
                    reader(exchange)
                except Exception as failure:  # the other readers still have to record
                    failures.note(failure, "a request could not be recorded in full")


class AuditGate:
    """Holds back the last byte of an answer until its audit entry is durable, where the mode asks for that."""

    def __init__(self, app: ASGIApp, audit: Audit) -> None:
        self._app = app
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, self._held(scope, send) if self._audit.holds else send)

    def _held(self, scope: Scope, send: Send) -> Send:
        async def held(message: Message) -> None:
            is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if is_last and not await self._audit.write_end(exchange_of(scope)):
                scope["extensions"][CUT]()
                return
            await send(message)

        return held


class ErrorMiddleware:
    """Turns what the app raises into an error reply; no other place does. A stream that has begun ends in an event."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        try:
            await self._app(scope, receive, send)
        except ClientLeft:
            raise
        except GatewayError as error:
            note(exchange, error)
            await _reply(exchange, send, error, scope)
        except HTTPException as error:  # Starlette's own: none is expected, and none goes out as it is
            await self._failure(exchange, scope, send, error)
        except Exception as error:  # a failure of ours must not leave a client without an answer
            await self._failure(exchange, scope, send, error)

    async def _failure(self, exchange: Exchange, scope: Scope, send: Send, error: Exception) -> None:
        error_log.exception("request %s failed", exchange.ids.request_id, exc_info=error)
        ours = InternalError("The gateway failed; its log has the reason under this request's id.")
        note(exchange, ours)
        exchange.outcome.reason = repr(error)
        await _reply(exchange, send, ours, scope)


def note(exchange: Exchange, error: GatewayError) -> None:
    """Writes into the exchange the error in which the request ends."""
    exchange.outcome.error_type = error.type
    exchange.outcome.error_code = error.error_code
    if isinstance(error, UpstreamTimeout):
        exchange.outcome.kind = "timeout"
    elif error.error_code == "server_shutdown":
        exchange.outcome.kind = "shutdown"
    elif error.is_denied:
        exchange.outcome.kind = "denied"
    elif error.error_status == 502:
        exchange.outcome.kind = "upstream_broke"
    else:
        exchange.outcome.kind = "failed" if error.error_status == 500 else "refused"


async def _reply(exchange: Exchange, send: Send, error: GatewayError, scope: Scope) -> None:
    if exchange.outcome.status is not None:
        return
    operation = BY_PATH.get(exchange.route)
    status, headers, body = (operation.write_error if operation else error_reply)(error)
    if status in (408, 413):  # the rest of the body is not waited for
        headers.append((b"connection", b"close"))
    await reply(exchange, send, status, headers, b"" if scope["method"] == "HEAD" else body)
