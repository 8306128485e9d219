"""Holds back the last byte of every answer until its audit entry is durable, if the mode requires that."""

from ai_gateway.accounting.audit import Audit
from ai_gateway.edge.asgi import ASGIApp, Message, Receive, Scope, Send, exchange_of
from ai_gateway.exchange import CUT


class AuditGate:
    """Middleware whose answers end only when the audit has their entry."""

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
