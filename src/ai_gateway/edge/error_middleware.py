"""The one place where an error becomes a reply; stands behind every route."""

import logging

from starlette.exceptions import HTTPException

from ai_gateway.edge.asgi import ASGIApp, Receive, Scope, Send, exchange_of, reply
from ai_gateway.edge.cancel_scope import ClientLeft
from ai_gateway.errors import GatewayError, InternalError, UpstreamTimeout
from ai_gateway.exchange import Exchange
from ai_gateway.wire.operations import BY_PATH
from ai_gateway.wire.replies import error_reply

log = logging.getLogger("ai_gateway.rescue")


class ErrorMiddleware:
    """Turns whatever the app raises into the one error shape. Once a reply has begun, relay tells the client."""

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
        except Exception as error:  # the last line: a fault of ours must not leave a client without an answer
            await self._failure(exchange, scope, send, error)

    async def _failure(self, exchange: Exchange, scope: Scope, send: Send, error: Exception) -> None:
        log.exception("request %s failed", exchange.ids.request_id, exc_info=error)
        ours = InternalError("The gateway failed; its log has the story under this request's id.")
        note(exchange, ours)
        exchange.outcome.reason = repr(error)
        await _reply(exchange, send, ours, scope)


def note(exchange: Exchange, error: GatewayError) -> None:
    """Stamps an exchange with the refusal it ends in."""
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
