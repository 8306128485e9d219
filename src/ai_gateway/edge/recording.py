"""Opens an exchange for each request and closes it once, whatever happens; then whoever records reads it."""

import asyncio
import os
import re
from collections.abc import Callable, Sequence

from ai_gateway.edge.asgi import EXCHANGE_KEY, HEADERS_KEY, ASGIApp, Receive, Scope, Send, header
from ai_gateway.edge.client_address import client_address
from ai_gateway.edge.watch import ClientLeft, ClientStalled
from ai_gateway.exchange import Caller, Exchange

_SANE_ID = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")

Reader = Callable[[Exchange], None]


class Recording:
    """The outermost wrapper. `readers` are called with the finished exchange, in order; they must not wait.

    `trusted` gives the proxies whose X-Forwarded-For is believed; `marks` are headers that every answer carries.
    """

    def __init__(
        self,
        app: ASGIApp,
        readers: Sequence[Reader],
        clock: Callable[[], float],
        trusted: Callable[[], tuple[str, ...]],
        marks: list[tuple[bytes, bytes]],
    ) -> None:
        self._app = app
        self._readers = readers
        self._clock = clock
        self._trusted = trusted
        self._marks = marks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = self._open(scope)
        try:
            await self._app(scope, receive, send)
        except ClientLeft as error:
            exchange.outcome = "client_stalled" if isinstance(error, ClientStalled) else "client_left"
            exchange.status = exchange.status or 499  # what nginx made the usual number for it
        except asyncio.CancelledError:
            exchange.outcome = "shutdown"
            raise
        finally:
            exchange.closed_at = self._clock()
            for reader in self._readers:
                reader(exchange)

    def _open(self, scope: Scope) -> Exchange:
        scope[HEADERS_KEY] = dict(scope["headers"])
        given = header(scope, b"x-request-id")
        sane = given is not None and _SANE_ID.fullmatch(given) is not None
        chance = os.urandom(28).hex()
        request_id = given.decode() if sane and given else chance[:32]
        exchange = Exchange(request_id, scope["method"], scope["path"], self._clock())
        exchange.answer_id = chance[32:]
        exchange.caller = Caller(address=client_address(scope, self._trusted()))
        exchange.reply_headers = [(b"x-request-id", request_id.encode()), *self._marks]
        scope[EXCHANGE_KEY] = exchange
        return exchange
