"""POST /drain on the admin port: a pre-stop hook in the gateway's own container lets it begin to leave."""

from collections.abc import Callable

from ai_gateway.edge.asgi import Receive, Scope, Send, header, reply_json
from ai_gateway.edge.client_address import is_loopback
from ai_gateway.errors import InvalidRequest


class Drain:
    """Answers at once; the gateway goes on to serve what runs.

    Only this machine may ask, and no page in its browser: those say their origin.
    """

    def __init__(self, begin: Callable[[], None]) -> None:
        self._begin = begin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_loopback(scope) or header(scope, b"origin") is not None:
            raise InvalidRequest("The drain can be asked for only from loopback.", code="not_allowed", status=403)
        self._begin()
        await reply_json(scope, send, {"draining": True})
