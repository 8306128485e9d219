"""Closes the exchange of each request once, whatever happens; then whoever records reads it."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from ai_gateway.edge.asgi import ASGIApp, Receive, Scope, Send
from ai_gateway.edge.cancel_scope import ClientLeft, ClientStalled
from ai_gateway.edge.open_exchange import Opening
from ai_gateway.exchange import CURRENT, Exchange

log = logging.getLogger("ai_gateway.telemetry")

Reader = Callable[[Exchange], None]


class ExchangeMiddleware:
    """The outermost wrapper. `readers` are called with the finished exchange, in order; they must not wait.

    A reader's fault harms neither the request, which is over, nor the readers behind it.
    """

    def __init__(self, app: ASGIApp, readers: Sequence[Reader], opening: Opening) -> None:
        self._app = app
        self._readers = readers
        self._opening = opening
        self._told: set[tuple[int, type[Exception]]] = set()  # faults that are in the log, by their reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = self._opening(scope)
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
            exchange.times.closed_at = self._opening.clock()
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
