"""Closes the exchange of each request once, whatever happens; then whoever records reads it."""

import asyncio
from collections.abc import Callable, Sequence

from ai_gateway.edge.asgi import ASGIApp, Receive, Scope, Send
from ai_gateway.edge.opening import Opening
from ai_gateway.edge.watch import ClientLeft, ClientStalled
from ai_gateway.exchange import CURRENT, Exchange

Reader = Callable[[Exchange], None]


class Recording:
    """The outermost wrapper. `readers` are called with the finished exchange, in order; they must not wait."""

    def __init__(self, app: ASGIApp, readers: Sequence[Reader], opening: Opening) -> None:
        self._app = app
        self._readers = readers
        self._opening = opening

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = self._opening(scope)
        CURRENT.set(exchange)  # each request has a task, and so a context, of its own
        try:
            await self._app(scope, receive, send)
        except ClientLeft as error:
            exchange.outcome = "client_stalled" if isinstance(error, ClientStalled) else "client_left"
            exchange.status = exchange.status or 499  # what nginx made the usual number for it
        except asyncio.CancelledError:
            exchange.outcome = "shutdown"
            raise
        finally:
            exchange.closed_at = self._opening.clock()
            for reader in self._readers:
                reader(exchange)
